"""Parquet row groups -> Arrow arrays that are what the footer says, or an error.

Arrow trusts what a file says of itself. `iter_batches` ends without a word where a column ends
early, and a short column beside a long one ends the process (pyarrow 10; 26 still loses rows). So
each column is read by itself, its values are counted, and every array is validated before anybody
uses it. What still ends the process ends one of its own: `parquet_process`.
"""

import inspect
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

_BUFFER_BYTES = 8 << 20
"""Of a column chunk read at a time: a row group of any size is decoded in the same memory."""

_MAGIC = b"PAR1"
_FOOTER_END = 4 + len(_MAGIC)
"""After the footer stand its length and the magic word (Parquet's file format)."""

Tell = Callable[[str], None]
"""Told what is read next: `row group 2 of 3, column 'bid'`."""


class DamagedError(Exception):
    """The file contradicts itself."""


@dataclass(frozen=True)
class RowGroup:
    """What the footer says of a row group: rows, and bytes of its values before compression."""

    rows: int
    bytes: int


@dataclass(frozen=True)
class Footer:
    """What the footer says: names of the columns, and the row groups."""

    names: tuple[str, ...]
    groups: tuple[RowGroup, ...]


@dataclass(frozen=True)
class OpenFile:
    """A Parquet file whose footer is read."""

    source: pa.NativeFile | io.RawIOBase
    arrow: pq.ParquetFile

    def reader_of(self, name: str) -> pq.ParquetFile:
        """The reader of a column: pyarrow fails on categories that are not UTF-8, not on texts."""
        kind = self.arrow.schema_arrow.field(name).type
        is_category = pt.is_dictionary(kind) and (
            pt.is_string(kind.value_type) or pt.is_large_string(kind.value_type)
        )
        return self._without_categories if is_category else self.arrow

    @cached_property
    def _without_categories(self) -> pq.ParquetFile:
        """The same file by Parquet's own types: Arrow's stand in the footer under a key."""
        self.source.seek(-_FOOTER_END, io.SEEK_END)
        size = int.from_bytes(self.source.read(4), "little") + _FOOTER_END
        self.source.seek(-size, io.SEEK_END)
        footer = self.source.read(size).replace(b"ARROW:schema", b"ARROW-schema")
        return _reader(self.source, pq.read_metadata(pa.BufferReader(_MAGIC + footer)))


def open_file(source: pa.NativeFile | io.RawIOBase) -> OpenFile:
    """Reads the footer.

    Raises:
        DamagedError: a name is not UTF-8.
        pa.ArrowException, OSError: it is not Parquet.
    """
    try:
        file = _reader(source)
        _ = file.schema_arrow.names
    except UnicodeDecodeError as error:
        raise DamagedError(f"a column name is not UTF-8: {error}") from error
    return OpenFile(source, file)


def _reader(
    source: pa.NativeFile | io.RawIOBase, metadata: pq.FileMetaData | None = None
) -> pq.ParquetFile:
    option = "page_checksum_verification"  # compares pages with checksums, from pyarrow 13 on
    checks = {option: True} if option in inspect.signature(pq.ParquetFile).parameters else {}
    return pq.ParquetFile(
        source, metadata=metadata, pre_buffer=False, buffer_size=_BUFFER_BYTES, **checks
    )


def footer_of(opened: OpenFile) -> Footer:
    """Raises DamagedError where the row groups do not add up to the file."""
    file = opened.arrow
    about = file.metadata
    found = [about.row_group(number) for number in range(about.num_row_groups)]
    groups = tuple(RowGroup(group.num_rows, max(group.total_byte_size, 0)) for group in found)
    if (
        min((g.rows for g in groups), default=0) < 0
        or sum(g.rows for g in groups) != about.num_rows
    ):
        rows = ", ".join(str(group.rows) for group in groups[:20])
        raise DamagedError(
            f"the footer says {about.num_rows} rows, its {len(groups)} row groups say {rows}"
        )
    if about.num_rows and not file.schema_arrow.names:
        raise DamagedError(f"the footer says {about.num_rows} rows and no columns")
    return Footer(tuple(file.schema_arrow.names), groups)


def decode(
    opened: OpenFile, group: int, names: Sequence[str], rows_per_batch: int, tell: Tell
) -> Iterator[pa.RecordBatch]:
    """Columns of a row group, every row of it.

    Args:
        opened: from `open_file`.
        group: which row group.
        names: of columns that the file has, each once; at least one.
        rows_per_batch: of all batches but the last.
        tell: told what is read, before it is.

    Raises:
        DamagedError: a column holds fewer values than the footer says, or values that cannot be.
        pa.ArrowException, OSError: a page cannot be read.
    """
    columns = [_Column(opened.reader_of(name), group, name, rows_per_batch, tell) for name in names]
    rest = opened.arrow.metadata.row_group(group).num_rows
    while rest:
        rows = min(rest, rows_per_batch)
        yield pa.RecordBatch.from_arrays([column.take(rows) for column in columns], list(names))
        rest -= rows


class _Column:
    """A column of a row group, read by itself."""

    def __init__(
        self, file: pq.ParquetFile, group: int, name: str, rows_per_batch: int, tell: Tell
    ) -> None:
        of = file.metadata.num_row_groups
        self._place = f"row group {group + 1} of {of}, column {name!r}"
        self._tell = tell
        tell(self._place)
        leaves = _leaves_of(file, name)
        _check_chunks(file, group, leaves)
        self._batches = file.reader.iter_batches(rows_per_batch, [group], leaves, use_threads=False)

    def take(self, rows: int) -> pa.Array:
        """So many values more."""
        self._tell(self._place)
        parts: list[pa.Array] = []
        while (missing := rows - sum(map(len, parts))) > 0:
            batch = next(self._batches, None)
            if batch is None or batch.num_columns != 1:
                raise DamagedError(f"{missing} of its rows are missing")
            parts.append(batch.column(0))
        if missing:
            raise DamagedError(f"{-missing} values stand where none belong")
        values = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
        # Bytes that are no UTF-8 and times beyond a day are a matter of their rows; what makes an
        # array unsafe is not.
        stored = _stored(values.type)
        (values if stored == values.type else values.view(stored)).validate(full=True)
        return values


def _leaves_of(file: pq.ParquetFile, name: str) -> list[int]:
    """The columns of the file that make a column of the table.

    Arrow finds them by the parts of dotted names, and a name may hold dots.
    """
    schema = file.schema_arrow
    counts = [_leaves(field.type) for field in schema]
    if sum(counts) != file.metadata.num_columns:
        raise DamagedError(
            f"the schema names {sum(counts)} columns, the file has {file.metadata.num_columns}"
        )
    place = schema.names.index(name)
    first = sum(counts[:place])
    return list(range(first, first + counts[place]))


def _leaves(kind: pa.DataType) -> int:
    if isinstance(kind, pa.BaseExtensionType):
        return _leaves(kind.storage_type)
    if pt.is_map(kind):
        return _leaves(kind.key_type) + _leaves(kind.item_type)
    if pt.is_struct(kind):
        return sum(_leaves(field.type) for field in kind)
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        return _leaves(kind.value_type)
    return 1


def _check_chunks(file: pq.ParquetFile, group: int, leaves: Sequence[int]) -> None:
    """Raises DamagedError where the footer says what cannot be."""
    about = file.metadata.row_group(group)
    for leaf in leaves:
        chunk = about.column(leaf)
        is_repeated = file.schema.column(leaf).max_repetition_level > 0
        if chunk.num_values < about.num_rows or (
            chunk.num_values > about.num_rows and not is_repeated
        ):
            raise DamagedError(f"{chunk.num_values} values for {about.num_rows} rows")


def _stored(kind: pa.DataType) -> pa.DataType:
    """The type with bytes where it has texts, numbers where it has times; the buffers are equal."""
    if pt.is_string(kind):
        return pa.binary()
    if pt.is_large_string(kind):
        return pa.large_binary()
    if pt.is_time32(kind):
        return pa.int32()
    if pt.is_time64(kind) or pt.is_date64(kind):
        return pa.int64()
    if pt.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _stored(kind.value_type), kind.ordered)
    return _stored_nested(kind) if pt.is_nested(kind) else kind


def _stored_nested(kind: pa.DataType) -> pa.DataType:
    if pt.is_map(kind):
        return pa.map_(_stored(kind.key_type), _stored(kind.item_type))
    if pt.is_struct(kind):
        return pa.struct([field.with_type(_stored(field.type)) for field in kind])
    if not (pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)):
        return kind
    field = kind.value_field.with_type(_stored(kind.value_type))
    if pt.is_fixed_size_list(kind):
        return pa.list_(field, kind.list_size)
    return pa.large_list(field) if pt.is_large_list(kind) else pa.list_(field)
