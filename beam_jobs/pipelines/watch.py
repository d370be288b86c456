"""Runs a graph to its end and notices what Beam's runners wait for in vain: workers that died.

A worker process that is killed (mostly by the system, when memory runs out) leaves the local
runner with `multi_processing` waiting for its answer for ever; Prism now and then keeps such a job
RUNNING for ever, too. Flink and Dataflow notice it themselves.
"""

import contextlib
import logging
import re
import shlex
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2, beam_job_api_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    BeamFnControlServicer,
    SubprocessSdkWorkerHandler,
    WorkerHandler,
)
from apache_beam.runners.portability.local_job_service import SubprocessSdkWorker
from apache_beam.runners.portability.portable_runner import PipelineResult

from beam_jobs.errors import RunError

STALL_SECONDS = 60.0
"""Prism asks a working worker for its figures at least every 30 s."""

_PRISM_JOB = re.compile(r"job-\d+")
"""Ids of Prism's jobs. Other runners may tell figures only at the end: they are not watched."""

_LOG_LINE = re.compile(r"(DEBUG|INFO|WARNING):|.*Warning: |  warnings.warn")

_DISCONNECTED = (
    "SDK worker disconnected",
    "send on closed channel",  # where it writes to the worker at that moment
    "Channel closed prematurely",  # the local runner's, where it reads from the worker
)
"""Prism's words for it, but for the last."""


def worker_died(how: str) -> RunError:
    """The error of a run whose worker process is gone."""
    return RunError(
        f"a worker process died ({how}), mostly because memory ran out: see the system's log, or"
        " use fewer workers; then run the command again"
    )


def explained(error: Exception) -> RunError | None:
    """What a runner means that lost a worker; None where it is something else."""
    if any(words in str(error) for words in _DISCONNECTED):
        return worker_died("the runner lost its connection")
    return None


def wait_for_end(result: beam.runners.runner.PipelineResult) -> None:
    """Waits until a graph that was started has ended.

    Raises:
        RunError: the job service is gone, or its workers are.
        Exception: whatever the graph raised, as its runner wraps it.
    """
    if not isinstance(result, PipelineResult):
        result.wait_until_finish()
        return
    with _stopped_when_stalled(result) as stalled:
        try:
            result.wait_until_finish()
        except Exception as error:
            if stalled.is_set():
                raise worker_died(f"none showed life for {STALL_SECONDS:g} s") from error
            if isinstance(error, grpc.RpcError):
                raise RunError(
                    f"the job service is gone ({_details(error)}): the runner ended before the"
                    " job; start it again, then run the command again"
                ) from error
            raise


def _details(error: grpc.RpcError) -> str:
    details = error.details() if isinstance(error, grpc.Call) else str(error)
    return " ".join((details or type(error).__name__).split())


@contextlib.contextmanager
def _stopped_when_stalled(result: PipelineResult) -> Iterator[threading.Event]:
    """Cancels a job of Prism whose figures stand still; the event tells that it did."""
    stalled, ended = threading.Event(), threading.Event()

    def watch() -> None:
        before, since = None, time.monotonic()
        while not ended.wait(STALL_SECONDS / 10):
            now = _figures(result)
            if now is None or now != before:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > STALL_SECONDS and not ended.is_set():
                stalled.set()
                with contextlib.suppress(grpc.RpcError):
                    result.cancel()
                return

    thread = threading.Thread(name="watch job", target=watch, daemon=True)
    if _PRISM_JOB.fullmatch(result._job_id):
        thread.start()
    try:
        yield stalled
    finally:
        ended.set()


def _figures(result: PipelineResult) -> frozenset[bytes] | None:
    """All metrics of a job; those of times grow while a worker does anything at all."""
    request = beam_job_api_pb2.GetJobMetricsRequest(job_id=result._job_id)
    try:
        metrics = result._job_service.GetJobMetrics(request).metrics
    except grpc.RpcError:
        return None
    infos = [*metrics.attempted, *metrics.committed]
    return frozenset(info.SerializeToString(deterministic=True) for info in infos)


@contextlib.contextmanager
def without_traces() -> Iterator[None]:
    """Keeps tracebacks off the terminal that Beam prints, although it raises them as well."""

    def is_wanted(record: logging.LogRecord) -> bool:
        return record.funcName != "read_messages"  # of a portable job

    def hook(arguments: threading.ExceptHookArgs) -> None:
        # Threads that listen to a worker process that died.
        if not issubclass(arguments.exc_type, grpc.RpcError):
            before(arguments)

    before, threading.excepthook = threading.excepthook, hook
    root = logging.getLogger()
    root.addFilter(is_wanted)
    try:
        yield
    finally:
        root.removeFilter(is_wanted)
        threading.excepthook = before


@WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)
class SubprocessWorker(SubprocessSdkWorkerHandler):
    """A worker process of `multi_processing`; when it dies, what it was asked fails."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._closed = threading.Event()
        # A worker's standard error is not the user's; its last words may say why it died.
        self._words = tempfile.NamedTemporaryFile(prefix="beam-jobs-worker-")  # noqa: SIM115

    def start_worker(self) -> None:
        command = f"exec {self._worker_command_line.decode()} 2>>{shlex.quote(self._words.name)}"
        self.worker = SubprocessSdkWorker(
            command.encode(), self.control_address, self.provision_info, self.worker_id
        )
        self.worker_thread = threading.Thread(name="run_worker", target=self._run, daemon=True)
        self.worker_thread.start()

    def _run(self) -> None:
        code = "0"
        try:
            self.worker.run()
        except RuntimeError as error:  # Worker subprocess exited with return code -9
            code = str(error).rpartition(" ")[2]
        if self._closed.is_set():
            return
        died = worker_died(f"exit code {code}{self._last_words()}")
        response = beam_fn_api_pb2.InstructionResponse(error=f"{RunError.__name__}: {died}")
        # Also what it is asked from now on.
        asked = self.control_conn._futures_by_id
        while not self._closed.wait(0.1):
            for instruction in list(asked):
                if (future := asked.pop(instruction, None)) is not None:
                    future.set(response)

    def _last_words(self) -> str:
        lines = self._words.read().decode("utf-8", "replace").splitlines()
        words = [line for line in lines if line.strip() and not _LOG_LINE.match(line)]
        return f", last words: {words[-1].strip()[:300]}" if words else ""

    def close(self) -> None:
        self._closed.set()
        # Beam sends one that has not connected yet no end, and waits for it for ever.
        self.control_conn.push(BeamFnControlServicer._DONE_MARKER)
        super().close()
        self._words.close()
