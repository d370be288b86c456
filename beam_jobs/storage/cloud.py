"""Files in Cloud Storage, by the official client."""

import contextlib
import datetime
import errno
import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import BinaryIO

from google.api_core import exceptions as google_errors
from google.cloud.storage import Blob
from typing_extensions import override

from beam_jobs.errors import StorageError, UsageError
from beam_jobs.storage import calls, leases
from beam_jobs.storage.interface import (
    Access,
    FileInfo,
    FileTooLargeError,
    Storage,
    Tell,
    TellPassedOver,
)
from beam_jobs.storage.patterns import parse_pattern
from beam_jobs.storage.streams import blob_of, open_reader, open_writer, upload

_LISTED = "items(name,size,generation),prefixes,nextPageToken"
_REMOVED_AT_ONCE = 16
_NEEDED = {
    Access.ADD: (calls.ADDER, ("create", "get", "list")),
    Access.EDIT: (calls.USER, ("create", "delete", "get", "list")),
}
"""{access: (the roles that hold its permissions, the verbs of storage.objects)}."""


def split_uri(uri: str) -> tuple[str, str]:
    """(bucket, name) of `gs://BUCKET/NAME`.

    Raises:
        UsageError: there is no bucket in it.
    """
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not bucket:
        raise UsageError(f"{uri}: names no bucket; write gs://BUCKET/NAME")
    return bucket, name


class CloudStorage(Storage):
    """`gs://` URIs; see `interface.Storage`. One object serves all threads of a process."""

    @override
    def absolute(self, uri: str) -> str:
        split_uri(uri)
        return uri.rstrip("/")

    @override
    def info(self, uri: str) -> FileInfo:
        found = self._find(uri)
        if found is None:
            raise self._missing(uri)
        return found

    @override
    def absolute_pattern(self, pattern: str) -> str:
        split_uri(pattern)
        return pattern

    @override
    def match(self, pattern: str, tell: TellPassedOver | None = None) -> list[FileInfo]:
        bucket, text = split_uri(pattern)
        wanted = parse_pattern(text)
        if wanted.names is None:
            found = self._find(f"gs://{bucket}/{wanted.prefix}")
            if found is None:
                self._check_bucket(pattern)
            return [] if found is None else [found]
        listed = self._list(
            bucket,
            wanted.prefix,
            "/" if wanted.in_one_folder else None,
            with_folders=wanted.in_one_folder and tell is not None,
        )
        start = len(f"gs://{bucket}/")
        if tell is not None:
            for uri in (file.uri[:-1] for file in listed if file.uri.endswith("/")):
                if wanted.names.fullmatch(uri, start):
                    tell(uri, "a folder")
        return sorted(file for file in listed if wanted.names.fullmatch(file.uri, start))

    @override
    def list_files(self, folder: str, limit: int | None = None) -> list[FileInfo]:
        bucket, name = split_uri(self.absolute(folder))
        return sorted(self._list(bucket, f"{name}/" if name else "", limit=limit))

    @override
    def children(self, folder: str) -> list[str]:
        bucket, name = split_uri(self.absolute(folder))
        prefix = f"{name}/" if name else ""
        found = self._list(bucket, prefix, "/", with_folders=True)
        if not found:
            raise FileNotFoundError(errno.ENOENT, "there is no such folder", folder)
        start = len(f"gs://{bucket}/{prefix}")
        return sorted(file.uri[start:] for file in found)

    @override
    def exists(self, uri: str) -> bool:
        if self._find(uri) is not None:
            return True
        bucket, name = split_uri(self.absolute(uri))
        return bool(self._list(bucket, f"{name}/" if name else "", limit=1))

    @override
    def since(self, uri: str) -> datetime.datetime:
        blob = blob_of(uri)
        try:
            calls.call(lambda: blob.reload(timeout=calls.timeouts(), retry=None), uri)
        except FileNotFoundError:
            raise self._missing(uri) from None
        created: datetime.datetime = blob.time_created
        return created

    @override
    def open_pinned(self, file: FileInfo) -> BinaryIO:
        return open_reader(file)

    @override
    def check_unchanged(self, file: FileInfo) -> None:
        """Every byte was asked of the planned generation: a mixture cannot be."""

    @override
    def read_bytes(self, uri: str, limit: int | None, deadline: float | None = None) -> bytes:
        split_uri(uri)
        blob = blob_of(uri)
        try:
            data = calls.call(lambda: self._download(blob, limit), uri, deadline=deadline)
        except FileNotFoundError:
            raise self._missing(uri) from None
        if limit is not None and len(data) > limit:
            raise FileTooLargeError(errno.EFBIG, f"more than {limit:,} bytes", uri)
        return data

    def _download(self, blob: Blob, limit: int | None) -> bytes:
        try:
            content: bytes = blob.download_as_bytes(
                end=limit,  # the last byte, counted from 0: one more than wanted
                raw_download=True,
                checksum=None if limit is not None else "crc32c",
                timeout=calls.timeouts(),
                retry=None,
            )
            return content
        except google_errors.RequestRangeNotSatisfiable:
            return b""  # an empty object has no byte 0

    @override
    def digest(self, file: FileInfo) -> str:
        blob = blob_of(file.uri, file.generation)
        calls.call(lambda: blob.reload(timeout=calls.timeouts(), retry=None), file.uri)
        return f"{blob.size}-{blob.crc32c}"

    @override
    def open_atomic(self, uri: str) -> AbstractContextManager[BinaryIO]:
        split_uri(uri)
        return open_writer(uri)

    @override
    def create(self, uri: str, source: BinaryIO) -> bool:
        try:
            upload(uri, source, 0, role=calls.ADDER)
        except google_errors.PreconditionFailed:
            return False
        except StorageError as error:
            # An account that may not overwrite may be refused before the precondition is seen.
            if isinstance(error.__cause__, google_errors.Forbidden):
                with contextlib.suppress(StorageError):  # nor may it look
                    if self._find(uri) is not None:
                        return False
            raise
        return True

    @override
    def replace(self, uri: str, data: bytes, expected: FileInfo | None) -> bool:
        try:
            upload(uri, io.BytesIO(data), int(expected.generation) if expected else 0)
        except google_errors.PreconditionFailed:
            # The answer to an earlier attempt may have been lost: then this is what we wrote.
            return self._find(uri) is not None and self.read_bytes(uri, None) == data
        return True

    @override
    def remove(self, uri: str) -> None:
        with ThreadPoolExecutor(_REMOVED_AT_ONCE) as pool:
            uris = [self.absolute(uri), *(file.uri for file in self.list_files(uri))]
            list(pool.map(self._remove, uris))

    def _remove(self, uri: str) -> None:
        blob = blob_of(uri)
        try:
            calls.call(
                lambda: blob.delete(timeout=calls.timeouts(), retry=None), uri, role=calls.USER
            )
        except FileNotFoundError:
            return

    @override
    def check_writable(self, folder: str, flag: str, access: Access) -> None:
        bucket, _ = split_uri(folder)
        role, verbs = _NEEDED[access]
        needed = [f"storage.objects.{verb}" for verb in verbs]
        handle = calls.client().bucket(bucket)
        try:
            allowed = calls.call(
                lambda: handle.test_iam_permissions(needed, timeout=calls.timeouts(), retry=None),
                folder,
                role=role,
            )
        except FileNotFoundError:
            try:
                self._check_bucket(folder)
            except FileNotFoundError as error:
                raise UsageError(f"{flag} {folder}: {error.strerror}; make it first") from error
            return  # an emulator without permissions
        except StorageError as error:
            raise UsageError(f"{flag} {folder}: {error.strerror}") from error
        missing = [name for name in needed if name not in allowed]
        if missing:
            raise UsageError(
                f"{flag} {folder}: no permission {', '.join(missing)} on bucket {bucket}; grant the"
                f" account {role} there"
            )

    @override
    def lock(self, folder: str, waiting: Tell) -> AbstractContextManager[None]:
        return leases.hold(f"{self.absolute(folder)}/.lock", folder, waiting)

    def _find(self, uri: str) -> FileInfo | None:
        _, name = split_uri(uri)
        if not name or name.endswith("/"):
            return None
        blob = blob_of(uri)
        try:
            calls.call(lambda: blob.reload(timeout=calls.timeouts(), retry=None), uri)
        except FileNotFoundError:
            return None
        return FileInfo(uri, int(blob.size), str(blob.generation))

    def _list(
        self,
        bucket: str,
        prefix: str,
        delimiter: str | None = None,
        limit: int | None = None,
        with_folders: bool = False,
    ) -> list[FileInfo]:
        """The objects whose names begin so; names that end in `/` stand for folders."""

        def listed() -> list[FileInfo]:
            pages = calls.client().list_blobs(
                bucket,
                prefix=prefix or None,
                delimiter=delimiter,
                max_results=limit,
                fields=_LISTED,
                timeout=calls.timeouts(),
                retry=calls.retry_pages(),
            )
            found = [
                FileInfo(f"gs://{bucket}/{blob.name}", int(blob.size), str(blob.generation))
                for blob in pages
                if not blob.name.endswith("/")
            ]
            if with_folders:
                found += [FileInfo(f"gs://{bucket}/{name}", 0, "") for name in pages.prefixes]
            return found

        uri = f"gs://{bucket}/{prefix}"
        try:
            return calls.call(listed, uri)
        except FileNotFoundError:
            raise calls.no_bucket(bucket, uri) from None

    def _check_bucket(self, uri: str) -> None:
        """Raises FileNotFoundError where there is no such bucket."""
        self._list(split_uri(uri)[0], "", limit=1)

    def _missing(self, uri: str) -> FileNotFoundError:
        try:
            self._check_bucket(uri)
        except FileNotFoundError as error:
            return error
        except StorageError:
            pass  # may read objects, but not list them
        return FileNotFoundError(errno.ENOENT, "there is no such object", uri)
