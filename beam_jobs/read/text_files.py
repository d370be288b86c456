"""CSV and JSON Lines as streams: decompression, what stands before the records, cutting them."""

import contextlib
import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from beam_jobs import storage
from beam_jobs.batch import ROWS_PER_BATCH
from beam_jobs.errors import InputError
from beam_jobs.read import csv
from beam_jobs.read.byte_range import ByteRange, format_of
from beam_jobs.read.lines import MAX_RECORD_BYTES, Splitter, split, too_long
from beam_jobs.read.signs import (
    HEAD_BYTES,
    foreign_content,
)

_HEADER_BYTES = (1 << 16, 2 * MAX_RECORD_BYTES)
"""Read for the header: enough for nearly all, and for the longest there can be."""


_BOM = b"\xef\xbb\xbf"


def foreign_in(stream: BinaryIO, file: storage.FileInfo) -> str | None:
    """What the file is, where it is of another kind than its name says; None where it is not."""
    stream.seek(0)
    return foreign_content(stream.read(HEAD_BYTES), is_csv=format_of(file.uri).is_csv)


def splitter_of(
    stream: BinaryIO, byte_range: ByteRange, start: int, rows: int = ROWS_PER_BATCH
) -> Splitter:
    """Cuts the records of a byte range from some byte on."""
    quoted = is_quoted(stream, byte_range.file)
    stream.seek(start)
    return Splitter(stream, start, quoted=quoted, end=byte_range.end, rows=rows)


def is_quoted(stream: BinaryIO, file: storage.FileInfo) -> bool:
    """Whether quotes hide line ends: in CSV that is CSV."""
    return format_of(file.uri).is_csv and foreign_in(stream, file) is None


def head_of(stream: BinaryIO, file: storage.FileInfo) -> tuple[list[str], int]:
    """(column names of a CSV file, byte of its first record): behind byte order mark and header.

    Foreign content has neither.

    Raises:
        InputError: the header is broken, so that no record behind it could be understood.
    """
    if foreign_in(stream, file) is not None:
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
