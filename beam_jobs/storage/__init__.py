"""Files by URI: local paths and `gs://`. Where bytes live is decided by scheme, once, here.

    find     info, match, match_flag, list_files, children, exists, since, check_readable
    read     open_pinned, open_ahead, check_unchanged, read_bytes, digest
    write    open_atomic, write_atomic, create, replace, remove, check_writable, lock
    copy     fetched, fetch_folder: local copies for libraries that read local files only
    names    absolute, absolute_pattern, escape, join, resolve, relative, is_local,
             is_plain

docs/storage.md says what generations, retries, locks and permissions mean for users.
"""

import collections
import contextlib
import datetime
import functools
import io
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import BinaryIO

from beam_jobs.errors import InputError, StorageTimeoutError, UsageError
from beam_jobs.storage import locks
from beam_jobs.storage.interface import (
    Access,
    FileInfo,
    FileTooLargeError,
    Storage,
    Tell,
    TellPassedOver,
)
from beam_jobs.storage.local import LocalStorage
from beam_jobs.storage.names import SCHEME, is_plain, join, resolve
from beam_jobs.storage.patterns import escape, with_real_names

__all__ = [
    "Access",
    "FileInfo",
    "FileTooLargeError",
    "absolute",
    "absolute_pattern",
    "check_readable",
    "check_unchanged",
    "check_writable",
    "children",
    "create",
    "digest",
    "escape",
    "exists",
    "fetch_folder",
    "fetched",
    "info",
    "is_local",
    "is_plain",
    "join",
    "list_files",
    "lock",
    "match",
    "match_flag",
    "open_ahead",
    "open_atomic",
    "open_pinned",
    "read_bytes",
    "relative",
    "remove",
    "replace",
    "resolve",
    "since",
    "write_atomic",
]

_LOCAL = LocalStorage()
_COPY_BYTES = 8 << 20
_COPIES_AT_ONCE = 8
_AHEAD_FILES = 16
_AHEAD_BYTES = 1 << 20


@functools.cache
def _cloud() -> Storage:
    from beam_jobs.storage.cloud import CloudStorage

    return CloudStorage()


def _of(uri: str) -> Storage:
    scheme = SCHEME.match(uri)
    if scheme is None:
        return _LOCAL
    if scheme[1] == "gs":
        return _cloud()
    raise UsageError(f"{uri}: files of {scheme[0]} cannot be used; give a local path or gs://")


def is_local(uri: str) -> bool:
    """Whether it is a path on this machine."""
    return _of(uri) is _LOCAL


def absolute(uri: str) -> str:
    """The URI itself; a relative path against the current folder."""
    return _of(uri).absolute(uri)


def info(uri: str) -> FileInfo:
    """Raises FileNotFoundError (an OSError) where there is no such file."""
    return _of(uri).info(uri)


def match(pattern: str, tell: TellPassedOver | None = None) -> list[FileInfo]:
    """The files that a glob matches, absolute, sorted by URI; folders are not files.

    `tell` is told of what else matches.

    `*`, `?`, `[abc]` stay within a folder, `**` is any number of folders; none of them matches a
    name that begins with a dot.
    """
    return _of(pattern).match(absolute_pattern(pattern), tell)


def absolute_pattern(pattern: str) -> str:
    """A glob as `match` takes it: absolute, and with what is a name in it escaped.

    The current folder is a name, and so is what holds a `[` and exists just so: `runs[1]`.
    """
    storage = _of(pattern)
    return with_real_names(storage.absolute_pattern(pattern), storage.exists)


def match_flag(pattern: str, flag: str, tell: TellPassedOver | None = None) -> list[FileInfo]:
    """`match` for the value of a flag.

    Raises:
        UsageError: naming the flag: there is no such bucket, or no permission.
        StorageTimeoutError: a service did not answer.
    """
    try:
        return match(pattern, tell)
    except StorageTimeoutError:
        raise
    except OSError as error:
        raise UsageError(f"{flag} {pattern}: {error.strerror}") from error


def list_files(folder: str, limit: int | None = None) -> list[FileInfo]:
    """Files in a folder and in those within it, sorted by URI; none where it does not exist.

    All of them, or so many: whichever are found first.
    """
    return _of(folder).list_files(folder, limit)


def children(folder: str) -> list[str]:
    """Names of what lies directly in a folder, sorted; those of folders end in `/`.

    Raises:
        OSError: there is no such folder.
    """
    return _of(folder).children(folder)


def exists(uri: str) -> bool:
    """Whether there is such a file, or a folder that is not empty."""
    return _of(uri).exists(uri)


def since(uri: str) -> datetime.datetime:
    """When a file came to where it is, in UTC; of a local one, it or the folder that holds it.

    Copies keep the time of the content; this is the time of the copy, or of the folder's move.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return _of(uri).since(uri)


def open_pinned(file: FileInfo) -> BinaryIO:
    """Opens exactly the generation that was planned, to be read and sought in.

    Raises:
        ChangedError: when it is opened or read: the file is gone or has changed since.
        InputError: it cannot be opened.
    """
    return _of(file.uri).open_pinned(file)


@contextlib.contextmanager
def open_ahead(files: Sequence[FileInfo]) -> Iterator[Callable[[FileInfo], BinaryIO]]:
    """`open_pinned` for files that are opened one after the other, in this order.

    Small objects are fetched several at a time before they are asked for: each alone would take
    as long as a request does, however small it is.
    """
    with ThreadPoolExecutor(_AHEAD_FILES) as pool:
        rest = iter(files)
        waiting: collections.deque[Future[BinaryIO] | None] = collections.deque()

        def fetch() -> None:
            for file in itertools.islice(rest, _AHEAD_FILES - len(waiting)):
                small = file.size <= _AHEAD_BYTES and not is_local(file.uri)
                waiting.append(pool.submit(_fetch, file) if small else None)

        def open_next(file: FileInfo) -> BinaryIO:
            fetch()
            fetched = waiting.popleft()
            return open_pinned(file) if fetched is None else fetched.result()

        try:
            yield open_next
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _fetch(file: FileInfo) -> BinaryIO:
    with open_pinned(file) as stream:
        return io.BytesIO(stream.read())


def check_unchanged(file: FileInfo) -> None:
    """Called after the last byte too, so that a mixture of two contents is never published.

    Raises:
        ChangedError: the file is gone or has changed since.
    """
    _of(file.uri).check_unchanged(file)


def read_bytes(uri: str, limit: int | None = None, deadline: float | None = None) -> bytes:
    """The content of a file; thread-safe.

    Args:
        uri: of the file.
        limit: bytes that it may have; not more than that are read.
        deadline: seconds to bear a service that does not answer, in place of the usual minutes.

    Raises:
        FileNotFoundError: there is no such file.
        FileTooLargeError: it has more bytes than `limit`.
        StorageTimeoutError: a service did not answer.
    """
    return _of(uri).read_bytes(uri, limit, deadline)


def digest(file: FileInfo) -> str:
    """A text that depends on the content alone; of objects a checksum that the service keeps."""
    return _of(file.uri).digest(file)


def open_atomic(uri: str) -> AbstractContextManager[BinaryIO]:
    """A stream whose file appears under `uri` whole, on success, or not at all."""
    return _of(uri).open_atomic(uri)


def write_atomic(uri: str, data: bytes) -> None:
    """Writes a file whole, or not at all."""
    with open_atomic(uri) as stream:
        stream.write(data)


def create(uri: str, source: BinaryIO) -> bool:
    """Writes a file, whole, unless something is there: False, nothing changed.

    However many writers try at once, one of them succeeds. After an answer of the service was
    lost False may also mean that this very call made the file: compare with what is there.

    Args:
        uri: of the file.
        source: its content, to be sought in and read from the start.
    """
    source.seek(0)
    return _of(uri).create(uri, source)


def replace(uri: str, data: bytes, expected: FileInfo | None) -> bool:
    """Writes a file if it still is what the caller read: False, nothing changed, otherwise.

    Args:
        uri: of the file.
        data: its new content.
        expected: what was read, None for a file that did not exist.
    """
    return _of(uri).replace(uri, data, expected)


def remove(uri: str) -> None:
    """Removes a file or a whole folder; what does not exist is no error."""
    _of(uri).remove(uri)


def check_readable(file: FileInfo, flag: str) -> None:
    """Reads the first bytes of a file, to find before any work that it cannot be read.

    Raises:
        UsageError: naming the flag whose value is not readable, and what is missing.
    """
    try:
        with open_pinned(file) as stream:
            stream.read(1)
    except StorageTimeoutError:
        raise
    except OSError as error:
        raise UsageError(f"{flag} {file.uri}: cannot be read ({error.strerror})") from error
    except InputError as error:
        raise UsageError(f"{flag} {error}") from error


def check_writable(folder: str, flag: str, access: Access = Access.EDIT) -> None:
    """Whether files can be written into a folder that need not exist yet; makes nothing.

    Args:
        folder: whose files will be written.
        flag: that named it.
        access: what will be done there.

    Raises:
        UsageError: naming the flag whose value is not writable, and what is missing.
    """
    _of(folder).check_writable(folder, flag, access)


def lock(folder: str, waiting: Tell) -> AbstractContextManager[None]:
    """Keeps other processes from working in a folder; waits for one that does.

    A process that ends, however it ends, holds no lock: of a local folder at once, of one in
    Cloud Storage when its lease has run out. A thread that holds the lock may take it again.

    Args:
        folder: made where it does not exist.
        waiting: told at once that this process waits, for whom and since when that one works.

    Raises:
        BusyError: it was not free within `locks.patience`.
    """
    return locks.once(absolute(folder), lambda: _of(folder).lock(folder, waiting))


@contextlib.contextmanager
def fetched(uris: Iterable[str]) -> Iterator[dict[str, str]]:
    """{file: a local path with its content}; copies of objects go when the context ends.

    A path that a library could take for a pattern gets another name.
    """
    named = list(dict.fromkeys(uris))
    local = [uri for uri in named if is_local(uri)]
    found = {uri: uri for uri in local if is_plain(uri)}
    others = [uri for uri in named if uri not in found]
    if not others:
        yield found
        return
    with tempfile.TemporaryDirectory(prefix="beam-jobs-") as scratch:
        targets = {uri: f"{scratch}/{number}" for number, uri in enumerate(others)}
        for uri in local:
            if uri in targets:
                os.symlink(absolute(uri), targets[uri])
        with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
            remote = [uri for uri in others if not is_local(uri)]
            list(pool.map(lambda uri: _download(info(uri), targets[uri]), remote))
        yield found | targets


def fetch_folder(folder: str, files: Sequence[FileInfo], target: str) -> None:
    """Copies files of a folder, as they were planned, into a local one.

    Raises:
        InputError: a file is gone or has changed since.
    """
    paths = {file: os.path.join(target, relative(folder, file.uri)) for file in files}
    for path in paths.values():
        os.makedirs(os.path.dirname(path), exist_ok=True)
    with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
        list(pool.map(lambda file: _download(file, paths[file]), files))


def relative(folder: str, uri: str) -> str:
    """The name of a file of `list_files(folder)` within the folder."""
    return uri[len(absolute(folder).rstrip("/")) + 1 :]


def _download(file: FileInfo, path: str) -> None:
    with open_pinned(file) as source, open(path, "wb") as target:
        shutil.copyfileobj(source, target, _COPY_BYTES)
    check_unchanged(file)
