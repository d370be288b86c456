"""Runs a graph to its end and notices what Beam's runners wait for in vain: workers that died.

A worker process that is killed (mostly by the system, when memory runs out) leaves the local
runner with `multi_processing` waiting for its answer for ever; Prism now and then keeps such a job
RUNNING for ever, too. Flink and Dataflow notice it themselves. Whether a worker lives is asked of
the process table, not of the clock: a machine may be slow.
"""

import contextlib
import logging
import re
import shlex
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
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
from beam_jobs.pipelines.workers import workers_of


@dataclass(frozen=True)
class Patience:
    """How long a job of Prism is waited for, in seconds.

    Attributes:
        pause: between two questions for its workers.
        reported: from the end of its last worker until the runner must have said so.
        answer: for an answer of the job service.
        silent: without any sign of life, where no process is seen to end.
        clock: seconds that only grow.
    """

    pause: float = 1.0
    reported: float = 5.0
    answer: float = 60.0
    silent: float = 900.0
    clock: Callable[[], float] = time.monotonic


patience = Patience()
"""Of this process; tests set another one."""

_PRISM_JOB = re.compile(r"job-\d+")
"""Ids of Prism's jobs. Other runners may tell figures only at the end: they are not watched."""

_LOG_LINE = re.compile(r"(DEBUG|INFO|WARNING):|.*Warning: |  warnings.warn")

_DISCONNECTED = (
    "SDK worker disconnected",
    "send on closed channel",  # where it writes to the worker at that moment
    "Channel closed prematurely",  # the local runner's, where it reads from the worker
)
"""Prism's words for it, but for the last."""

_NOT_CONNECTED = "didn't get control connection"
"""Prism's words, and its minute: it cannot be set."""


def worker_died(how: str) -> RunError:
    """The error of a run whose worker process is gone."""
    return RunError(
        f"a worker process died ({how}), mostly because memory ran out: see the system's log, or"
        " use fewer workers; then run the command again"
    )


def explained(error: Exception) -> RunError | None:
    """What a runner means whose job or worker is lost; None where it is something else."""
    if type(error).__name__ == "DataflowRuntimeException":
        return _dataflow_failed(error)
    if any(words in str(error) for words in _DISCONNECTED):
        return worker_died("the runner lost its connection")
    if _NOT_CONNECTED in str(error):
        return RunError(
            "no worker reached the runner within its minute: see what the worker pool printed, or"
            " leave the machine less to do; then run the command again"
        )
    return None


def _dataflow_failed(error: Any) -> RunError:
    """Of a job that Dataflow ended; Beam's text ends with the job's last error, or `None`."""
    job = error.result.job_id()
    *_, reason = str(error).strip().splitlines()
    why = "" if reason in ("None", "") else f": {reason}"
    return RunError(
        f"the Dataflow job {job} ended as {error.result.state}{why}; `gcloud beta dataflow logs"
        f" list {job} --region=REGION` and its page in the Cloud console have all messages"
    )


def wait_for_end(result: beam.runners.runner.PipelineResult) -> None:
    """Waits until a graph that was started has ended.

    Raises:
        RunError: the job service is gone, or its workers are.
        Exception: whatever the graph raised, as its runner wraps it.
    """
    if not isinstance(result, PipelineResult):
        result.wait_until_finish()
        return
    _listen_to_the_end(result)
    # In a thread: a job of Prism that lost its worker may not even end when it is cancelled.
    ended = _in_background(result.wait_until_finish)
    if _PRISM_JOB.fullmatch(result._job_id) and (lost := _await_end_or_loss(result, ended)):
        _in_background(result.cancel)
        wait([ended], patience.answer)
        if ended.done() and ended.exception() is None:
            return  # its workers were gone because it had done all
        raise worker_died(lost)
    try:
        ended.result()
    except grpc.RpcError as error:
        raise RunError(
            f"the job service is gone ({_details(error)}): the runner ended before the"
            " job; start it again, then run the command again"
        ) from error


def _listen_to_the_end(result: PipelineResult) -> None:
    """Asks for states and messages anew, without a deadline.

    Beam 2.72 stops listening after `--job_server_timeout`, 300 s, though the job goes on.
    """
    service, job = result._job_service, result._job_id
    result._state_stream = service.GetStateStream(beam_job_api_pb2.GetJobStateRequest(job_id=job))
    result._message_stream = service.GetMessageStream(
        beam_job_api_pb2.JobMessagesRequest(job_id=job)
    )


def _in_background(function: Callable[[], object]) -> Future[None]:
    """Calls it in a thread that holds up no process that ends."""
    future: Future[None] = Future()

    def call() -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001 (handed over, whatever it is)
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=call, daemon=True).start()
    return future


def _details(error: grpc.RpcError) -> str:
    details = error.details() if isinstance(error, grpc.Call) else str(error)
    return " ".join((details or type(error).__name__).split())


def _await_end_or_loss(result: PipelineResult, ended: Future[None]) -> str | None:
    """How a job of Prism lost its workers; None once it has ended.

    Prism 2.71 keeps a job RUNNING for ever when its worker dies at the wrong moment. Where the
    worker's stream ends with an error (Go: worker.W.Control), either the bundles fail that it works
    on, or nothing happens: a select over two channels, both ready, decides. And a bundle given
    to a worker that has stopped (worker.B.ProcessOn) waits for an answer that nobody will give.
    """
    signs, name = Signs(patience), _name_of(result)
    while True:
        wait([ended], patience.pause)
        if ended.done():
            return None
        lost = signs.seen(_figures(result), workers_of(f"{result._job_id}[{name}]") if name else {})
        if lost:
            return lost


class Signs:
    """What was seen of a job's workers."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._life: tuple[frozenset[bytes], Mapping[str, int]] = (frozenset(), {})
        self._since = patience.clock()
        self._gone: float | None = None

    def seen(self, figures: frozenset[bytes] | None, workers: Mapping[str, int]) -> str | None:
        """Takes what was seen; why the job is given up, None where it is not.

        A worker on this machine may be as slow as it likes, while its process lives and its figures
        or its processor time grow now and then. Of one on another machine the figures alone are
        seen: Prism asks for them at least every 30 s.

        Args:
            figures: metrics of the job; None where the job service did not tell.
            workers: see `workers_of`.
        """
        now = self._patience.clock()
        known, before = self._life
        if before and not workers:
            self._gone = now if self._gone is None else self._gone
            is_over = now - self._gone >= self._patience.reported
            return "its process is gone" if is_over else None
        self._gone = None
        life = (known if figures is None else figures, workers)
        if life != self._life:
            self._life, self._since = life, now
        elif now - self._since >= self._patience.silent:
            return f"none showed life for {self._patience.silent:g} s"
        return None


def _name_of(result: PipelineResult) -> str:
    """The job's name, which is part of the ids of its workers; empty where it is not known."""
    with contextlib.suppress(grpc.RpcError):
        jobs = result._job_service.GetJobs(
            beam_job_api_pb2.GetJobsRequest(), timeout=patience.answer
        )
        return next((job.job_name for job in jobs.job_info if job.job_id == result._job_id), "")
    return ""


def _figures(result: PipelineResult) -> frozenset[bytes] | None:
    """All metrics of a job; those of times grow while a worker does anything at all."""
    request = beam_job_api_pb2.GetJobMetricsRequest(job_id=result._job_id)
    try:
        metrics = result._job_service.GetJobMetrics(request, timeout=patience.answer).metrics
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
        """Starts the process; what it writes to standard error is kept for its last words."""
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
        """Ends the worker, also one that never came up."""
        self._closed.set()
        # Beam sends one that has not connected yet no end, and waits for it for ever.
        self.control_conn.push(BeamFnControlServicer._DONE_MARKER)
        super().close()
        self._words.close()
