"""Files -> byte ranges with exact borders and row numbers.

A file of many gigabytes is read in byte ranges that start and end between records. Where a byte
range's first record starts is known for sure only to whoever read all before it; so every byte
range guesses, scans itself, and tells where the next one must start. Guesses that were wrong are
scanned again from the right place (Ge et al., Speculative Distributed CSV Data Parsing, SIGMOD
2019).
"""

import dataclasses
import io
import itertools
from collections.abc import Sequence
from typing import BinaryIO

from beam_jobs import storage
from beam_jobs.errors import AuditError
from beam_jobs.read.byte_range import ByteRange, Format, RangeScan, format_of
from beam_jobs.read.lines import MAX_RECORD_BYTES, Splitter
from beam_jobs.read.text_files import head_of, is_quoted, opened, splitter_of

RANGE_BYTES = 32 << 20
"""A byte range at most: large enough that its start-up vanishes."""

_FEWEST_RANGES = 8
_LEAST_RANGE_BYTES = 4 << 20
"""Files of a few byte ranges are split finer, so that all cores get an equal share."""


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
            _guess(stream, byte_range) if byte_range.number else head_of(stream, byte_range.file)[1]
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


def _scan(stream: BinaryIO, byte_range: ByteRange, start: int) -> RangeScan:
    splitter = splitter_of(stream, byte_range, start)
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
    quoted = is_quoted(stream, byte_range.file)
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
