"""Objects as streams: pinned reads that resume, and uploads that appear whole."""

import contextlib
import io
import mimetypes
import tempfile
from collections.abc import Iterator
from typing import IO, BinaryIO, cast

from google.api_core import exceptions as google_errors
from google.api_core.retry import Retry
from google.cloud.storage import Blob

from beam_jobs.errors import ChangedError
from beam_jobs.storage import calls
from beam_jobs.storage.interface import FileInfo

BUFFER_BYTES = 2 << 20
"""Read at least, one request; readers of text take 8 MiB at a time, those of Parquet a column."""

PART_BYTES = 8 << 20
"""Of an upload: larger objects are sent in parts, so that a lost connection costs one part."""


def blob_of(uri: str, generation: str | None = None) -> Blob:
    """The handle of an object; nothing is asked yet."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    number = None if generation is None else int(generation)
    return calls.client().bucket(bucket).blob(name, generation=number)


class _Sink(io.RawIOBase):
    """Takes what a download gives into memory of a fixed size; what came stays when it breaks."""

    def __init__(self, memory: memoryview) -> None:
        self.memory, self.count = memory, 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.memory[self.count : self.count + len(data)] = data
        self.count += len(data)
        return len(data)


def read_into(file: FileInfo, start: int, memory: memoryview) -> int:
    """Fills memory with an object's bytes from `start` on; the number of bytes, fewer at the end.

    An answer that breaks off goes on from where it was, in the same generation.

    Raises:
        ChangedError: the object was overwritten or deleted since it was planned.
        StorageError: it cannot be read.
    """
    size = min(len(memory), file.size - start)
    if size <= 0:
        return 0
    sink = _Sink(memory[:size])
    attempts = calls.Attempts(file.uri, calls.VIEWER)
    while sink.count < size:
        before = sink.count
        try:
            # A new handle each time: a download may change what generation the old one means.
            blob_of(file.uri, file.generation).download_to_file(
                sink,
                start=start + sink.count,
                end=start + size - 1,
                raw_download=True,
                checksum=None,
                timeout=calls.timeouts(),
                retry=None,
            )
            if sink.count < size:
                raise ConnectionError(f"{sink.count} of {size} bytes came")
        except google_errors.NotFound as error:
            raise ChangedError(changed(file)) from error
        except Exception as error:  # noqa: BLE001 (sorted out in `failed`)
            if sink.count > before:
                attempts.succeeded()
            attempts.failed(error)
    return size


def changed(file: FileInfo) -> str:
    """The message of an object that is another generation now."""
    return (
        f"{file.uri}: was overwritten or deleted during the run (planned generation"
        f" {file.generation}); run the command again to take the new content"
    )


class _Reader(io.RawIOBase):
    """One generation of an object, read in ranges; memory holds what one call asks for."""

    def __init__(self, file: FileInfo) -> None:
        self._file, self._place = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._file.size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative place {base + offset}")
        self._place = base + offset
        return self._place

    def readinto(self, memory: memoryview) -> int:  # type: ignore[override]
        count = read_into(self._file, self._place, memoryview(memory).cast("B"))
        self._place += count
        return count

    def readall(self) -> bytes:
        rest = bytearray(max(self._file.size - self._place, 0))
        self.readinto(memoryview(rest))
        return bytes(rest)


def open_reader(file: FileInfo) -> BinaryIO:
    """A buffered, seekable stream of exactly this generation; the first read finds a change."""
    size = max(min(BUFFER_BYTES, file.size), 1)
    return cast(BinaryIO, io.BufferedReader(_Reader(file), size))


@contextlib.contextmanager
def open_writer(uri: str) -> Iterator[BinaryIO]:
    """A stream that becomes an object when the context ends without an error.

    What is written waits in memory, beyond `PART_BYTES` in a temporary local file: so it can be
    sent again from its start, and nothing is in the bucket of an attempt that failed.
    """
    with tempfile.SpooledTemporaryFile(PART_BYTES) as waiting:
        yield cast(BinaryIO, waiting)
        upload(uri, cast(BinaryIO, waiting))


def upload(
    uri: str,
    source: IO[bytes],
    expected: int | None = None,
    deadline: float | None = None,
    role: str = calls.USER,
) -> int:
    """Sends a stream from its start; the object appears whole. Returns its generation.

    Args:
        uri: of the object.
        source: can be sought in.
        expected: generation that must be there, 0 for none, None for any.
        deadline: seconds, in place of the policy's.
        role: that a caller without permission needs.

    Raises:
        google.api_core.exceptions.PreconditionFailed: another generation is there.
        StorageError: it cannot be written.
    """
    size = source.seek(0, io.SEEK_END)
    kind, encoding = mimetypes.guess_type(uri)
    blob = blob_of(uri)
    blob.chunk_size = PART_BYTES
    # A part is sent again by the library, a whole object by `call`.
    patience = (calls.policy.deadline if deadline is None else deadline) / 4
    again = Retry(
        initial=calls.policy.first_pause, maximum=calls.policy.longest_pause, timeout=patience
    )

    def send() -> None:
        try:
            blob.upload_from_file(
                source,
                rewind=True,
                size=size,
                content_type=kind if kind and not encoding else "application/octet-stream",
                checksum="crc32c",
                if_generation_match=expected,
                timeout=calls.timeouts(),
                retry=again if size > PART_BYTES else None,
            )
        except google_errors.GoogleAPICallError as error:
            if size > PART_BYTES and calls.is_lost_session(error):
                raise ConnectionError("the upload's session was lost") from error
            raise

    calls.call(send, uri, role=role, deadline=deadline)
    return int(blob.generation)
