"""Request files that cannot be read to their end: each costs itself, not the others.

Whether a file is read is decided once, when its ids are scanned, before any of its rows goes
anywhere; all later steps leave it out alike.
"""

import enum
import errno
import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from beam_jobs import storage
from beam_jobs.errors import ChangedError, InputError, StorageTimeoutError

_ITS_OWN = frozenset(
    (errno.EACCES, errno.EPERM, errno.EIO, errno.EISDIR, errno.ELOOP, errno.EFBIG, errno.EOVERFLOW)
)
"""What ails a file and not the machine, which may have run out of memory or descriptors; a storage
service that refuses says EIO."""


class Trouble(str, enum.Enum):
    """Why a request file is not read."""

    CONTENT = "CONTENT"
    """It is truncated or corrupt: reading it again will not help."""
    ACCESS = "ACCESS"
    """It may not be read, or its disk fails."""
    CHANGED = "CHANGED"
    """It was replaced or removed since it was planned; what is there now is another file."""


@dataclass(frozen=True)
class Unreadable:
    """A request file that this run leaves out.

    Attributes:
        trouble: its kind.
        error: a sentence that names the file.
    """

    trouble: Trouble
    error: str

    @property
    def is_set_aside(self) -> bool:
        """Whether no run tries this generation again."""
        return self.trouble is not Trouble.CHANGED


def unreadable(file: storage.FileInfo, error: InputError) -> Unreadable:
    """What is wrong with a file that could not be read to its end.

    Raises:
        InputError: the error itself, where it is the machine's or a service's and not the file's.
    """
    try:
        # What is read while it is written looks corrupt.
        storage.check_unchanged(file)
    except ChangedError as changed:
        return Unreadable(Trouble.CHANGED, str(changed))
    cause = error.__cause__
    if isinstance(error, ChangedError):
        return Unreadable(Trouble.CHANGED, str(error))
    if isinstance(cause, EOFError | zlib.error | gzip.BadGzipFile):
        return Unreadable(Trouble.CONTENT, str(error))
    is_away = isinstance(cause, StorageTimeoutError)
    if isinstance(cause, OSError) and cause.errno in _ITS_OWN and not is_away:
        return Unreadable(Trouble.ACCESS, str(error))
    raise error


def check_some_readable(left_out: Mapping[int, Unreadable], files: int) -> None:
    """Where no file at all may be read, that is the set-up's fault: none is set aside for it.

    Args:
        left_out: {place in the plan: why} of the files that cannot be read.
        files: of the plan.

    Raises:
        InputError: so it is; the next run tries all of them again.
    """
    denied = [found.error for found in left_out.values() if found.trouble is Trouble.ACCESS]
    if denied and len(left_out) == files:
        first = min(denied)
        raise InputError(first if files == 1 else f"none of {files} request files: {first}")
