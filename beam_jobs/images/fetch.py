"""Reads and processes many images at once, in order, within a bound on the bytes in memory.

A thread reads images and processes them; as many may decode at once as there are cores (decoders
and NumPy run without the interpreter's lock), more may wait for storage. The caller's thread
decides
what is begun: an image reserves `FIRST_READ` bytes of a budget before it is read, what it turned
out to need after. The few that are larger are read again once their full size fits.
"""

import errno
import os
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from beam_jobs import storage
from beam_jobs.batch import Reason
from beam_jobs.errors import InputError, RunError, StorageTimeoutError
from beam_jobs.images.inspect import problem
from beam_jobs.images.limits import ImageProblem, too_large
from beam_jobs.images.names import is_file_within, is_safe
from beam_jobs.images.processed import ProcessedImage, process_image
from beam_jobs.images.spec import ImageSpec
from beam_jobs.storage import FileTooLargeError

BUDGET_BYTES = 64 << 20
"""Of encoded images and model input in memory; a single larger image may stand beside it."""

FIRST_READ = 512 << 10
"""Most banners are smaller. The budget then holds 128 reads at once, which hides 20 ms of latency
at 6,000 images a second."""

CACHE_BYTES = 32 << 20
"""Of results that are kept for the next batches, whose rows often name the same images."""

REMOTE_READERS = 64
"""Threads a worker that may wait for a remote storage; sleeping ones cost nothing."""

LOCAL_AT_ONCE = 8
"""Images of a job for a thread; where reading takes no time, handing over would take a fifth."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0  # seconds between attempts
_STALLED_AFTER = 60  # seconds above the timeout, without any image having ended

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP})
"""What the system says of a name that is no file."""

Wanted = tuple[str, bytes | None]
"""(name as the row has it, the encoded image where the row carries it inside)."""

ReadBytes = Callable[[str, int], bytes]
"""(uri, limit) -> the content; raises `storage.FileTooLargeError` beyond `limit` bytes, or
OSError."""


@dataclass(eq=False)
class _Job:
    """Images that a thread processes, one after the other.

    Attributes:
        images: {place: what is wanted}.
        limit: bytes that each may have.
        processed: {place: what came of it}, None for one that has more bytes.
        error: that ended the thread's work on it.
    """

    images: dict[int, Wanted]
    limit: int
    processed: dict[int, ProcessedImage | None] = field(default_factory=dict)
    error: BaseException | None = None


class ImageReader:
    """Reads and processes images with threads of its own; for use by one thread.

    Attributes:
        spec: where images lie, limits, and what the model takes.
        held: bytes of the budget that are reserved or used now.
    """

    def __init__(
        self, spec: ImageSpec, read: ReadBytes | None = None, readers: int | None = None
    ) -> None:
        """Args: `read` reads from storage, `readers` is the number of threads, if not as usual."""
        self.spec, self.held = spec, 0
        self._read_bytes = read or self._from_storage
        cores = len(os.sched_getaffinity(0))
        self._processors = threading.BoundedSemaphore(cores)
        self._jobs: queue.SimpleQueue[tuple[_Job, queue.SimpleQueue[Any]] | None] = (
            queue.SimpleQueue()
        )
        self._cache: OrderedDict[str, ProcessedImage] = OrderedDict()
        self._cached_bytes = 0
        self._answered = 0.0  # when storage last answered, monotonic seconds
        local = spec.prefix is None or storage.is_local(spec.prefix)
        self._at_once = LOCAL_AT_ONCE if local else 1
        self._threads = [
            threading.Thread(target=self._work, name="images", daemon=True)
            for _ in range(readers or (cores if local else REMOTE_READERS))
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ends the threads, each after the image that it is at."""
        for _ in self._threads:
            self._jobs.put(None)
        self._threads = []

    def processed(self, wanted: Sequence[Wanted]) -> Iterator[ProcessedImage]:
        """What came of each image, in the order given.

        Raises:
            InputError: storage is down, or forbids to read.
        """
        whole = self.spec.limits.max_bytes
        first = min(FIRST_READ, whole)
        at_once = max(1, min(self._at_once, BUDGET_BYTES // (4 * first)))
        ended: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        ready: dict[int, ProcessedImage] = {}
        large: dict[int, Wanted] = {}
        begun = given_out = 0
        held_before = self.held
        try:
            while given_out < len(wanted):
                if given_out in ready:
                    image = ready.pop(given_out)
                    given_out += 1
                    yield image
                    self.held -= image.nbytes
                    continue
                for place in list(large):
                    if place == given_out or self.held + whole <= BUDGET_BYTES:
                        self._begin(_Job({place: large.pop(place)}, whole), ended)
                while begun < len(wanted) and (
                    self.held + at_once * first <= BUDGET_BYTES or begun == given_out
                ):
                    job = _Job({}, first)
                    begun = self._gather(job, wanted, begun, at_once, ready)
                    if job.images:
                        self._begin(job, ended)
                if given_out not in ready:
                    self._take(self._wait(ended), ready, large)
        finally:
            self.held = held_before

    def _gather(
        self,
        job: _Job,
        wanted: Sequence[Wanted],
        begun: int,
        at_once: int,
        ready: dict[int, ProcessedImage],
    ) -> int:
        """Puts the next images into a job; those that are known are ready at once.

        Returns:
            How many have begun then.
        """
        while begun < len(wanted) and len(job.images) < at_once:
            name, given = wanted[begun]
            known = self._known(name) if given is None else None
            begun += 1
            if known is None:
                job.images[begun - 1] = name, given
                continue
            self.held += known.nbytes
            ready[begun - 1] = known
            if self.held > BUDGET_BYTES:
                break
        return begun

    def _begin(self, job: _Job, ended: "queue.SimpleQueue[_Job]") -> None:
        self.held += job.limit * len(job.images)
        self._jobs.put((job, ended))

    def _take(self, job: _Job, ready: dict[int, ProcessedImage], large: dict[int, Wanted]) -> None:
        """Files what a thread found."""
        self.held -= job.limit * len(job.images)
        for place, (name, given) in job.images.items():
            image = job.processed[place]
            if image is None:
                large[place] = name, given
                continue
            self.held += image.nbytes
            ready[place] = image
            if given is None:
                self._keep(name, image)

    def _wait(self, ended: "queue.SimpleQueue[_Job]") -> _Job:
        seconds = self.spec.timeout + _STALLED_AFTER
        try:
            job = ended.get(timeout=seconds)
        except queue.Empty:
            raise InputError(
                f"--images {self.spec.prefix}: does not answer; no image was read for"
                f" {seconds} s; run the command again when it does"
            ) from None
        if job.error is not None:
            raise job.error
        return job

    def _known(self, name: str) -> ProcessedImage | None:
        image = self._cache.get(name)
        if image is not None:
            self._cache.move_to_end(name)
        return image

    def _keep(self, name: str, image: ProcessedImage) -> None:
        if image.nbytes > CACHE_BYTES // 8:
            return
        self._cache[name] = image
        self._cached_bytes += image.nbytes
        while self._cached_bytes > CACHE_BYTES:
            _, oldest = self._cache.popitem(last=False)
            self._cached_bytes -= oldest.nbytes

    def _work(self) -> None:
        """A thread: one image after the other."""
        while (item := self._jobs.get()) is not None:
            job, ended = item
            try:
                for place, (name, given) in job.images.items():
                    job.processed[place] = self._process(name, given, job.limit)
            except BaseException as error:  # noqa: BLE001 (raised again where it is waited for)
                job.error = error
            ended.put(job)

    def _process(self, name: str, given: bytes | None, limit: int) -> ProcessedImage | None:
        found = self._fetch(name, limit) if given is None else given
        if found is None:
            return None
        if isinstance(found, ImageProblem):
            return ProcessedImage(problem=found)
        with self._processors:
            return process_image(found, name, self.spec)

    def _from_storage(self, uri: str, limit: int) -> bytes:
        return storage.read_bytes(uri, limit, deadline=self.spec.timeout)

    def _fetch(self, name: str, limit: int) -> bytes | ImageProblem | None:
        """The image's bytes; None where it has more than `limit`, which is not the most allowed.

        IMAGE_MISSING where there is none of that name. An error that may pass is tried again
        until the timeout. An image that then still cannot be read, while storage answered for
        others, is that image's problem; where storage answered for none in that time, it is down.

        Raises:
            InputError: storage is down.
            RunError: storage refuses.
        """
        prefix = self.spec.prefix
        if prefix is None:
            return _missing(name, "is not given, and there is no --images to look in")
        if not is_safe(name):
            return _missing(name, "is not a path below --images; it was not read")
        uri = storage.join(prefix, name)
        started, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            try:
                return self._read(uri, name, limit)
            except FileTooLargeError:
                self._answered = time.monotonic()
                most = self.spec.limits.max_bytes
                if limit < most:
                    return None
                return problem(too_large(f"more than {most:,} bytes"), name)
            except OSError as error:
                found = self._unreadable(uri, name, error, started, pause)
                if found is not None:
                    return found
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _read(self, uri: str, name: str, limit: int) -> bytes | ImageProblem:
        prefix = self.spec.prefix
        if prefix is not None and storage.is_local(prefix) and not is_file_within(uri, prefix):
            return _missing(name, "is no file, or leads out of --images; it was not read")
        data = self._read_bytes(uri, limit)
        self._answered = time.monotonic()
        return data

    def _unreadable(
        self, uri: str, name: str, error: OSError, started: float, pause: float
    ) -> ImageProblem | None:
        """What an error means for an image; None where it may pass, and there is time.

        Raises:
            InputError: storage is down, or forbids to read.
            RunError: storage refuses.
        """
        if isinstance(error, FileNotFoundError) or error.errno in _ABSENT:
            self._answered = time.monotonic()
            return _missing(name, "is not there")
        timed_out = isinstance(error, StorageTimeoutError)  # by a service that was asked often
        if isinstance(error, RunError) and not timed_out:
            raise error
        if isinstance(error, PermissionError):
            raise InputError(f"{uri}: cannot be read ({_why(error)})") from error
        waited = time.monotonic() - started
        if not timed_out and waited + pause <= self.spec.timeout:
            return None
        if self._answered >= started:
            return _missing(name, f"could not be read in {waited:.0f} s: {_why(error)}")
        raise InputError(
            f"{uri}: cannot be read ({_why(error)}), and no other image could in"
            f" {waited:.0f} s; run the command again when storage answers"
        ) from error


def _missing(name: str, found: str) -> ImageProblem:
    return ImageProblem(Reason.IMAGE_MISSING, f"{name[:200]!r} {found}")


def _why(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
