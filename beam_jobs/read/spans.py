"""Files -> spans -> RecordBatches: what is read where, with exact borders and row numbers.

A file of many gigabytes is read in spans that start and end between records. Where a span's first
record starts is known for sure only to whoever read all before it; so every span guesses, scans
itself, and tells where the next one must start. Guesses that were wrong are scanned again from
the right place (Ge et al., Speculative Distributed CSV Data Parsing, SIGMOD 2019).
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
from beam_jobs.errors import AuditError, InputError
from beam_jobs.read import csv
from beam_jobs.read.lines import MAX_RECORD_BYTES, Splitter, split, too_long
from beam_jobs.read.span import Format, ReadSpec, Span, SpanScan, format_of
from beam_jobs.records import ROWS_PER_BATCH

SPAN_BYTES = 32 << 20
"""A span at most: large enough that its start-up vanishes."""

_FEWEST_SPANS = 8
_LEAST_SPAN_BYTES = 4 << 20
"""Files of a few spans are split finer, so that all cores get an equal share."""

_BOM = b"\xef\xbb\xbf"


def candidate_spans(
    file: storage.FileInfo, file_index: int, span_bytes: int = SPAN_BYTES
) -> list[Span]:
    """Spans whose borders are still guesses, but for files that are one span.

    Raises:
        InputError: the file cannot be read.
    """
    kind = format_of(file.uri)
    if kind is Format.PARQUET:
        from beam_jobs.read import parquet

        return parquet.spans(file, file_index, span_bytes)
    if kind.is_compressed:
        return [Span(file, file_index, 0, 0, 1 << 62)]
    number = max(-(-file.size // span_bytes), min(_FEWEST_SPANS, file.size // _LEAST_SPAN_BYTES), 1)
    borders = [file.size * place // number for place in range(number + 1)]
    return [
        Span(file, file_index, place, start, end, is_last=place == number - 1)
        for place, (start, end) in enumerate(itertools.pairwise(borders))
    ]


def needs_scan(spans: Sequence[Span]) -> bool:
    """Whether borders or row numbers of a file's candidate spans are still unknown."""
    return len(spans) > 1 and format_of(spans[0].file.uri) is not Format.PARQUET


def scan_span(span: Span) -> SpanScan:
    """Counts the records of a candidate span from where its first one seems to start."""
    with opened(span.file) as stream:
        start = _guess(stream, span) if span.number else _head(stream, span.file)[1]
        return _scan(stream, span, start)


def resolve_spans(scans: Sequence[SpanScan]) -> list[Span]:
    """Exact spans of one file, from the scans of all its candidate spans in order.

    Those without records are left out, but for one of a file that has none at all.

    Raises:
        AuditError: a scan is missing, or there twice.
    """
    _check_complete(scans)
    exact: list[Span] = []
    expected, row = None, 1
    for scan in scans:
        # A scan that began elsewhere may still have met the true start of a record; the first
        # span's start is no guess.
        if expected is not None and scan.first != expected:
            if expected >= scan.span.end:
                continue
            with opened(scan.span.file) as stream:
                right = _scan(stream, scan.span, expected)
        else:
            right = scan
        if right.rows:
            assert right.first is not None
            exact.append(
                dataclasses.replace(scan.span, start=right.first, first_row=row, is_last=False)
            )
        expected, row = right.next_start, row + right.rows
    last = exact.pop() if exact else dataclasses.replace(scan.span, start=scan.span.end)
    return [*exact, dataclasses.replace(last, is_last=True)]


def _check_complete(scans: Sequence[SpanScan]) -> None:
    spans = [scan.span for scan in scans]
    if [span.number for span in spans] != list(range(len(spans))) or not spans[-1].is_last:
        numbers = ", ".join(str(span.number) for span in spans)
        raise AuditError(
            f"{spans[0].file.uri}: of its spans only or more than once {numbers} arrived: the"
            " runner lost or doubled one"
        )


def read_span(
    span: Span, spec: ReadSpec, rows_per_batch: int = ROWS_PER_BATCH
) -> Iterator[pa.RecordBatch]:
    """The records of an exact span, as `records` describes batches.

    Raises:
        InputError: the file cannot be read to its end, or is not the generation planned.
    """
    from beam_jobs.read import batches, parquet

    kind = format_of(span.file.uri)
    if kind is Format.PARQUET:
        yield from parquet.read(span, spec, rows_per_batch)
    else:
        row = span.first_row
        with opened(span.file) as stream:
            header, data_start = _head(stream, span.file)
            start = max(span.start, data_start)
            for block in _splitter(stream, span, start, rows_per_batch).blocks():
                yield batches.from_block(
                    block,
                    header,
                    span.file.uri,
                    row,
                    spec.features,
                    spec.key,
                    key_only=spec.key_only,
                    is_csv=kind.is_csv,
                )
                row += len(block)
    storage.check_unchanged(span.file)


def peek_columns(file: storage.FileInfo) -> list[str]:
    """Names of a file's columns, from its first bytes; those of JSON Lines from its first record.

    Raises:
        InputError: the file cannot be read.
    """
    from beam_jobs.read import jsonl, parquet

    kind = format_of(file.uri)
    if kind is Format.PARQUET:
        return parquet.column_names(file)
    with opened(file) as stream:
        header, start = _head(stream, file)
        if kind.is_csv:
            return header
        stream.seek(start)
        for block in Splitter(stream, start, quoted=False, rows=1).blocks():
            return jsonl.names_of(block.data[block.starts[0] : block.ends[0]])
    return []


def _splitter(stream: BinaryIO, span: Span, start: int, rows: int = ROWS_PER_BATCH) -> Splitter:
    stream.seek(start)
    quoted = format_of(span.file.uri).is_csv
    return Splitter(stream, start, quoted=quoted, end=span.end, rows=rows)


def _scan(stream: BinaryIO, span: Span, start: int) -> SpanScan:
    splitter = _splitter(stream, span, start)
    first, rows = None, 0
    for block in splitter.blocks():
        first = block.offset + int(block.starts[0]) if first is None else first
        rows += len(block)
    assert splitter.next_start is not None
    return SpanScan(span, first, splitter.next_start, rows)


def _guess(stream: BinaryIO, span: Span) -> int:
    """Behind the first line end of the span that does not seem to stand inside quotes.

    The hypothesis under which fewer quotes stand where none may wins.
    """
    stream.seek(span.start - 1)
    data = stream.read(1 << 16)
    if not format_of(span.file.uri).is_csv or b'"' not in data:
        return span.start + data.find(b"\n") if b"\n" in data else span.end
    starts = [_first_start(data, inside) for inside in (False, True)]
    faults = [_faults(data[start:]) for start in starts]
    return span.start - 1 + starts[int(faults[1] < faults[0])]


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

    Raises:
        InputError: the header is broken, so that no record behind it could be understood.
    """
    stream.seek(0)
    data = stream.read(2 * MAX_RECORD_BYTES)
    skipped = len(_BOM) if data.startswith(_BOM) else 0
    if not format_of(file.uri).is_csv:
        return [], skipped
    final = len(data) < 2 * MAX_RECORD_BYTES
    block, used = split(data[skipped:], skipped, quoted=True, final=final)
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
        raise InputError(f"{file.uri}: the gzip data is truncated or corrupt ({error})") from error
    except OSError as error:
        raise InputError(f"{file.uri}: cannot be read ({error.strerror or error})") from error
