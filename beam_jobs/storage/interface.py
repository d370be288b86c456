"""What a place for files can do; local disks and Cloud Storage differ here and nowhere else."""

import datetime
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


class FileTooLargeError(OSError):
    """A file has more bytes than the reader wants."""


class Storage(Protocol):
    """Files by URI. Every method may raise OSError; see the functions of `beam_jobs.storage`."""

    def absolute(self, uri: str) -> str: ...

    def info(self, uri: str) -> FileInfo: ...

    def absolute_pattern(self, pattern: str) -> str: ...

    def match(self, pattern: str, tell: TellPassedOver | None = None) -> list[FileInfo]: ...

    def list_files(self, folder: str, limit: int | None = None) -> list[FileInfo]: ...

    def children(self, folder: str) -> list[str]: ...

    def exists(self, uri: str) -> bool: ...

    def since(self, uri: str) -> datetime.datetime: ...

    def open_pinned(self, file: FileInfo) -> BinaryIO: ...

    def check_unchanged(self, file: FileInfo) -> None: ...

    def read_bytes(self, uri: str, limit: int | None, deadline: float | None = None) -> bytes: ...

    def digest(self, file: FileInfo) -> str: ...

    def open_atomic(self, uri: str) -> AbstractContextManager[BinaryIO]: ...

    def create(self, uri: str, source: BinaryIO) -> bool: ...

    def replace(self, uri: str, data: bytes, expected: FileInfo | None) -> bool: ...

    def remove(self, uri: str) -> None: ...

    def check_writable(self, folder: str, flag: str) -> None: ...

    def lock(self, folder: str, waiting: Tell) -> AbstractContextManager[None]: ...
