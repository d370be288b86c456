"""Parquet row groups -> RecordBatches."""

import contextlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from beam_jobs import storage
from beam_jobs.errors import InputError
from beam_jobs.features import Feature, FeatureType
from beam_jobs.read import batches, columns
from beam_jobs.read.spans import ReadSpec, Span
from beam_jobs.records import Findings, Reason


@contextlib.contextmanager
def _opened(file: storage.FileInfo) -> Iterator[pq.ParquetFile]:
    with storage.open_pinned(file) as stream, _named(file, stream):
        yield pq.ParquetFile(stream, pre_buffer=False)


@contextlib.contextmanager
def _named(file: storage.FileInfo, _: BinaryIO) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{file.uri}: the Parquet data cannot be read ({reason})") from error


def column_names(file: storage.FileInfo) -> list[str]:
    """Raises InputError where the file is not Parquet."""
    with _opened(file) as parquet:
        return list(parquet.schema_arrow.names)


def spans(file: storage.FileInfo, file_index: int, span_bytes: int) -> list[Span]:
    """Exact spans of whole row groups, from the footer.

    Raises:
        InputError: the file is not Parquet.
    """
    with _opened(file) as parquet:
        found: list[Span] = []
        start, row, size, rows = 0, 1, 0, 0
        for group in range(parquet.num_row_groups):
            metadata = parquet.metadata.row_group(group)
            size, rows = size + metadata.total_byte_size, rows + metadata.num_rows
            if size >= span_bytes or group == parquet.num_row_groups - 1:
                found.append(Span(file, file_index, len(found), start, group + 1, row))
                start, row, size, rows = group + 1, row + rows, 0, 0
        return found


def read(span: Span, spec: ReadSpec, rows_per_batch: int) -> Iterator[pa.RecordBatch]:
    """The rows of a span's row groups."""
    row = span.first_row
    with _opened(span.file) as parquet:
        present = parquet.schema_arrow.names
        twice = next((name for name in present if present.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"{span.file.uri}: column {twice!r} stands twice")
        wanted = batches.wanted_columns(present, spec.features, spec.key, spec.key_only)
        names = [name for name in present if name in wanted or name == spec.key]
        for batch in parquet.iter_batches(
            rows_per_batch, list(range(span.start, span.end)), columns=names
        ):
            yield _typed(batch, span, spec, wanted, row)
            row += batch.num_rows


def _typed(
    batch: pa.RecordBatch,
    span: Span,
    spec: ReadSpec,
    wanted: dict[str, Feature | None],
    first_row: int,
) -> pa.RecordBatch:
    typed: dict[str, pa.Array] = {}
    found: list[Findings] = []
    raw = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
    for name, feature in wanted.items():
        if name not in raw:
            continue
        if feature is not None:
            typed[name], more = to_feature(raw[name], feature)
            found += more
        elif (kept := _unknown(raw[name])) is not None:
            typed[name] = kept
    keys = raw.get(spec.key) if spec.key is not None else None
    return batches.assemble(
        typed,
        () if spec.key_only else spec.features,
        rows=batch.num_rows,
        keys=None if keys is None else _plain(keys),
        uri=span.file.uri,
        first_row=first_row,
        raw=pa.nulls(batch.num_rows, pa.binary()),
        found=found,
    )


def _plain(column: pa.Array) -> pa.Array:
    """Dictionaries and large types as their plain ones; dates and decimals as text."""
    kind = column.type
    if pt.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if pt.is_large_string(kind):
        return column.cast(pa.string())
    if pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind):
        return column.cast(pa.binary())
    if pt.is_boolean(kind):
        return column.cast(pa.int64())
    if pt.is_temporal(kind) or pt.is_decimal(kind):
        return column.cast(pa.string())
    if pt.is_null(kind):
        return column.cast(pa.string())
    if pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        return pa.array(column.to_pylist(), pa.list_(kind.value_type))
    return column


def _unknown(column: pa.Array) -> pa.Array | None:
    plain = _plain(column)
    if pt.is_binary(plain.type):
        return columns.decode(plain, "")[0]
    if pt.is_integer(plain.type):
        return plain.cast(pa.int64(), safe=False)
    if pt.is_floating(plain.type):
        return plain.cast(pa.float64())
    return plain if pt.is_string(plain.type) else None


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
            details = [f"{feature.name}: {count} values where one belongs" for count in counts]
            found.append(Findings(Reason.INVALID_VALUE_COUNT, rows, details))
            plain = pc.if_else(pa.array(wrong), pa.scalar(None, plain.type), plain)
    parents = np.asarray(pc.list_parent_indices(plain), dtype=np.int64)
    scalar = Feature(feature.name, feature.type)
    values, more = _values(_plain(plain.flatten()), scalar)
    found += [Findings(f.reason, parents[f.rows], f.details) for f in more]
    if not feature.is_list:
        places = np.full(len(plain), -1)
        places[parents] = np.arange(len(parents))
        return values.take(pa.array(places, mask=places < 0)), found
    # A list with a value that is missing or wrong is wrong as a whole.
    bad = np.unique(parents[~np.asarray(values.is_valid())])
    hidden = bad[~np.isin(bad, [row for f in found for row in f.rows])]
    if len(hidden):
        details = [f"{feature.name}: null inside a list"] * len(hidden)
        found.append(Findings(Reason.INVALID_TYPE, hidden, details))
    missing = ~np.asarray(plain.is_valid())
    missing[bad] = True
    keep = ~missing[parents]
    counts = np.bincount(parents[keep], minlength=len(plain))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    mask = np.append(missing, False)
    kept = values.filter(pa.array(keep))
    return pa.ListArray.from_arrays(pa.array(offsets, mask=mask), kept), found


def _values(column: pa.Array, feature: Feature) -> tuple[pa.Array, list[Findings]]:
    kind, wanted = column.type, feature.type
    if wanted is FeatureType.BYTES:
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
    return (columns.as_lists(values) if feature.is_list else values), found


def _to_int64(column: pa.Array, feature: Feature) -> tuple[pa.Array, list[Findings]]:
    if not pt.is_uint64(column.type):
        return column.cast(pa.int64()), []
    fits = pc.less(column, pa.scalar(2**63, pa.uint64()))
    kept = pc.if_else(fits, column, pa.scalar(None, column.type)).cast(pa.int64())
    rows = np.flatnonzero(~np.asarray(fits.fill_null(True)))
    bad = column.take(pa.array(rows)).to_pylist()
    details = [f"{feature.name}: {value} is not an INT" for value in bad]
    return kept, [Findings(Reason.INVALID_TYPE, rows, details)]


def _refuse(column: pa.Array, feature: Feature, why: str) -> tuple[pa.Array, list[Findings]]:
    """A column whose type cannot be the feature's: every present value is wrong."""
    rows = np.flatnonzero(np.asarray(column.is_valid()))
    shown = [columns.shown(value) for value in column.take(pa.array(rows)).to_pylist()]
    details = [f"{feature.name}: {value} {why}" for value in shown]
    return columns.all_null(feature, len(column)), [Findings(Reason.INVALID_TYPE, rows, details)]
