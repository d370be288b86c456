"""Parquet files are decoded in processes of their own: damage may end one, and nothing else.

Some damaged files end the process that decodes them with a segmentation fault. A worker, and on
the local runner that is the command itself, must live to say which file it was. So it has a child
that decodes while the worker computes: one that has all imports and forks for each file, so that
damage does not outlive its file. Of storage the child knows the local disk; what lies elsewhere
the worker reads for it. Threads that read at once have a child each.

A message is a number for its kind, the length of its content, and the content. The worker sends
OPEN, DECODE, BYTES and CLOSE; the child answers with FOOTER, PLACE (what it reads next), READ
(which bytes it needs), BATCH, and DONE or PROBLEM at the end.
"""

import atexit
import contextlib
import dataclasses
import enum
import io
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, cast

import pyarrow as pa

from beam_jobs import storage
from beam_jobs.errors import InputError
from beam_jobs.read.parquet_decoding import Footer, RowGroup, decode, footer_of, open_file

_HEAD = struct.Struct("<BQ")


class _Kind(enum.IntEnum):
    OPEN = 1
    DECODE = 2
    BYTES = 3
    FOOTER = 4
    PLACE = 5
    READ = 6
    BATCH = 7
    DONE = 8
    PROBLEM = 9
    CLOSE = 10


@dataclasses.dataclass(frozen=True)
class _Channel:
    """A pipe from the other process, and one to it."""

    incoming: BinaryIO
    outgoing: BinaryIO

    def send(self, kind: _Kind, content: Any = "") -> None:
        """Sends a buffer as it is, anything else as JSON."""
        is_buffer = isinstance(content, bytes | pa.Buffer)
        data = memoryview(content if is_buffer else json.dumps(content).encode())
        self.outgoing.write(_HEAD.pack(kind, data.nbytes))
        self.outgoing.write(data)
        self.outgoing.flush()

    def receive(self) -> tuple[_Kind, pa.Buffer]:
        """Raises EOFError where the other process has ended."""
        kind, size = _HEAD.unpack(self._read(_HEAD.size))
        return _Kind(kind), self._read(size)

    def _read(self, size: int) -> pa.Buffer:
        content = pa.allocate_buffer(size)
        memory = memoryview(content)
        while len(memory):
            count = cast(io.RawIOBase, self.incoming).readinto(memory)
            if not count:
                raise EOFError
            memory = memory[count:]
        return content

    def close(self) -> None:
        for stream in (self.outgoing, self.incoming):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def _loads(content: pa.Buffer) -> Any:
    return json.loads(content.to_pybytes())


class _Child:
    """A process that decodes.

    Attributes:
        rests: whether it waits for a request.
    """

    def __init__(self) -> None:
        self._words = tempfile.TemporaryFile(prefix="beam-jobs-parquet-")  # noqa: SIM115
        # -P: no module of the current folder may take the place of one of ours.
        code = f"from {__name__} import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            pipesize=1 << 18,  # fewer turns where the system has it
            process_group=0,  # a Ctrl-C is the worker's
            # It has no other threads when it forks.
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )
        self.channel = _Channel(
            cast(BinaryIO, self._process.stdout), cast(BinaryIO, self._process.stdin)
        )
        self.rests = True
        self._end: str | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def release(self) -> None:
        """Makes it wait for another file; in the middle of an answer it ends."""
        if self.rests and self.lives:
            self.channel.send(_Kind.CLOSE)
            _idle.append(self)
        else:
            self.end()

    def end(self) -> str:
        """Ends it, if it has not ended by itself; how it did, and its last words."""
        if self._end is None:
            if self.lives:
                os.killpg(self.pid, signal.SIGKILL)
            code = self._process.wait()
            self.channel.close()
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            if code == -signal.SIGKILL:
                how += ", mostly because memory ran out"
            with self._words:
                self._words.seek(0)
                words = self._words.read().decode("utf-8", "replace").strip().splitlines()
            self._end = f"{how}: {words[-1][:200]}" if words else how
        return self._end


_idle: list[_Child] = []
"""Children that wait for a file."""

os.register_at_fork(after_in_child=_idle.clear)


@atexit.register
def _end_idle() -> None:
    while _idle:
        _idle.pop().end()


def _child() -> _Child:
    """One that waits, or a new one."""
    while _idle:
        with contextlib.suppress(IndexError):  # another thread was faster
            if (child := _idle.pop()).lives:
                return child
            child.end()
    return _Child()


class ParquetProcess:
    """A file in a process that decodes it.

    Attributes:
        footer: of the file.
        pid: of the process that forks for files.
    """

    def __init__(self, child: _Child, file: storage.FileInfo, stream: BinaryIO) -> None:
        self._child, self._uri, self._stream = child, file.uri, stream
        self.pid = child.pid
        self._place = "footer"
        ((_, footer),) = self._ask(_Kind.OPEN, [file.uri, file.size])
        names, groups = _loads(footer)
        self.footer = Footer(tuple(names), tuple(RowGroup(*group) for group in groups))

    def batches(
        self, groups: Sequence[int], names: Sequence[str], rows_per_batch: int
    ) -> Iterator[pa.RecordBatch]:
        """Columns of row groups, every row of them; see `parquet_decoding.decode`.

        Raises:
            InputError: naming file, row group and column.
        """
        for _, batch in self._ask(_Kind.DECODE, [list(groups), list(names), rows_per_batch]):
            yield pa.ipc.open_stream(batch).read_next_batch()

    def _ask(self, kind: _Kind, request: Any) -> Iterator[tuple[_Kind, pa.Buffer]]:
        """What a request finds."""
        channel = self._child.channel
        self._child.rests = False
        try:
            channel.send(kind, request)
            while True:
                answer, content = channel.receive()
                if answer is _Kind.READ:
                    channel.send(_Kind.BYTES, self._bytes(*_loads(content)))
                elif answer is _Kind.PLACE:
                    self._place = _loads(content)
                elif answer in (_Kind.DONE, _Kind.PROBLEM):
                    break
                else:
                    yield answer, content
        except (EOFError, BrokenPipeError):
            how = self._child.end()
            raise self._error(f"the process that decoded it ended with {how}") from None
        self._child.rests = True
        if answer is _Kind.PROBLEM:
            raise self._error(_loads(content))

    def _bytes(self, start: int, size: int) -> bytes:
        self._stream.seek(start)
        return self._stream.read(size)

    def _error(self, reason: str) -> InputError:
        return InputError(f"{self._uri}: the Parquet data cannot be read ({self._place}: {reason})")


@contextlib.contextmanager
def opened(file: storage.FileInfo) -> Iterator[ParquetProcess]:
    """A file in a process that decodes it.

    Raises:
        InputError: it cannot be read; also by what the context gives.
    """
    with storage.open_pinned(file) as stream:
        child = _child()
        try:
            yield ParquetProcess(child, file, stream)
        finally:
            child.release()


# The child's side.


class _Remote(io.RawIOBase):
    """The file, whose bytes the worker has."""

    def __init__(self, size: int, ask: Callable[[int, int], pa.Buffer]) -> None:
        self._size, self._ask, self._at = size, ask, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        rest = max(self._size - self._at, 0)
        size = rest if size < 0 else min(size, rest)
        data = self._ask(self._at, size).to_pybytes() if size else b""
        self._at += len(data)
        return data


def serve() -> None:
    """Decodes files until the worker has ended, each in a process of its own."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Nothing is read ahead of the process that it is for, and nothing that a library prints comes
    # between the messages.
    incoming = cast(BinaryIO, open(0, "rb", buffering=0))  # noqa: SIM115
    channel = _Channel(incoming, os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    # The end of the worker, whenever it comes, is the end of its child.
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            _, request = channel.receive()
            process = os.fork()
            if not process:
                _serve_file(channel, *_loads(request))
                os._exit(0)
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            if code:
                # The worker sees that it ended, and how.
                os.kill(os.getpid(), -code) if code < 0 else sys.exit(code)


def _serve_file(channel: _Channel, uri: str, size: int) -> None:
    def ask(start: int, size: int) -> pa.Buffer:
        channel.send(_Kind.READ, [start, size])
        return channel.receive()[1]

    with _answered(channel):
        source = pa.OSFile(uri) if storage.is_local(uri) else _Remote(size, ask)
        file = open_file(source)
        channel.send(_Kind.FOOTER, dataclasses.astuple(footer_of(file)))
    while True:
        kind, request = channel.receive()
        if kind is _Kind.CLOSE:
            return
        with _answered(channel):
            groups, names, rows = _loads(request)
            for group in groups:
                for batch in decode(
                    file, group, names, rows, lambda place: channel.send(_Kind.PLACE, place)
                ):
                    channel.send(_Kind.BATCH, _as_stream(batch))


@contextlib.contextmanager
def _answered(channel: _Channel) -> Iterator[None]:
    """Ends an answer."""
    try:
        yield
        channel.send(_Kind.DONE)
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:  # noqa: BLE001 (whatever it is, the file cannot be read)
        channel.send(_Kind.PROBLEM, _reason(error))


def _as_stream(batch: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
