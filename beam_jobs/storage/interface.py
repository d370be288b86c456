"""What a place for files can do; local disks and Cloud Storage differ here and nowhere else."""

import datetime
import enum
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

Tell = Callable[[str], None]
"""Told one sentence for the user."""

TellPassedOver = Callable[[str, str], None]
"""Told of what a pattern matches and is no file that can be read: (path, what it is)."""


@dataclass(frozen=True, order=True)
class FileInfo:
    """One file as it was found: reading another generation of it is an error.

    Attributes:
        uri: absolute path or URI.
        size: bytes.
        generation: text that changes whenever the content does: of a local file size and time,
            of an object its generation.
    """

    uri: str
    size: int
    generation: str


class Access(enum.Enum):
    """What a job does in a folder that it writes, so that nobody needs to grant more."""

    ADD = "add"
    """Makes new files and reads them; changes and removes none."""

    EDIT = "edit"
    """Makes, reads, replaces and removes files."""


class FileTooLargeError(OSError):
    """A file has more bytes than the reader wants."""


class Storage(Protocol):
    """Files by URI. Every method may raise OSError; see the functions of `beam_jobs.storage`."""

    def absolute(self, uri: str) -> str:
        """The URI in full, a relative path against the current folder."""

    def info(self, uri: str) -> FileInfo:
        """The file as it is now; FileNotFoundError where there is none."""

    def absolute_pattern(self, pattern: str) -> str:
        """The same of a pattern; the current folder in it is taken literally."""

    def match(self, pattern: str, tell: TellPassedOver | None = None) -> list[FileInfo]:
        """Files that a glob pattern matches, sorted; what it matches besides is told."""

    def list_files(self, folder: str, limit: int | None = None) -> list[FileInfo]:
        """All files below a folder, sorted, at most so many."""

    def children(self, folder: str) -> list[str]:
        """Names of the folders directly below a folder."""

    def exists(self, uri: str) -> bool:
        """Whether there is a file or a folder."""

    def since(self, uri: str) -> datetime.datetime:
        """When a file was made."""

    def open_pinned(self, file: FileInfo) -> BinaryIO:
        """A stream of exactly this generation; InputError where it is another now."""

    def check_unchanged(self, file: FileInfo) -> None:
        """Raises ChangedError where the file is another now, or gone."""

    def read_bytes(self, uri: str, limit: int | None, deadline: float | None = None) -> bytes:
        """The content; FileTooLargeError beyond the limit, StorageTimeoutError at the deadline."""

    def digest(self, file: FileInfo) -> str:
        """A hash of the content."""

    def open_atomic(self, uri: str) -> AbstractContextManager[BinaryIO]:
        """A stream whose content appears whole when it is closed, or not at all."""

    def create(self, uri: str, source: BinaryIO) -> bool:
        """Writes a file that must not be there yet; whether it did."""

    def replace(self, uri: str, data: bytes, expected: FileInfo | None) -> bool:
        """Writes a file that must be this one, or not be there; whether it did."""

    def remove(self, uri: str) -> None:
        """Removes a file or a whole folder; nothing where there is none."""

    def check_writable(self, folder: str, flag: str, access: Access) -> None:
        """Raises UsageError, naming the flag, where the folder does not allow the access."""

    def lock(self, folder: str, waiting: Tell) -> AbstractContextManager[None]:
        """Holds the lock of a folder; tells once for whom it waits."""
