"""Jobs of a portable runner that stand still, are lost, or just take long."""

import dataclasses
import itertools
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2 as api
from apache_beam.portability.api import metrics_pb2
from apache_beam.runners.portability.portable_runner import PipelineResult

from beam_jobs.errors import RunError
from beam_jobs.pipelines import watch
from beam_jobs.pipelines.counter import RowCounter, Stage
from beam_jobs.pipelines.workers import workers_of
from support.waiting import PATIENCE, until

RUNNING, DONE, CANCELLED = api.JobState.RUNNING, api.JobState.DONE, api.JobState.CANCELLED
NAME = "beamapp-anna-1126"
WORKER = f"job-001[{NAME}]_environment_1"


class FakeService:
    """A job service whose job runs until something happens.

    Attributes:
        ends_after: questions for figures; then the job is done.
        ends_as: state of a job that is cancelled; None where nothing comes of it.
        states: that the job will be in.
    """

    def __init__(
        self, *, figures: Iterator[int], ends_after: int = 0, ends_as: Any = CANCELLED
    ) -> None:
        self._figures, self._left, self._ends_as = figures, ends_after, ends_as
        self.states: queue.Queue[Any] = queue.Queue()
        self.states.put(RUNNING)

    def GetJobs(self, _: Any, timeout: float) -> api.GetJobsResponse:  # noqa: N802, ARG002  (Beam's interface)
        others = api.JobInfo(job_id="job-0012", job_name="other")
        return api.GetJobsResponse(job_info=[others, api.JobInfo(job_id="job-001", job_name=NAME)])

    def GetJobMetrics(self, _: Any, timeout: float) -> api.GetJobMetricsResponse:  # noqa: N802, ARG002  (Beam's interface)
        self._left -= 1
        if not self._left:
            self.states.put(DONE)
        info = metrics_pb2.MonitoringInfo(urn="x", payload=bytes([next(self._figures)]))
        return api.GetJobMetricsResponse(metrics=api.MetricResults(attempted=[info]))

    def Cancel(self, _: Any) -> None:  # noqa: N802  (Beam's interface)
        if self._ends_as is not None:
            self.states.put(self._ends_as)

    def GetMessageStream(self, _: Any) -> Iterator[api.JobMessagesResponse]:  # noqa: N802  (Beam's interface)
        return iter(())

    def GetStateStream(self, _: Any) -> Iterator[api.JobStateEvent]:  # noqa: N802  (Beam's interface)
        while True:
            state = self.states.get(timeout=PATIENCE)
            if isinstance(state, Exception):
                raise state
            yield api.JobStateEvent(state=state)


def wait(service: FakeService, job: str = "job-001") -> None:
    """As Beam hands a result over: its own streams end after 300 s, with an error."""
    watch.wait_for_end(PipelineResult(service, job, over_time(), over_time()))


def over_time() -> Iterator[Any]:
    raise grpc.RpcError("Deadline Exceeded")
    yield


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look is 10 s later than the one before."""
    ticks = itertools.count(step=10.0)
    patience = watch.Patience(pause=0.001, reported=30, silent=200, clock=lambda: next(ticks))
    monkeypatch.setattr(watch, "patience", patience)


def workers(monkeypatch: pytest.MonkeyPatch, found: Iterator[Mapping[str, int]]) -> None:
    def look(job: str) -> Mapping[str, int]:
        assert job == f"job-001[{NAME}]"
        return next(found)

    monkeypatch.setattr(watch, "workers_of", look)


def ended(process: str = "812") -> Iterator[Mapping[str, int]]:
    """A worker's process that works, and then is no more."""
    working: list[Mapping[str, int]] = [{process: ticks} for ticks in range(5)]
    return itertools.chain(working, itertools.repeat({}))


def test_a_job_whose_workers_process_is_gone_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    workers(monkeypatch, ended())
    with pytest.raises(RunError, match=r"a worker process died \(its process is gone\)"):
        wait(FakeService(figures=itertools.cycle(range(100))))


def test_a_job_that_cannot_be_cancelled_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    workers(monkeypatch, ended())
    hasty = dataclasses.replace(watch.patience, answer=0.01)
    monkeypatch.setattr(watch, "patience", hasty)
    with pytest.raises(RunError, match="its process is gone"):
        wait(FakeService(figures=itertools.repeat(7), ends_as=None))


def test_a_job_that_has_ended_its_worker_and_is_done_has_not_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Prism ends the workers of a job first, and says then that it is done."""
    workers(monkeypatch, ended())
    wait(FakeService(figures=itertools.repeat(7), ends_as=DONE))


def test_a_worker_may_be_slow_while_it_uses_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    workers(monkeypatch, ({"812": ticks // 15} for ticks in itertools.count()))
    wait(FakeService(figures=itertools.repeat(7), ends_after=200))


def test_a_worker_that_lives_and_never_does_anything_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers(monkeypatch, itertools.repeat({"812": 9}))
    with pytest.raises(RunError, match=r"a worker process died \(none showed life for 200 s\)"):
        wait(FakeService(figures=itertools.repeat(7)))


def test_workers_elsewhere_are_judged_by_figures_alone() -> None:
    with pytest.raises(RunError, match=r"a worker process died \(none showed life for 200 s\)"):
        wait(FakeService(figures=itertools.repeat(7)))
    wait(FakeService(figures=(n // 15 % 100 for n in itertools.count()), ends_after=200))


def test_a_worker_that_is_seen_again_was_not_gone() -> None:
    signs = watch.Signs(watch.Patience(reported=30, clock=itertools.count(step=10.0).__next__))
    found: list[Mapping[str, int]] = [{"1": 1}, {}, {}, {"2": 1}, {}, {}, {}]
    assert [signs.seen(frozenset(), workers) for workers in found] == [None] * 7
    assert signs.seen(frozenset(), {}) == "its process is gone"


def test_a_service_that_does_not_answer_once_is_no_sign_of_life() -> None:
    signs = watch.Signs(watch.Patience(silent=30, clock=itertools.count(step=10.0).__next__))
    figures = frozenset([b"x"])
    assert [signs.seen(it, {}) for it in (figures, None, figures)] == [None] * 3
    assert signs.seen(None, {}) == "none showed life for 30 s"


def test_workers_are_found_by_the_jobs_part_of_their_ids() -> None:
    code = "import sys; print(1, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, f"--id={WORKER}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (found,) = workers_of(f"job-001[{NAME}]").items()
        assert (found[0], found[1] >= 0) == (str(process.pid), True)
        assert workers_of(f"job-002[{NAME}]") == {}
        process.kill()
        # Nobody has asked for its end yet: it still is in the process table.
        until(lambda: not workers_of(f"job-001[{NAME}]"), "the end of the process")
        assert Path(f"/proc/{process.pid}").exists()


def test_workers_of_this_process_are_found_by_their_threads() -> None:
    end = threading.Event()
    thread = threading.Thread(name=f"run_worker_{WORKER}", target=end.wait)
    thread.start()
    assert workers_of(f"job-001[{NAME}]") == {f"run_worker_{WORKER}": 0}
    end.set()
    thread.join()
    assert workers_of(f"job-001[{NAME}]") == {}


def test_a_runner_that_tells_figures_at_the_end_only_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(watch, "_await_end_or_loss")
    service = FakeService(figures=itertools.repeat(7))
    service.states.put(DONE)
    wait(service, job="BeamApp-root-1125-ab")


def test_a_job_service_that_goes_away_is_one_clear_line() -> None:
    class Gone(grpc.RpcError):  # type: ignore[misc]
        pass

    service = FakeService(figures=itertools.count())
    service.states.put(Gone("connection\nreset"))
    with pytest.raises(RunError, match=r"the job service is gone \(connection reset\)"):
        wait(service)


def test_a_worker_on_another_machine_tells_no_rows(tmp_path: Path) -> None:
    RowCounter(str(tmp_path / "elsewhere")).add(Stage.SCORE, 5)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "words",
    [
        "Pipeline job-003 failed in state FAILED: SDK worker disconnected: environment_1",
        "Pipeline job-003 failed in state FAILED: panic in stage.Execute bundle processing"
        " goroutine: send on closed channel, stage: stage-021\ngoroutine 244 [running]:",
        "Channel closed prematurely.",
    ],
)
def test_what_runners_say_of_a_worker_that_died(words: str) -> None:
    told = watch.explained(RuntimeError(words))
    assert told is not None
    assert str(told).startswith("a worker process died (the runner lost its connection)")


def test_a_worker_that_did_not_come_is_no_worker_that_died() -> None:
    told = watch.explained(
        RuntimeError(
            f"Pipeline job-001 failed in state FAILED: prism worker[{WORKER}] didn't get control"
            " connection to localhost:39291 after 1m0s"
        )
    )
    assert str(told).startswith("no worker reached the runner within its minute")


def test_another_error_is_not_explained_away() -> None:
    assert watch.explained(RuntimeError("ValueError: the channel is 7")) is None
