"""Files on a local disk."""

import contextlib
import datetime
import errno
import fcntl
import glob
import hashlib
import itertools
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from typing import BinaryIO, TextIO

from typing_extensions import override

from beam_jobs.errors import ChangedError, InputError, UsageError
from beam_jobs.storage import locks
from beam_jobs.storage.holder import Holder
from beam_jobs.storage.interface import (
    Access,
    FileInfo,
    FileTooLargeError,
    Storage,
    Tell,
    TellPassedOver,
)
from beam_jobs.storage.patterns import escape


class LocalStorage(Storage):
    """Local paths; see `interface.Storage`."""

    @override
    def absolute(self, uri: str) -> str:
        return os.path.abspath(uri)

    @override
    def info(self, uri: str) -> FileInfo:
        return _info(uri, os.stat(uri))

    @override
    def absolute_pattern(self, pattern: str) -> str:
        # The current folder is no pattern, whatever its name holds.
        return os.path.normpath(os.path.join(escape(os.getcwd()), pattern))

    @override
    def match(self, pattern: str, tell: TellPassedOver | None = None) -> list[FileInfo]:
        files = []
        for path in sorted(glob.glob(pattern, recursive=True)):
            found = _look_at(path)
            if isinstance(found, FileInfo):
                files.append(found)
            elif found is not None and tell is not None:
                tell(path, found)
        return files

    @override
    def list_files(self, folder: str, limit: int | None = None) -> list[FileInfo]:
        found = (
            os.path.join(where, name)
            for where, _, names in os.walk(os.path.abspath(folder), followlinks=True)
            for name in names
        )
        files = (path for path in found if os.path.isfile(path))
        return [self.info(path) for path in sorted(itertools.islice(files, limit))]

    @override
    def children(self, folder: str) -> list[str]:
        with os.scandir(folder) as entries:
            return sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries)

    @override
    def exists(self, uri: str) -> bool:
        return os.path.exists(uri)

    @override
    def since(self, uri: str) -> datetime.datetime:
        # st_ctime: a copy may keep the time of the content (cp -p), and a move the whole file.
        changed = max(os.stat(path).st_ctime for path in (uri, os.path.dirname(uri)))
        return datetime.datetime.fromtimestamp(changed, datetime.UTC)

    @override
    def open_pinned(self, file: FileInfo) -> BinaryIO:
        try:
            stream = open(file.uri, "rb")  # noqa: SIM115 (the caller closes it)
        except FileNotFoundError as error:
            raise ChangedError(f"{file.uri}: was removed during the run") from error
        except OSError as error:
            raise InputError(f"{file.uri}: cannot be read ({error.strerror})") from error
        try:
            self.check_unchanged(file)
        except BaseException:
            stream.close()
            raise
        return stream

    @override
    def check_unchanged(self, file: FileInfo) -> None:
        try:
            now = self.info(file.uri)
        except OSError as error:
            raise ChangedError(f"{file.uri}: was removed during the run") from error
        if now.generation != file.generation:
            raise ChangedError(
                f"{file.uri}: changed during the run (planned {file.generation}, found"
                f" {now.generation}); run the command again to take the new content"
            )

    @override
    def read_bytes(self, uri: str, limit: int | None, deadline: float | None = None) -> bytes:
        with open(uri, "rb") as stream:
            data = stream.read() if limit is None else stream.read(limit + 1)
        if limit is not None and len(data) > limit:
            raise FileTooLargeError(errno.EFBIG, f"more than {limit:,} bytes", uri)
        return data

    @override
    def digest(self, file: FileInfo) -> str:
        with open(file.uri, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    @override
    @contextlib.contextmanager
    def open_atomic(self, uri: str) -> Iterator[BinaryIO]:
        os.makedirs(os.path.dirname(uri) or ".", exist_ok=True)
        with _temporary(uri) as temporary:
            with open(temporary, "wb") as stream:
                yield stream
            os.replace(temporary, uri)

    @override
    def create(self, uri: str, source: BinaryIO) -> bool:
        os.makedirs(os.path.dirname(uri) or ".", exist_ok=True)
        with _temporary(uri) as temporary:
            with open(temporary, "wb") as stream:
                shutil.copyfileobj(source, stream)
            try:
                os.link(temporary, uri)
            except FileExistsError:
                return False
            finally:
                os.remove(temporary)
        return True

    @override
    def replace(self, uri: str, data: bytes, expected: FileInfo | None) -> bool:
        folder = os.path.dirname(os.path.abspath(uri))
        os.makedirs(folder, exist_ok=True)
        # The folder itself is the lock: nothing is left behind.
        with _opened_folder(folder) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            found = self.info(uri).generation if os.path.exists(uri) else None
            if found != (expected.generation if expected else None):
                return False
            with self.open_atomic(uri) as stream:
                stream.write(data)
        return True

    @override
    def remove(self, uri: str) -> None:
        if os.path.isdir(uri):
            shutil.rmtree(uri)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.remove(uri)

    @override
    def check_writable(self, folder: str, flag: str, access: Access) -> None:
        there = os.path.abspath(folder)
        while not os.path.lexists(there):
            there = os.path.dirname(there)
        if not os.path.isdir(there):
            raise UsageError(f"{flag} {folder}: {there} is not a folder")
        if not os.access(there, os.W_OK | os.X_OK) or _is_read_only(there):
            raise UsageError(f"{flag} {folder}: {there} cannot be written; choose another folder")

    @override
    @contextlib.contextmanager
    def lock(self, folder: str, waiting: Tell) -> Iterator[None]:
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, ".lock"), "a+") as stream:
            wait = locks.Wait(folder, waiting)
            while not _is_free(stream):
                stream.seek(0)
                wait.more(stream.read(), locks.patience.pause)
            stream.truncate(0)
            stream.write(Holder.this().to_json())
            stream.flush()
            yield


def _info(uri: str, status: os.stat_result) -> FileInfo:
    return FileInfo(uri, status.st_size, f"{status.st_size}-{status.st_mtime_ns}")


def _look_at(path: str) -> FileInfo | str | None:
    """The file that is there, else in words what is; None where it was removed a moment ago."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return "a link to nothing" if os.path.islink(path) else None
    except OSError as error:
        return f"not accessible: {error.strerror}"
    if stat.S_ISREG(status.st_mode):
        return _info(path, status)
    return "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"


def _is_free(stream: TextIO) -> bool:
    """Takes the lock of an open file, if it is free."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _temporary(uri: str) -> Iterator[str]:
    """A name beside a file; nothing is left under it where the caller fails."""
    # Short: the file's own name may be as long as a name can be.
    temporary = os.path.join(os.path.dirname(uri), f".{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        raise


@contextlib.contextmanager
def _opened_folder(folder: str) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_read_only(folder: str) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
