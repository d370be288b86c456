"""Jobs of a portable runner that stand still, are lost, or just take long."""

import itertools
import queue
import threading
from collections.abc import Iterator
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

RUNNING, DONE, CANCELLED = api.JobState.RUNNING, api.JobState.DONE, api.JobState.CANCELLED


class FakeService:
    """A job service whose job runs until it is cancelled, or ends after some questions."""

    def __init__(self, *, figures: Iterator[int], ends_after: int = 1_000_000) -> None:
        self._figures, self._left = figures, ends_after
        self.states: queue.Queue[Any] = queue.Queue()
        self.states.put(RUNNING)

    def GetJobMetrics(self, _: Any) -> api.GetJobMetricsResponse:
        self._left -= 1
        if not self._left:
            self.states.put(DONE)
        info = metrics_pb2.MonitoringInfo(urn="x", payload=bytes([next(self._figures)]))
        return api.GetJobMetricsResponse(metrics=api.MetricResults(attempted=[info]))

    def Cancel(self, _: Any) -> None:
        self.states.put(CANCELLED)

    def stream(self) -> Iterator[api.JobStateEvent]:
        while True:
            state = self.states.get(timeout=60)
            if isinstance(state, Exception):
                raise state
            yield api.JobStateEvent(state=state)


def wait(service: FakeService, job: str = "job-001") -> None:
    watch.wait_for_end(PipelineResult(service, job, iter(()), service.stream()))


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "STALL_SECONDS", 0.2)


def test_a_job_of_prism_whose_figures_stand_still_is_cancelled() -> None:
    with pytest.raises(RunError, match=r"a worker process died \(none showed life for 0.2 s\)"):
        wait(FakeService(figures=itertools.repeat(7)))


def test_a_job_whose_figures_grow_may_take_as_long_as_it_likes() -> None:
    wait(FakeService(figures=itertools.cycle(range(100)), ends_after=100))


def test_a_runner_that_tells_figures_at_the_end_only_is_left_alone() -> None:
    service = FakeService(figures=itertools.repeat(7))
    threading.Timer(1, service.states.put, [DONE]).start()
    wait(service, job="BeamApp-root-1125-ab")


def test_a_job_service_that_goes_away_is_one_clear_line() -> None:
    class Gone(grpc.RpcError):
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


def test_another_error_is_not_explained_away() -> None:
    assert watch.explained(RuntimeError("ValueError: the channel is 7")) is None
