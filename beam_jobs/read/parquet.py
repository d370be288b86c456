"""Parquet row groups -> RecordBatches."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from beam_jobs import storage
from beam_jobs.batch import Findings, Reason, as_lists, json_record, jsonable, truncated
from beam_jobs.errors import InputError, StorageError
from beam_jobs.read import batches, columns
from beam_jobs.read.byte_range import ByteRange, ReadSpec
from beam_jobs.read.parquet_decoding import RowGroup
from beam_jobs.read.parquet_process import ParquetProcess, opened
from beam_jobs.read.signs import Tell, ignore, tell_columns
from beam_jobs.schema import Feature, FeatureType

_BEYOND_INT64 = pa.scalar(2**63, pa.uint64())

_EXACT_DIGITS = 15
"""Decimals of as many digits are the shortest texts of their nearest doubles."""

_FIXED_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")


@contextlib.contextmanager
def _opened(file: storage.FileInfo) -> Iterator[ParquetProcess]:
    try:
        with opened(file) as parquet:
            yield parquet
    except StorageError:
        raise
    except OSError as error:
        raise InputError(f"{file.uri}: cannot be read ({error.strerror or error})") from error


def column_names(file: storage.FileInfo) -> list[str]:
    """Raises InputError where the file is not Parquet."""
    with _opened(file) as parquet:
        return list(parquet.footer.names)


def row_groups(file: storage.FileInfo) -> tuple[RowGroup, ...]:
    """Raises InputError where the file is not Parquet."""
    with _opened(file) as parquet:
        return parquet.footer.groups


def byte_ranges(file: storage.FileInfo, file_index: int, range_bytes: int) -> list[ByteRange]:
    """Exact byte ranges of whole row groups, from the footer.

    Raises:
        InputError: the file is not Parquet.
    """
    groups = row_groups(file)
    found: list[ByteRange] = []
    start, row, size, rows = 0, 1, 0, 0
    for number, group in enumerate(groups):
        size, rows = size + group.bytes, rows + group.rows
        if size >= range_bytes or number == len(groups) - 1:
            is_last = number == len(groups) - 1
            found.append(ByteRange(file, file_index, len(found), start, number + 1, row, is_last))
            start, row, size, rows = number + 1, row + rows, 0, 0
    return found or [ByteRange(file, file_index, 0, 0, 0)]


def read(
    byte_range: ByteRange, spec: ReadSpec, rows_per_batch: int, tell: Tell = ignore
) -> Iterator[pa.RecordBatch]:
    """The rows of a byte range's row groups.

    Raises:
        InputError: the file cannot be read, or contradicts itself; naming row group and column.
    """
    row = byte_range.first_row
    with _opened(byte_range.file) as parquet:
        present = parquet.footer.names
        twice = next((name for name in present if present.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"{byte_range.file.uri}: column {twice!r} appears twice")
        if byte_range.number == 0:
            tell_columns(present, spec.features, tell)
        wanted = batches.wanted_columns(present, spec.features, spec.key_only)
        # Without one that is wanted any tells how many rows there are.
        names = [name for name in present if name in wanted or name == spec.key] or present[:1]
        for batch in parquet.batches(
            range(byte_range.start, byte_range.end), names, rows_per_batch
        ):
            yield _typed(batch, byte_range, spec, wanted, row)
            row += batch.num_rows


def _typed(
    batch: pa.RecordBatch,
    byte_range: ByteRange,
    spec: ReadSpec,
    wanted: dict[str, Feature | None],
    first_row: int,
) -> pa.RecordBatch:
    typed: dict[str, pa.Array] = {}
    found: list[Findings] = []
    cells = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
    for name, feature in wanted.items():
        if name not in cells:
            continue
        if feature is not None:
            is_key = name == spec.key and feature.is_text
            column = _numbers_as_texts(cells[name]) if is_key else cells[name]
            typed[name], more = to_feature(column, feature)
        else:
            unknown, more = _unknown(cells[name], name)
            if unknown is not None:
                typed[name] = unknown
        found += more
    keys = cells.get(spec.key) if spec.key is not None else None
    return batches.assemble(
        typed,
        () if spec.key_only else spec.features,
        rows=batch.num_rows,
        keys=None if keys is None else _keys(keys, byte_range.file.uri, spec.key),
        uri=byte_range.file.uri,
        first_row=first_row,
        raw=_raw_records(cells, batch.num_rows, found),
        found=found,
    )


def _keys(column: pa.Array, uri: str, name: str | None) -> pa.Array:
    plain = _plain(column)
    if pt.is_decimal(plain.type):
        return _decimal_texts(plain)
    if pt.is_nested(plain.type) or pt.is_temporal(plain.type):
        raise InputError(
            f"{uri}: the key column {name!r} holds {column.type}; a key is one text or number a row"
        )
    return plain


def _numbers_as_texts(column: pa.Array) -> pa.Array:
    """Numbers as the key has them; another column as it is."""
    plain = _plain(column)
    is_number = pt.is_integer(plain.type) or pt.is_floating(plain.type)
    return columns.texts(plain) if is_number else column


def _raw_records(cells: Mapping[str, pa.Array], rows: int, found: Sequence[Findings]) -> pa.Array:
    r"""binary: JSON of what was in the rows with findings; null where only columns exist.

    Bytes that are not UTF-8 appear as `\xff`, numbers that JSON lacks as texts.
    """
    raw: list[bytes | None] = [None] * rows
    failed = sorted({int(row) for finding in found for row in finding.rows})
    if failed:
        values = {name: _python(_plain(column), failed) for name, column in cells.items()}
        for place, row in enumerate(failed):
            record = {name: column[place] for name, column in values.items()}
            raw[row] = json_record(record)
    return pa.array(raw, pa.binary())


def _python(column: pa.Array, rows: Sequence[int] | npt.NDArray[np.int64]) -> list[Any]:
    """The values of some rows; what Python cannot hold (a year 30000, bad UTF-8) as its problem."""
    taken = column.take(pa.array(rows, pa.int64()))
    try:
        values: list[Any] = taken.to_pylist()
        return values
    except Exception as error:  # noqa: BLE001 (each type has its own values that Python lacks)
        return [f"{column.type} that cannot be shown ({error})"] * len(taken)


def _plain(column: pa.Array) -> pa.Array:
    """Dictionaries and large types as their plain ones, texts as bytes, dates as text.

    Texts become bytes because nobody has looked yet whether they are UTF-8: Parquet does not.
    """
    kind = column.type
    if pt.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if pt.is_string(kind) or pt.is_fixed_size_binary(kind) or pt.is_large_binary(kind):
        return column.cast(pa.binary())
    if pt.is_large_string(kind):
        return column.cast(pa.large_binary()).cast(pa.binary())
    if pt.is_boolean(kind):
        return column.cast(pa.int64())
    if pt.is_timestamp(kind) and kind.tz is not None:
        return _zoned_texts(column)
    if pt.is_date(kind) or pt.is_time(kind) or pt.is_timestamp(kind) or pt.is_null(kind):
        return column.cast(pa.string())
    if pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        return _plain(_as_list(column))
    if pt.is_list(kind) and (pt.is_string(kind.value_type) or pt.is_large_string(kind.value_type)):
        return column.cast(pa.list_(pa.binary()))
    return column


def _zoned_texts(column: pa.Array) -> pa.Array:
    """Local times with their offset; UTC where nobody knows the time zone."""
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        pass  # fixed offsets are no names of the time zone database
    kind = column.type
    offset = _FIXED_OFFSET.fullmatch(kind.tz)
    utc = column.view(pa.int64())
    if offset is None:
        local, end = utc, "Z"
    else:
        minutes = int(offset[2]) * 60 + int(offset[3])
        ticks = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit] * 60 * minutes
        local = pc.add(utc, ticks if offset[1] == "+" else -ticks)
        end = f"{offset[1]}{offset[2]}{offset[3]}"
    texts = local.view(pa.timestamp(kind.unit)).cast(pa.string())
    return pc.binary_join_element_wise(texts, end, "")


def _as_list(column: pa.Array) -> pa.Array:
    lengths = np.asarray(pc.list_value_length(column).fill_null(0))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    mask = np.append(np.asarray(column.is_null()), False)
    values = column.filter(column.is_valid()).flatten()
    return pa.ListArray.from_arrays(pa.array(offsets, mask=mask), values)


def _decimal_texts(column: pa.Array) -> pa.Array:
    texts = [None if value is None else format(value, "f") for value in column.to_pylist()]
    return pa.array(texts, pa.string())


def _decimals_as_doubles(column: pa.Array) -> pa.Array:
    """The nearest double of each decimal; Arrow's cast multiplies by 0.01: 0.35 comes out off."""
    kind = column.type
    if pt.is_decimal128(kind) and 0 <= kind.scale <= 22:
        words = np.frombuffer(column.buffers()[1], np.int64).reshape(-1, 2)
        low, high = words[column.offset : column.offset + len(column)].T
        missing = np.asarray(column.is_null())
        if (((high == low >> 63) & (np.abs(low) <= 2**53)) | missing).all():
            # Both are exact, so their quotient is rounded once.
            return pa.array(low / 10.0**kind.scale, mask=missing)
    return _decimal_texts(column).cast(pa.float64())


def _unknown(column: pa.Array, name: str) -> tuple[pa.Array | None, list[Findings]]:
    """A column that the schema does not know; bytes need not be text, texts must be UTF-8.

    Numbers that neither int64 nor a double holds are text.
    """
    plain = _plain(column)
    if pt.is_binary(plain.type):
        text, found = columns.decode(plain, name)
        return text, [] if _holds_bytes(column.type) else found
    if pt.is_decimal(plain.type):
        fits = plain.type.precision <= _EXACT_DIGITS
        return _decimals_as_doubles(plain) if fits else _decimal_texts(plain), []
    if pt.is_uint64(plain.type) and pc.any(pc.greater_equal(plain, _BEYOND_INT64)).as_py():
        return columns.texts(plain), []
    if pt.is_integer(plain.type):
        return plain.cast(pa.int64()), []
    if pt.is_floating(plain.type):
        return plain.cast(pa.float64()), []
    return (plain if pt.is_string(plain.type) else None), []


def _holds_bytes(kind: pa.DataType) -> bool:
    if pt.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    is_bytes = (pt.is_binary, pt.is_large_binary, pt.is_fixed_size_binary)
    return any(check(kind) for check in is_bytes)


def to_feature(column: pa.Array, feature: Feature) -> tuple[pa.Array, list[Findings]]:
    """A column of any type as the feature's; what cannot be converted becomes null."""
    plain = _plain(column)
    if not pt.is_list(plain.type):
        return _values(plain, feature)
    lengths = pc.list_value_length(plain)
    found: list[Findings] = []
    if not feature.is_list:
        wrong = np.asarray(pc.not_equal(lengths, 1).fill_null(False))
        rows = np.flatnonzero(wrong)
        if len(rows):
            counts = lengths.take(pa.array(rows)).to_pylist()
            details = [f"{count} values where one belongs" for count in counts]
            found.append(Findings(Reason.INVALID_VALUE_COUNT, rows, details, feature.name))
            plain = pc.if_else(pa.array(wrong), pa.scalar(None, plain.type), plain)
    parents = np.asarray(pc.list_parent_indices(plain), dtype=np.int64)
    scalar = Feature(feature.name, feature.type)
    values, more = _values(_plain(plain.flatten()), scalar)
    found += [dataclasses.replace(f, rows=parents[f.rows]) for f in more]
    if not feature.is_list:
        places = np.full(len(plain), -1)
        places[parents] = np.arange(len(parents))
        return values.take(pa.array(places, mask=places < 0)), found
    # A list with a value that is missing or wrong is wrong as a whole.
    bad = np.unique(parents[~np.asarray(values.is_valid())])
    hidden = bad[~np.isin(bad, [row for f in found for row in f.rows])]
    if len(hidden):
        details = ["null inside a list"] * len(hidden)
        found.append(Findings(Reason.INVALID_TYPE, hidden, details, feature.name))
    missing = ~np.asarray(plain.is_valid())
    missing[bad] = True
    keep = ~missing[parents]
    counts = np.bincount(parents[keep], minlength=len(plain))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    mask = np.append(missing, False)
    kept = values.filter(pa.array(keep))
    return pa.ListArray.from_arrays(pa.array(offsets, mask=mask), kept), found


def _values(column: pa.Array, feature: Feature) -> tuple[pa.Array, list[Findings]]:
    wanted = feature.type
    if pt.is_decimal(column.type):
        is_float = wanted is FeatureType.FLOAT
        column = _decimals_as_doubles(column) if is_float else _decimal_texts(column)
    kind = column.type
    if wanted is FeatureType.BYTES:
        if pt.is_uint64(kind):
            column, kind = columns.texts(column), pa.string()  # ids that no INT can hold
        if pt.is_string(kind) or pt.is_binary(kind):
            return columns.parse(column, feature, empty_is_missing=False)
        return _refuse(column, feature, "is not text")
    if pt.is_string(kind) or pt.is_binary(kind):
        return columns.parse(column, feature)
    found: list[Findings] = []
    if wanted is FeatureType.INT:
        if not pt.is_integer(kind):
            return _refuse(column, feature, "is not an INT")
        values, found = _to_int64(column, feature)
    elif pt.is_floating(kind) or pt.is_integer(kind):
        values, found = columns.finite(column.cast(pa.float64(), safe=False), feature.name)
    else:
        return _refuse(column, feature, "is not a number")
    return (as_lists(values) if feature.is_list else values), found


def _to_int64(column: pa.Array, feature: Feature) -> tuple[pa.Array, list[Findings]]:
    if not pt.is_uint64(column.type):
        return column.cast(pa.int64()), []
    fits = pc.less(column, _BEYOND_INT64)
    kept = pc.if_else(fits, column, pa.scalar(None, column.type)).cast(pa.int64())
    rows = np.flatnonzero(~np.asarray(fits.fill_null(True)))
    bad = column.take(pa.array(rows)).to_pylist()
    details = [f"{value} is not an INT" for value in bad]
    return kept, [Findings(Reason.INVALID_TYPE, rows, details, feature.name)]


def _refuse(column: pa.Array, feature: Feature, why: str) -> tuple[pa.Array, list[Findings]]:
    """A column whose type cannot be the feature's: every present value is wrong."""
    rows = np.flatnonzero(np.asarray(column.is_valid()))
    shown = [truncated(jsonable(value)) for value in _python(column, rows)]
    details = [f"{value} {why}" for value in shown]
    found = [Findings(Reason.INVALID_TYPE, rows, details, feature.name)]
    return columns.all_null(feature, len(column)), found
