"""Files -> byte ranges -> RecordBatches: what is read where, with exact borders and row numbers.

A file of many gigabytes is read in byte ranges that start and end between records. Where a byte
range's first record starts is known for sure only to whoever read all before it; so every byte
range guesses, scans itself, and tells where the next one must start. Guesses that were wrong are
scanned again from the right place (Ge et al., Speculative Distributed CSV Data Parsing, SIGMOD
2019).
"""

import contextlib
import dataclasses
import gzip
import io
import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa

from beam_jobs import storage
from beam_jobs.batch import ROWS_PER_BATCH
from beam_jobs.errors import AuditError, InputError
from beam_jobs.read import csv
from beam_jobs.read.byte_range import ByteRange, Format, RangeScan, ReadSpec, format_of
from beam_jobs.read.json_names import names_of
from beam_jobs.read.lines import MAX_RECORD_BYTES, Block, Splitter, split, too_long
from beam_jobs.read.signs import (
    HEAD_BYTES,
    FileSign,
    Tell,
    foreign_content,
    ignore,
    tell_columns,
    tell_end,
)

RANGE_BYTES = 32 << 20
"""A byte range at most: large enough that its start-up vanishes."""

_FEWEST_RANGES = 8
_LEAST_RANGE_BYTES = 4 << 20
"""Files of a few byte ranges are split finer, so that all cores get an equal share."""

_HEADER_BYTES = (1 << 16, 2 * MAX_RECORD_BYTES)
"""Read for the header: enough for nearly all, and for the longest there can be."""

_NAMED_RECORDS = 100
"""Of JSON Lines; looked at for the names of columns."""

_BOM = b"\xef\xbb\xbf"


def candidate_ranges(
    file: storage.FileInfo, file_index: int, range_bytes: int = RANGE_BYTES
) -> list[ByteRange]:
    """Byte ranges whose borders are still guesses, but for files that are one byte range.

    Raises:
        InputError: the file cannot be read.
    """
    kind = format_of(file.uri)
    if kind is Format.PARQUET:
        from beam_jobs.read import parquet

        return parquet.byte_ranges(file, file_index, range_bytes)
    if kind.is_compressed:
        return [ByteRange(file, file_index, 0, 0, 1 << 62)]
    number = _range_count(file, range_bytes)
    borders = [file.size * place // number for place in range(number + 1)]
    return [
        ByteRange(file, file_index, place, start, end, is_last=place == number - 1)
        for place, (start, end) in enumerate(itertools.pairwise(borders))
    ]


def _range_count(file: storage.FileInfo, range_bytes: int) -> int:
    """Byte ranges of a text file that is not compressed."""
    return max(
        -(-file.size // range_bytes), min(_FEWEST_RANGES, file.size // _LEAST_RANGE_BYTES), 1
    )


def is_scanned(file: storage.FileInfo) -> bool:
    """Whether a file is read once more, to find where its byte ranges begin."""
    kind = format_of(file.uri)
    is_text = kind is not Format.PARQUET and not kind.is_compressed
    return is_text and _range_count(file, RANGE_BYTES) > 1


def needs_scan(byte_ranges: Sequence[ByteRange]) -> bool:
    """Whether borders or row numbers of a file's candidate byte ranges are still unknown."""
    return len(byte_ranges) > 1 and format_of(byte_ranges[0].file.uri) is not Format.PARQUET


def scan_range(byte_range: ByteRange) -> RangeScan:
    """Counts the records of a candidate byte range from where its first one seems to start."""
    with opened(byte_range.file) as stream:
        start = (
            _guess(stream, byte_range) if byte_range.number else _head(stream, byte_range.file)[1]
        )
        return _scan(stream, byte_range, start)


def resolve_ranges(scans: Sequence[RangeScan]) -> list[ByteRange]:
    """Exact byte ranges of one file, from the scans of all its candidate byte ranges in order.

    Those without records are left out, but for one of a file that has none at all.

    Raises:
        AuditError: a scan is missing, or there twice.
    """
    _check_complete(scans)
    exact: list[ByteRange] = []
    expected, row = None, 1
    for scan in scans:
        # A scan that began elsewhere may still have met the true start of a record; the first
        # byte range's start is no guess.
        if expected is not None and scan.first != expected:
            if expected >= scan.byte_range.end:
                continue
            with opened(scan.byte_range.file) as stream:
                right = _scan(stream, scan.byte_range, expected)
        else:
            right = scan
        if right.rows:
            assert right.first is not None
            exact.append(
                dataclasses.replace(
                    scan.byte_range, start=right.first, first_row=row, is_last=False
                )
            )
        expected, row = right.next_start, row + right.rows
    last = exact.pop() if exact else dataclasses.replace(scan.byte_range, start=scan.byte_range.end)
    return [*exact, dataclasses.replace(last, is_last=True)]


def _check_complete(scans: Sequence[RangeScan]) -> None:
    byte_ranges = [scan.byte_range for scan in scans]
    if [byte_range.number for byte_range in byte_ranges] != list(
        range(len(byte_ranges))
    ) or not byte_ranges[-1].is_last:
        numbers = ", ".join(str(byte_range.number) for byte_range in byte_ranges)
        raise AuditError(
            f"{byte_ranges[0].file.uri}: of its byte ranges only or more than once {numbers}"
            " arrived: the runner dropped or duplicated one"
        )


def read_range(
    byte_range: ByteRange, spec: ReadSpec, rows_per_batch: int = ROWS_PER_BATCH, tell: Tell = ignore
) -> Iterator[pa.RecordBatch]:
    """The records of an exact byte range, as `records` describes batches.

    Args:
        byte_range: what to read.
        spec: what to make of it.
        rows_per_batch: at most.
        tell: told what is odd about the file, each thing by one of its byte ranges.

    Raises:
        InputError: the file cannot be read to its end, or is not the generation planned.
    """
    from beam_jobs.read import parquet

    if format_of(byte_range.file.uri) is Format.PARQUET:
        yield from parquet.read(byte_range, spec, rows_per_batch, tell)
    else:
        with opened(byte_range.file) as stream:
            yield from _read_text(stream, byte_range, spec, rows_per_batch, tell)
    storage.check_unchanged(byte_range.file)


def _read_text(
    stream: BinaryIO, byte_range: ByteRange, spec: ReadSpec, rows_per_batch: int, tell: Tell
) -> Iterator[pa.RecordBatch]:
    from beam_jobs.read import batches

    is_csv = format_of(byte_range.file.uri).is_csv
    foreign = _foreign(stream, byte_range.file)
    header, data_start = _head(stream, byte_range.file)
    if byte_range.number == 0:
        if foreign is not None:
            tell(FileSign.FOREIGN)
        elif is_csv:
            tell_columns(header, spec.features, tell)
    splitter = _splitter(stream, byte_range, max(byte_range.start, data_start), rows_per_batch)
    row, batch = byte_range.first_row, None
    for block in splitter.blocks():
        if row == 1 and foreign is None and not is_csv:
            tell_columns(_first_names(block), spec.features, tell)
        batch = batches.from_block(
            block if foreign is None else _all_broken(block, f"the file is {foreign}"),
            header,
            byte_range.file.uri,
            row,
            spec.features,
            spec.key,
            key_only=spec.key_only,
            is_csv=is_csv and foreign is None,
        )
        yield batch
        row += len(block)
    if byte_range.is_last and batch is not None:
        tell_end(batch, splitter.last_byte, is_csv=is_csv, tell=tell)


def _foreign(stream: BinaryIO, file: storage.FileInfo) -> str | None:
    stream.seek(0)
    return foreign_content(stream.read(HEAD_BYTES), is_csv=format_of(file.uri).is_csv)


def _all_broken(block: Block, why: str) -> Block:
    return dataclasses.replace(block, broken=dict.fromkeys(range(len(block)), why))


def _first_names(block: Block) -> set[str]:
    """Names of fields in the first records of JSON Lines."""
    ends = zip(block.starts[:_NAMED_RECORDS], block.ends[:_NAMED_RECORDS], strict=True)
    return {name for start, end in ends for name in names_of(block.data[start:end])}


def peek_columns(file: storage.FileInfo) -> list[str]:
    """Names of a file's columns, from its first bytes; those of JSON Lines from its first record.

    Raises:
        InputError: the file cannot be read.
    """
    from beam_jobs.read import parquet

    kind = format_of(file.uri)
    if kind is Format.PARQUET:
        return parquet.column_names(file)
    with opened(file) as stream:
        header, start = _head(stream, file)
        if kind.is_csv:
            return header
        stream.seek(start)
        for block in Splitter(stream, start, quoted=False, rows=1).blocks():
            return names_of(block.data[block.starts[0] : block.ends[0]])
    return []


def _splitter(
    stream: BinaryIO, byte_range: ByteRange, start: int, rows: int = ROWS_PER_BATCH
) -> Splitter:
    quoted = _is_quoted(stream, byte_range.file)
    stream.seek(start)
    return Splitter(stream, start, quoted=quoted, end=byte_range.end, rows=rows)


def _is_quoted(stream: BinaryIO, file: storage.FileInfo) -> bool:
    return format_of(file.uri).is_csv and _foreign(stream, file) is None


def _scan(stream: BinaryIO, byte_range: ByteRange, start: int) -> RangeScan:
    splitter = _splitter(stream, byte_range, start)
    first, rows = None, 0
    for block in splitter.blocks():
        first = block.offset + int(block.starts[0]) if first is None else first
        rows += len(block)
    assert splitter.next_start is not None
    return RangeScan(byte_range, first, splitter.next_start, rows)


def _guess(stream: BinaryIO, byte_range: ByteRange) -> int:
    """Behind the first line end of the byte range that does not seem to stand inside quotes.

    The hypothesis under which fewer quotes stand where none may wins.
    """
    quoted = _is_quoted(stream, byte_range.file)
    stream.seek(byte_range.start - 1)
    data = stream.read(1 << 16)
    if not quoted or b'"' not in data:
        return byte_range.start + data.find(b"\n") if b"\n" in data else byte_range.end
    starts = [_first_start(data, inside) for inside in (False, True)]
    faults = [_faults(data[start:]) for start in starts]
    return byte_range.start - 1 + starts[int(faults[1] < faults[0])]


def _first_start(data: bytes, inside: bool) -> int:
    for place, byte in enumerate(data):
        if byte == 34:
            inside = not inside
        elif byte == 10 and not inside:
            return place + 1
    return len(data)


def _faults(data: bytes) -> int:
    splitter = Splitter(io.BytesIO(data[: MAX_RECORD_BYTES // 2]), 0, quoted=True)
    return sum(len(block.broken) for block in splitter.blocks()) if data else 1 << 30


def _head(stream: BinaryIO, file: storage.FileInfo) -> tuple[list[str], int]:
    """(column names of a CSV file, byte of its first record): behind byte order mark and header.

    Foreign content has neither.

    Raises:
        InputError: the header is broken, so that no record behind it could be understood.
    """
    if _foreign(stream, file) is not None:
        return [], 0
    for size in _HEADER_BYTES:
        stream.seek(0)
        data = stream.read(size)
        skipped = len(_BOM) if data.startswith(_BOM) else 0
        if not format_of(file.uri).is_csv:
            return [], skipped
        final = len(data) < size
        block, used = split(data[skipped:], skipped, quoted=True, final=final)
        if len(block):
            break
    problem = block.broken.get(0) if len(block) or final else too_long()
    if problem is not None:
        raise InputError(f"{file.uri}: the header cannot be read ({problem})")
    if not len(block):
        return [], skipped + used
    header = csv.parse_header(block.data[block.starts[0] : block.ends[0]], file.uri)
    return header, skipped + (int(block.starts[1]) if len(block) > 1 else used)


@contextlib.contextmanager
def opened(
    file: storage.FileInfo, open_raw: Callable[[storage.FileInfo], BinaryIO] = storage.open_pinned
) -> Iterator[BinaryIO]:
    """The file's bytes, decompressed; what stops reading is an InputError that names the file."""
    try:
        with open_raw(file) as raw:
            if format_of(file.uri).is_compressed:
                with gzip.GzipFile(fileobj=raw) as stream:
                    yield stream  # type: ignore[misc]  # reads like any binary stream
            else:
                yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise gzip_error(file, error) from error
    except OSError as error:
        raise InputError(f"{file.uri}: cannot be read ({error.strerror or error})") from error


def gzip_error(file: storage.FileInfo, error: Exception) -> InputError:
    """What is told of compressed data that ends early or is none."""
    return InputError(f"{file.uri}: the gzip data is truncated or corrupt ({error})")
