"""A lock in Cloud Storage: an object that its holder writes again and again.

Taking it is an upload that only succeeds where no object is (generation 0). While the holder
lives it writes a new generation every few seconds. Whoever waits and sees no new generation for
the whole of a lease, by a clock of its own, takes the lock by replacing exactly that generation.
No two machines' clocks are compared.

Losing a lock (a machine that stood still for longer than a lease) does no harm: the same run
writes the same objects, and publishing is one transaction. The lock saves work, and keeps a run's
folder tidy.
"""

import contextlib
import dataclasses
import io
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from google.api_core import exceptions as google_errors
from google.cloud.storage import Blob

from beam_jobs.errors import StorageError
from beam_jobs.storage import calls, locks
from beam_jobs.storage.holder import Holder
from beam_jobs.storage.interface import Tell
from beam_jobs.storage.streams import blob_of, upload

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Terms:
    """Seconds, and the clock of whoever waits.

    Attributes:
        lease: without a sign of life of its holder a lock is free.
        heartbeat: between two signs; Cloud Storage lets an object change once a second.
        poll: between two questions of whoever waits.
        clock: seconds from any moment on.
    """

    lease: float = 45.0
    heartbeat: float = 10.0
    poll: float = 2.0
    clock: Callable[[], float] = time.monotonic


terms = Terms()
"""Of this process; tests set hastier ones."""


@contextlib.contextmanager
def hold(uri: str, folder: str, waiting: Tell) -> Iterator[None]:
    """Holds the lock of a folder; see `storage.lock`."""
    lease = _Lease(uri)
    lease.take(folder, waiting)
    ended = threading.Event()
    beats = threading.Thread(target=lease.keep, args=(ended,), daemon=True)
    beats.start()
    try:
        yield
    finally:
        ended.set()
        beats.join()
        lease.drop()


class _Lease:
    """One attempt to hold the lock of an object's name."""

    def __init__(self, uri: str) -> None:
        self._uri, self._token, self._beats = uri, uuid.uuid4().hex, 0
        self._holder = dataclasses.asdict(Holder.this())
        self._generation: int | None = None

    def take(self, folder: str, waiting: Tell) -> None:
        """Returns once the lock is held."""
        wait = locks.Wait(folder, waiting)
        hint = f", or to give no sign of life for {terms.lease:g} s"
        seen, since = 0, 0.0
        while True:
            self._generation = self._write(0)
            if self._generation is not None:
                return
            current, holder = self._current()
            if current == 0:
                continue
            if current != seen:
                seen, since = current, terms.clock()
            elif terms.clock() - since > terms.lease:
                self._generation = self._write(current)
                if self._generation is not None:
                    return
            wait.more(holder, terms.poll, hint)

    def keep(self, ended: threading.Event) -> None:
        """Gives signs of life until the work has ended, or the lock is another's."""
        while not ended.wait(terms.heartbeat):
            try:
                self._generation = self._write(self._generation or 0)
            except OSError as error:
                _log.warning("%s: the lock could not be renewed: %s", self._uri, error)
                continue
            if self._generation is None:
                _log.warning("%s: another process has taken the lock over", self._uri)
                return

    def drop(self) -> None:
        """Frees the lock, if it still is ours."""
        if self._generation is None:
            return
        blob, generation = blob_of(self._uri), self._generation
        with contextlib.suppress(FileNotFoundError, google_errors.PreconditionFailed, StorageError):
            calls.call(
                lambda: blob.delete(
                    if_generation_match=generation, timeout=calls.timeouts(), retry=None
                ),
                self._uri,
                role=calls.USER,
                deadline=terms.lease,
            )

    def _write(self, expected: int) -> int | None:
        """The new generation; None where another one than expected is there."""
        self._beats += 1
        sign = {**self._holder, "token": self._token, "beats": self._beats}
        data = json.dumps(sign).encode()
        try:
            return upload(self._uri, io.BytesIO(data), expected, deadline=terms.lease)
        except google_errors.PreconditionFailed:
            # The answer to an earlier attempt may have been lost: then this very sign is there.
            return self._generation_of(data)

    def _generation_of(self, data: bytes) -> int | None:
        blob = blob_of(self._uri)
        try:
            found = calls.call(lambda: _content(blob), self._uri)
        except FileNotFoundError:
            return None
        return int(blob.generation) if found == data else None

    def _current(self) -> tuple[int, str]:
        """(generation, content) of what is there; 0 where nothing is."""
        blob = blob_of(self._uri)
        try:
            data = calls.call(lambda: _content(blob), self._uri)
            return int(blob.generation), data.decode(errors="replace")
        except FileNotFoundError:
            return 0, ""


def _content(blob: Blob) -> bytes:
    content: bytes = blob.download_as_bytes(timeout=calls.timeouts(), retry=None)
    return content
