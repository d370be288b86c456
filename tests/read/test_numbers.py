"""Numbers, keys and ids are exact: a table of hostile ones through every format.

What must come out is computed by Python's int, Decimal and regular expressions; and what becomes
of a cell never depends on its neighbours in the line or in the batch.
"""

import csv
import decimal
import io
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_jobs.batch import Reason
from beam_jobs.read.columns import texts
from beam_jobs.schema import Feature, FeatureType
from support.reading import Row, read_rows, write

FEATURES = (
    Feature("n", FeatureType.INT),
    Feature("x", FeatureType.FLOAT),
    Feature("b", FeatureType.BYTES),
)
NAMES = ("key", "n", "x", "b", "unknown")

JSON_NUMBERS = (
    "0", "-0", "7", "-12", "0.1", "1.50", "-0.0", "1e2", "1E5", "1e-400", "100000", "1e15",
    "123456789012345", "123456789012345.0", "9007199254740991", "9007199254740993",
    "-9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
    "-9223372036854775809", "18446744073709551615", "18446744073709551616",
    "-18446744073709551616", "123456789012345678901.5", "1e300", "1e309", "-1e309", "1E400",
    "1e99999999999999999999", "1" * 30, "9" * 400, "-" + "9" * 5_000,
)  # fmt: skip
"""As JSON allows them; in CSV they are cells like any other."""

OTHER_CELLS = (
    " 1", "1 ", "+1", "1_000", "1,000", "0x1", "0X1F", "1.", ".5", "-.5", "1e", "--1", "-", "1d",
    "nan", "NaN", "-nan", "nan(1)", "nan(x)", "inf", "-Infinity", "+inf", "T", "true", "\u0661",
    "\uff11", "1\u00a0", "0x1p3", "007", "0" * 5_000 + "1", "-" + "0" * 30 + "9223372036854775808",
    "1\x00", "1\n2", '"', "\U0001f600", "NULL", "2026-10-01",
)  # fmt: skip

INTEGER_NUMBERS = ("0", "7", "-12", "9223372036854775807")
"""What a JSON parser takes for a column of int64."""

_INT = re.compile(r"-?[0-9]+")
_FLOAT = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|-?(nan|inf|infinity)", re.I)


def as_int(text: str) -> int | None:
    if not _INT.fullmatch(text) or len(text.lstrip("-").lstrip("0")) > 19:
        return None
    value = int(decimal.Decimal(text))
    return value if -(2**63) <= value < 2**63 else None


def text_of(value: Any) -> str | None:
    """A value of a column that the schema does not know, as statistics count it."""
    if value is None or isinstance(value, str):
        return value
    shown: str = texts(pa.array([value]))[0].as_py()
    return shown


def of_csv(cells: Sequence[str]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(NAMES)
    writer.writerows([[cell] * len(NAMES) for cell in cells])
    return out.getvalue().encode()


def of_json(cells: Sequence[str]) -> bytes:
    lines = ["{" + ", ".join(f'"{name}": {cell}' for name in NAMES) + "}\n" for cell in cells]
    return "".join(lines).encode()


FORMATS: dict[str, Callable[[Sequence[str]], bytes]] = {
    "ads.csv": of_csv, "ads.csv.gz": of_csv, "ads.jsonl": of_json, "ads.jsonl.gz": of_json,
}  # fmt: skip


def read(folder: Path, file: str, cells: Sequence[str]) -> list[Row]:
    return read_rows(write(folder / file, FORMATS[file](cells)), FEATURES, "key")


def check(row: Row, cell: str, is_csv: bool) -> None:
    """The row in which every column is this cell, against the rules."""
    assert row.key == cell
    assert row.values["n"] == as_int(cell)
    number = float(cell) if _FLOAT.fullmatch(cell) else None
    finite = number if number is not None and math.isfinite(number) else None
    assert row.values["x"] == finite
    found = dict(detail.split(": ", 1) for detail in row.details)
    start = repr(cell)[:40] if is_csv else cell[:40]
    assert ("n" in found) == (as_int(cell) is None)
    assert found.get("n", start).startswith((start, repr(finite)))
    assert ("x" in found) == (finite is None)
    if finite is None:
        assert found["x"].startswith(start)
        assert ("not a finite number" in found["x"]) == (number is not None)
    if is_csv:
        assert row.values["b"] == row.values["unknown"] == cell
        return
    assert row.values["b"] is None
    assert "is not text" in found["b"]
    unknown = text_of(row.values["unknown"])
    if _INT.fullmatch(cell):
        assert unknown == ("0" if cell == "-0" else cell)
    elif finite is None:
        assert unknown == cell
    else:
        assert unknown is not None
        assert float(unknown) == finite


@pytest.mark.parametrize("file", FORMATS)
def test_every_cell_is_exact_or_told(tmp_path: Path, file: str) -> None:
    is_csv = "csv" in file
    cells = [*JSON_NUMBERS, *(OTHER_CELLS if is_csv else ())]
    cells = [cell for cell in cells if "\x00" not in cell]  # no record of CSV has one
    rows = read(tmp_path, file, cells)
    assert len(rows) == len(cells)
    for row, cell in zip(rows, cells, strict=True):
        check(row, cell, is_csv)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[Any, ...]]:
    """{(file, cell): what becomes of it in a file of its own}."""
    folder = tmp_path_factory.mktemp("alone")
    cells = {"ads.csv": (*JSON_NUMBERS, *OTHER_CELLS), "ads.jsonl": JSON_NUMBERS}
    return {
        (file, cell): outcome(read(folder, file, [cell])[0])
        for file, some in cells.items()
        for cell in some
    }


def outcome(row: Row) -> tuple[Any, ...]:
    known = [repr(row.values[name]) for name in ("n", "x", "b")]
    return (
        row.key,
        known,
        text_of(row.values["unknown"]),
        text_of(row.values["key"]),
        row.reasons,
        row.details,
    )


@given(
    st.one_of(
        st.tuples(st.just("ads.csv"), st.lists(st.sampled_from(JSON_NUMBERS + OTHER_CELLS))),
        st.tuples(st.just("ads.jsonl"), st.lists(st.sampled_from(JSON_NUMBERS))),
    )
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cell_does_not_depend_on_its_neighbours(
    tmp_path: Path, alone: dict[tuple[str, str], tuple[Any, ...]], case: tuple[str, list[str]]
) -> None:
    file, cells = case
    rows = read(tmp_path, file, cells) if cells else []
    assert [outcome(row) for row in rows] == [alone[file, cell] for cell in cells]


@given(st.lists(st.sampled_from(JSON_NUMBERS), min_size=2, max_size=2))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_key_does_not_depend_on_the_rest_of_its_line(tmp_path: Path, pair: list[str]) -> None:
    key, other = pair
    line = f'{{"note": "a\\u003a{other}", "x": {other}, "key": {key}, "more": [{other}]}}\n'
    (row,) = read_rows(write(tmp_path / "ads.jsonl", line.encode()), FEATURES, "key")
    assert row.key == key


@pytest.mark.parametrize("file", FORMATS)
def test_a_text_feature_that_is_the_key_takes_numbers_as_written(tmp_path: Path, file: str) -> None:
    features = (*FEATURES, Feature("key", FeatureType.BYTES))
    for cells in (JSON_NUMBERS, INTEGER_NUMBERS):
        path = write(tmp_path / file, FORMATS[file](cells))
        rows = read_rows(path, features, "key")
        assert [row.values["key"] for row in rows] == [row.key for row in rows] == list(cells)
        assert not any(detail.startswith("key: ") for row in rows for detail in row.details)


def test_a_key_of_json_that_is_no_number_is_judged_as_any_text(tmp_path: Path) -> None:
    features = (Feature("key", FeatureType.BYTES),)
    cells = [
        '"a1"',
        '"2026-10-01"',
        '""',
        "null",
        "true",
        "[1, 2]",
        '{"a": 1}',
        "18446744073709551615",
    ]
    path = write(tmp_path / "ads.jsonl", of_json(cells))
    with_key, without = read_rows(path, features, "key"), read_rows(path, features, None)
    for row, other in zip(with_key[:-1], without[:-1], strict=True):
        assert (row.values["key"], row.reasons) == (other.values["key"], other.reasons)
    assert with_key[-1].values["key"] == "18446744073709551615"
    assert not with_key[-1].reasons
    assert without[-1].reasons == [Reason.INVALID_TYPE]


INTEGERS = (0, 7, -1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1)


def kinds_of(value: int) -> list[pa.Array]:
    """Parquet columns that can hold the integer, one a type."""
    signed = [pa.int8(), pa.int16(), pa.int32(), pa.int64()]
    unsigned = [pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
    integers = [
        kind
        for kind in signed + unsigned
        if (0 if kind in unsigned else -(2 ** (kind.bit_width - 1))) <= value
        and value < 2 ** (kind.bit_width - (kind in signed))
    ]
    number = decimal.Decimal(value)
    decimals = [pa.decimal128(38, 0), pa.decimal256(76, 0)]
    return [
        *(pa.array([value], kind) for kind in integers),
        *(pa.array([number], kind) for kind in decimals),
        pa.array([str(value)]),
        pa.array([str(value)]).dictionary_encode(),
        pa.array([str(value).encode()]),
    ]


@pytest.mark.parametrize("value", INTEGERS)
def test_integers_of_every_type_of_parquet_are_exact(tmp_path: Path, value: int) -> None:
    for column in kinds_of(value):
        path = tmp_path / "ads.parquet"
        pq.write_table(pa.table(dict.fromkeys(NAMES, column)), path)
        (row,) = read_rows(path, FEATURES, "key")
        assert row.key == text_of(row.values["key"]) == str(value), column.type
        fits = -(2**63) <= value < 2**63
        assert row.values["n"] == (value if fits else None), column.type
        assert any(d.startswith(f"n: {value}") or f"'{value}'" in d for d in row.details) != fits
        assert row.values["x"] == float(value), column.type
        is_text = not pa.types.is_integer(column.type) or column.type == pa.uint64()
        assert row.values["b"] == (str(value) if is_text else None), column.type
        assert text_of(row.values["unknown"]) == str(value), column.type


@pytest.mark.parametrize("value", INTEGERS)
def test_a_text_feature_that_is_the_key_takes_every_type_of_parquet(
    tmp_path: Path, value: int
) -> None:
    features = (Feature("key", FeatureType.BYTES), Feature("b", FeatureType.BYTES))
    for column in kinds_of(value):
        path = tmp_path / "ads.parquet"
        pq.write_table(pa.table({"key": column}), path)
        (row,) = read_rows(path, features, "key")
        assert row.values["key"] == row.key == str(value), column.type
        assert not row.reasons, column.type


def test_a_batch_with_an_id_beyond_int64_keeps_the_others_exact(tmp_path: Path) -> None:
    ids = [2**64 - 1, 2**53 + 1, None, 0, 2**63]
    column = pa.array(ids, pa.uint64())
    pq.write_table(pa.table({"key": column, "unknown": column}), tmp_path / "ads.parquet")
    rows = read_rows(tmp_path / "ads.parquet", FEATURES, "key")
    expected = [None if id_ is None else str(id_) for id_ in ids]
    assert [row.key for row in rows] == expected
    assert [text_of(row.values["unknown"]) for row in rows] == expected


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=10, min_value=-1e28, max_value=1e28)
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_decimals_are_exact_texts_and_nearest_doubles(
    tmp_path: Path, value: decimal.Decimal
) -> None:
    column = pa.array([value], pa.decimal128(38, 10))
    pq.write_table(pa.table(dict.fromkeys(NAMES, column)), tmp_path / "ads.parquet")
    (row,) = read_rows(tmp_path / "ads.parquet", FEATURES, "key")
    assert row.key == row.values["b"] == row.values["unknown"] == format(value, "f")
    assert row.values["x"] == float(value)


def test_json_that_python_reads_is_what_is_read(tmp_path: Path) -> None:
    """Texts that hold what looks like a long number make no difference to the numbers beside."""
    line = {"key": "1e309", "b": "18446744073709551616", "n": 3, "x": 0.25}
    path = write(tmp_path / "ads.jsonl", json.dumps(line).encode())
    (row,) = read_rows(path, FEATURES, "key")
    assert row.values == line
