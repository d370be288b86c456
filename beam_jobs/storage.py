"""Files by URI. The one place that knows where bytes live; chosen by scheme, once, here.

`generation` identifies the content of a file: on a local disk size and modification time.
"""

import contextlib
import filecmp
import glob
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from beam_jobs.errors import InputError, UsageError


@dataclass(frozen=True, order=True)
class FileInfo:
    """One file as it was found: reading another generation of it is an error.

    Attributes:
        uri: path or URI.
        size: bytes.
        generation: text that changes whenever the content does.
    """

    uri: str
    size: int
    generation: str


def info(uri: str) -> FileInfo:
    """Raises FileNotFoundError (an OSError) where there is no such file."""
    stat = os.stat(uri)
    return FileInfo(uri, stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}")


def match(pattern: str) -> list[FileInfo]:
    """The files that a glob matches, absolute, sorted by URI; folders are not files."""
    paths = glob.glob(os.path.abspath(pattern), recursive=True)
    return [info(path) for path in sorted(paths) if os.path.isfile(path)]


def exists(uri: str) -> bool:
    return os.path.exists(uri)


def open_pinned(file: FileInfo) -> BinaryIO:
    """Opens exactly the generation that was planned.

    Raises:
        InputError: the file is gone or has changed since.
    """
    try:
        stream = open(file.uri, "rb")  # noqa: SIM115 (the caller closes it)
    except OSError as error:
        raise InputError(f"{file.uri}: cannot be read ({error.strerror})") from error
    check_unchanged(file)
    return stream


def check_unchanged(file: FileInfo) -> None:
    """Called after the last byte too, so that a mixture of two contents is never published."""
    try:
        now = info(file.uri)
    except OSError as error:
        raise InputError(f"{file.uri}: was removed during the run") from error
    if now.generation != file.generation:
        raise InputError(
            f"{file.uri}: changed during the run (planned {file.generation}, found"
            f" {now.generation}); run the command again to take the new content"
        )


def is_local(uri: str) -> bool:
    """Whether the file lies on a disk of this machine."""
    return "://" not in uri


def content(uri: str) -> str:
    """A text that is the same for the same bytes, whenever they were written."""
    with open(uri, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_bytes(uri: str) -> bytes:
    with open(uri, "rb") as stream:
        return stream.read()


@contextlib.contextmanager
def open_atomic(uri: str) -> Iterator[BinaryIO]:
    """A stream whose file appears under `uri` whole, on success, or not at all."""
    os.makedirs(os.path.dirname(uri) or ".", exist_ok=True)
    temporary = f"{uri}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "wb") as stream:
            yield stream
        os.replace(temporary, uri)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        raise


def write_atomic(uri: str, data: bytes) -> None:
    with open_atomic(uri) as stream:
        stream.write(data)


def copy_new(source: str, target: str) -> bool:
    """Copies a file to where it appears whole, unless something is there: False, nothing changed.

    However many writers try at once, one of them succeeds.
    """
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    temporary = f"{target}.{uuid.uuid4().hex}.tmp"
    try:
        shutil.copyfile(source, temporary)
        os.link(temporary, target)
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
    return True


def same_bytes(left: str, right: str) -> bool:
    return filecmp.cmp(left, right, shallow=False)


def join(folder: str, *parts: str) -> str:
    return "/".join([folder.rstrip("/"), *parts]) if folder != "/" else "/" + "/".join(parts)


def remove(uri: str) -> None:
    """Removes a file or a whole folder; what does not exist is no error."""
    if os.path.isdir(uri):
        shutil.rmtree(uri)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(uri)


def check_writable(folder: str, flag: str) -> None:
    """Whether a folder, or the nearest one above it that exists, can be written; makes nothing.

    Raises:
        UsageError: naming the flag whose value is not writable.
    """
    there = os.path.abspath(folder)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        raise UsageError(f"{flag} {folder}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK) or _is_read_only(there):
        raise UsageError(f"{flag} {folder}: {there} cannot be written; choose another folder")


def _is_read_only(folder: str) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
