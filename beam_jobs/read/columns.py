"""Text -> typed columns. A cell that does not parse costs its row, never its block.

The whole column is cast at once; only where that fails are its cells looked at with regular
expressions (RE2, vectorised), and only the cells that failed are named in Python.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from beam_jobs.batch import Finding, Findings, Reason, as_lists, gathered, truncated
from beam_jobs.schema import Feature, FeatureType

EXACT_INTEGERS = 2.0**53
"""Doubles hold every integer below, and no longer every one from here."""

_INT = r"^-?[0-9]+$"
_FLOAT = r"^(?i:-?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|-?(nan|inf|infinity))$"


def decode(cells: pa.Array, name: str) -> tuple[pa.Array, list[Findings]]:
    """Bytes -> text; bytes that are not UTF-8 become null with INVALID_ENCODING."""
    if not pt.is_binary(cells.type) and not pt.is_large_binary(cells.type):
        return cells, []
    try:
        return pc.cast(cells, pa.string()), []
    except pa.ArrowInvalid:
        pass
    # Rare: find the cells one by one.
    values = cells.to_pylist()
    found: list[Finding] = []
    texts: list[str | None] = []
    for row, value in enumerate(values):
        try:
            texts.append(None if value is None else value.decode())
        except UnicodeDecodeError as error:
            texts.append(None)
            why = f"byte {value[error.start]:#04x} is not UTF-8"
            found.append(Finding(Reason.INVALID_ENCODING, row, why, name))
    return pa.array(texts, pa.string()), gathered(found)


def parse(
    cells: pa.Array, feature: Feature, *, empty_is_missing: bool = True
) -> tuple[pa.Array, list[Findings]]:
    """Text cells -> one value a row of the feature's type; what does not parse becomes null.

    Args:
        cells: string or binary, null is missing.
        feature: a list feature takes a cell as a list of one value.
        empty_is_missing: an empty cell is missing, as in TFDV.
    """
    text, found = decode(cells, feature.name)
    if empty_is_missing:
        text = empty_to_null(text)
    if feature.type is FeatureType.INT:
        values, more = _parse_int(text, feature.name)
    elif feature.type is FeatureType.FLOAT:
        values, more = _parse_float(text, feature.name)
    else:
        values, more = text, []
    return (as_lists(values) if feature.is_list else values), [*found, *more]


def empty_to_null(text: pa.Array) -> pa.Array:
    """Empty cells become null; the array itself where there are none."""
    empty = pc.equal(pc.binary_length(text), 0)
    if not pc.any(empty).as_py():
        return text
    return pc.if_else(empty, pa.scalar(None, text.type), text)


def reads_as(text: pa.Array, kind: FeatureType) -> bool:
    """Whether every present cell parses as that number type, and keeps its value as that.

    An integer beyond int64 is neither an INT nor a FLOAT, which would round it: it is an id.
    """
    name = "column"
    if kind is FeatureType.INT:
        return not _parse_int(text, name)[1]
    if not pc.all(_within_int64(text)).as_py():
        return False
    return not any(f.reason is Reason.INVALID_TYPE for f in _parse_float(text, name)[1])


def texts(column: pa.Array) -> pa.Array:
    """string: numbers as text, alike whatever type a batch has them in; texts as they are.

    A double that is an integer and exact has the integer's digits.
    """
    if not pt.is_floating(column.type):
        return column.cast(pa.string())
    shown = column.cast(pa.string())
    exact = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), EXACT_INTEGERS))
    if not pc.any(exact).as_py():
        return shown
    integers = pc.if_else(exact, column, pa.scalar(0.0, column.type)).cast(pa.int64())
    return pc.if_else(exact, integers.cast(pa.string()), shown)


def _parse_int(text: pa.Array, name: str) -> tuple[pa.Array, list[Findings]]:
    # Arrow's cast also reads hexadecimal, which nobody means here; an x betrays it.
    if not pc.any(pc.match_substring(text, "x", ignore_case=True)).as_py():
        try:
            return pc.cast(text, pa.int64()), []
        except pa.ArrowInvalid:
            pass
    fits = pc.and_(pc.match_substring_regex(text, _INT), _within_int64(text))
    values = pc.cast(pc.if_else(fits, text, pa.scalar(None, text.type)), pa.int64())
    return values, _failed(text, fits, name, "is not an INT")


def _within_int64(text: pa.Array) -> pa.Array:
    """bool: digits that int64 can hold; only those long enough to overflow are looked at."""
    fits = np.ones(len(text), dtype=bool)
    long = pc.and_(pc.greater(pc.binary_length(text), 18), pc.match_substring_regex(text, _INT))
    for row in np.flatnonzero(np.asarray(long.fill_null(False))):
        fits[row] = _is_int64(text[int(row)].as_py())
    return pa.array(fits)


def _is_int64(cell: str) -> bool:
    # Only those of few digits are read: Python refuses to read more than 4,300.
    digits = cell.removeprefix("-").lstrip("0") or "0"
    return len(digits) < 20 and int(digits) < 2**63 + cell.startswith("-")


def _parse_float(text: pa.Array, name: str) -> tuple[pa.Array, list[Findings]]:
    found: list[Findings] = []
    try:
        values = pc.cast(text, pa.float64())
        is_clear = pc.any(pc.is_nan(values)).as_py() is not True  # Arrow also reads `nan(1)`
    except pa.ArrowInvalid:
        is_clear = False
    if not is_clear:
        fits = pc.match_substring_regex(text, _FLOAT)
        values = pc.cast(pc.if_else(fits, text, pa.scalar(None, text.type)), pa.float64())
        found += _failed(text, fits, name, "is not a number")
    values, more = finite(values, name, text)
    return values, [*found, *more]


def _failed(text: pa.Array, fits: pa.Array, name: str, problem: str) -> list[Findings]:
    rows = np.flatnonzero(~np.asarray(fits.fill_null(True)))
    if not len(rows):
        return []
    bad = text.take(pa.array(rows)).to_pylist()
    details = [f"{truncated(value)} {problem}" for value in bad]
    return [Findings(Reason.INVALID_TYPE, rows, details, name)]


def finite(
    values: pa.Array, name: str, text: pa.Array | None = None
) -> tuple[pa.Array, list[Findings]]:
    """NaN and infinities become null with NOT_FINITE; `text` shows them as they were written."""
    good = pc.is_finite(values)
    if pc.all(good).as_py() is not False:
        return values, []
    rows = np.flatnonzero(~np.asarray(good.fill_null(True)))
    bad = (values if text is None else text).take(pa.array(rows)).to_pylist()
    details = [f"{truncated(value)} is not a finite number" for value in bad]
    kept = pc.if_else(good, values, pa.scalar(None, values.type))
    return kept, [Findings(Reason.NOT_FINITE, rows, details, name)]


def all_null(feature: Feature, rows: int) -> pa.Array:
    """The column of a feature that a file does not have."""
    return pa.nulls(rows, feature.arrow)


def merge(found: Sequence[list[Findings]]) -> list[Findings]:
    """Findings of many columns as one list."""
    return [finding for findings in found for finding in findings]
