"""What one worker reads together: several small request files, or a range of a large one."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from beam_jobs.read.inputs import Inputs
from beam_jobs.read.splitting import candidate_ranges
from beam_jobs.storage import FileInfo

GROUP_BYTES = 32 << 20
GROUP_FILES = 1_000
"""A group is one worker's: large enough to fill batches, small enough that all workers get some."""


@dataclass(frozen=True)
class Group:
    """Whole request files, or the lines of one that start in a range of bytes.

    Attributes:
        number: of the group; `source` of its batches' `BatchKey`. Groups stand in the order
            of the plan's files and their bytes.
        first: place of its first file in the plan.
        files: in the plan's order.
        start, end: bytes of the one file; None for whole files.
        is_last: whether no line of its last file stands behind it.
    """

    number: int
    first: int
    files: tuple[FileInfo, ...]
    start: int = 0
    end: int | None = None
    is_last: bool = True

    @property
    def uris(self) -> list[str]:
        """Of the files."""
        return [file.uri for file in self.files]


def groups_of(
    files: Sequence[FileInfo], *, max_bytes: int = GROUP_BYTES, max_files: int = GROUP_FILES
) -> list[Group]:
    """The plan's files in groups; files that are worth several workers are split."""
    groups: list[Group] = []
    first, size = 0, 0

    def close(behind: int) -> None:
        nonlocal first, size
        if first < behind:
            groups.append(Group(len(groups), first, tuple(files[first:behind])))
        first, size = behind, 0

    for place, file in enumerate(files):
        byte_ranges = candidate_ranges(file, place)
        if len(byte_ranges) > 1 or size + file.size > max_bytes or place - first >= max_files:
            close(place)
        size += file.size
        if len(byte_ranges) > 1:
            groups += [
                Group(
                    len(groups) + n,
                    place,
                    (file,),
                    byte_range.start,
                    byte_range.end,
                    byte_range.is_last,
                )
                for n, byte_range in enumerate(byte_ranges)
            ]
            first, size = place + 1, 0
    close(len(files))
    return groups


@functools.lru_cache(maxsize=4)
def groups_in(inputs: Inputs) -> tuple[Group, ...]:
    """The groups of a run, made once a process."""
    return tuple(groups_of(inputs.files))
