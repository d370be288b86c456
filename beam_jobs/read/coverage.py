"""Was every record of every input read, once? A runner does not say what it drops or duplicates."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from beam_jobs.errors import AuditError
from beam_jobs.read.signs import FileSign

T = TypeVar("T")
_BLAME_RANGE = "the runner dropped or duplicated a byte range"
_BLAME = "the runner dropped or duplicated it"


@dataclass(frozen=True, order=True)
class RangeRows:
    """What was read of a byte range.

    Attributes:
        file_index: the file's place in the plan.
        first_row: source_row of the byte range's first record.
        rows: records that were read.
        is_last: whether no record of the file stands behind the byte range.
        signs: what is odd about the file, as far as the byte range shows it.
    """

    file_index: int
    first_row: int
    rows: int
    is_last: bool
    signs: tuple[FileSign, ...] = ()


def rows_of_files(
    reads: Iterable[RangeRows], uris: Sequence[str], skipped: Collection[int] = ()
) -> list[int]:
    """Records of each file, from what was read of all byte ranges.

    Args:
        reads: in any order. A file without records has a last byte range, too.
        uris: the plan's inputs.
        skipped: places of files that nobody was to read; they have 0 records.

    Raises:
        AuditError: the byte ranges of a file do not join, one to the next, from its first record to
            its last; or a file was read that nobody was to read.
    """
    byte_ranges: list[list[RangeRows]] = [[] for _ in uris]
    for read in reads:
        byte_ranges[read.file_index].append(read)
    for place in skipped:
        if byte_ranges[place]:
            raise AuditError(f"{uris[place]}: was left out, but read all the same: {_BLAME_RANGE}")
    return [
        0 if place in skipped else _rows(sorted(some), uri)
        for place, (some, uri) in enumerate(zip(byte_ranges, uris, strict=True))
    ]


def signs_of_files(reads: Iterable[RangeRows], uris: Sequence[str]) -> list[tuple[FileSign, ...]]:
    """What is odd about each file, in the order of the plan's inputs."""
    signs: list[set[FileSign]] = [set() for _ in uris]
    for read in reads:
        signs[read.file_index].update(read.signs)
    return [tuple(sorted(some)) for some in signs]


def _rows(byte_ranges: Sequence[RangeRows], uri: str) -> int:
    rows, ended = 0, False
    for byte_range in byte_ranges:
        if ended or byte_range.first_row != rows + 1:
            raise AuditError(
                f"{uri}: was read to row {rows}{', its end' if ended else ''}, and then from row"
                f" {byte_range.first_row}: {_BLAME_RANGE}"
            )
        rows, ended = rows + byte_range.rows, byte_range.is_last
    if not ended:
        raise AuditError(f"{uri}: was read to row {rows}, which is not its end: {_BLAME_RANGE}")
    return rows


def exactly_one(found: Sequence[T], what: str) -> T:
    """The one element of a side input that must have one.

    Raises:
        AuditError: it has none, or several.
    """
    if len(found) != 1:
        raise AuditError(f"{what}: {len(found)} arrived where one must; {_BLAME}")
    return found[0]
