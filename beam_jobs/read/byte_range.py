"""Formats, byte ranges of files, and what is read from them."""

import enum
from dataclasses import dataclass

from beam_jobs import storage
from beam_jobs.errors import UsageError
from beam_jobs.schema import Feature


class Format(str, enum.Enum):
    """Formats, by suffix."""

    CSV = ".csv"
    CSV_GZ = ".csv.gz"
    JSONL = ".jsonl"
    JSONL_GZ = ".jsonl.gz"
    PARQUET = ".parquet"

    @property
    def is_compressed(self) -> bool:
        """Whether the file is gzip: it has one byte range, and is streamed."""
        return self.value.endswith(".gz")

    @property
    def is_csv(self) -> bool:
        """Whether its records are CSV."""
        return self in (Format.CSV, Format.CSV_GZ)

    @property
    def is_jsonl(self) -> bool:
        """Whether its records are JSON Lines."""
        return self in (Format.JSONL, Format.JSONL_GZ)


def format_of(uri: str) -> Format:
    """Raises UsageError where the suffix is of no known format."""
    found = [kind for kind in Format if uri.endswith(kind.value)]
    if not found:
        known = ", ".join(kind.value for kind in Format)
        raise UsageError(f"{uri}: not a known format; the suffix must be one of {known}")
    return found[0]


@dataclass(frozen=True)
class ByteRange:
    """A range of one file, read by one worker.

    Attributes:
        file: with the generation that must be read.
        file_index: the file's place in the plan.
        number: the byte range's place in the file.
        start, end: bytes (row groups of Parquet). It owns the records that start in between.
        first_row: source_row of its first record, from 1.
        is_last: whether no record of the file stands behind it.
    """

    file: storage.FileInfo
    file_index: int
    number: int
    start: int
    end: int
    first_row: int = 1
    is_last: bool = True


@dataclass(frozen=True)
class RangeScan:
    """What scanning a byte range found.

    Attributes:
        first: byte of its first record, None where it owns none.
        next_start: byte where the next byte range's first record starts.
        rows: records that it owns.
    """

    byte_range: ByteRange
    first: int | None
    next_start: int
    rows: int


@dataclass(frozen=True)
class ReadSpec:
    """What to make of the records.

    Attributes:
        features: the schema's.
        key: column that identifies a row.
        key_only: whether only the key is wanted; which rows there are does not depend on it.
    """

    features: tuple[Feature, ...]
    key: str | None = None
    key_only: bool = False
