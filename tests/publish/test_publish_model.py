"""Any sequence of publish, hold, fail, approve, reject and rollback, against a short model.

The model of the way back: the path of runs that led to the published one, as a list. Publishing
appends, going back cuts off; every path that there was is remembered, for the way forward.
"""

import dataclasses
import datetime
import itertools
import tempfile
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from beam_jobs.errors import UsageError
from beam_jobs.publish.decisions import approve, reject, rollback
from beam_jobs.publish.publishing import fail_run, publish_run
from beam_jobs.runs.catalog import open_catalog
from beam_jobs.runs.run_row import RunStatus
from support.publishing import WHOLE_MONTH, write_run
from support.servers.bigquery import BigQueryServer

PERIODS = st.sampled_from([datetime.date(2026, 9, 1), datetime.date(2026, 10, 1)])
ANY = st.integers(0, 20)


@dataclasses.dataclass
class _Run:
    """What the model knows of a run."""

    period: datetime.date
    order: int
    status: RunStatus
    rows: int


class PublishMachine(RuleBasedStateMachine):
    """The warehouse beside the model; they are compared after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.warehouse = open_catalog(self.new_url())
        self.runs: dict[str, _Run] = {}
        self.clock = itertools.count()
        self.paths: dict[datetime.date, list[tuple[str, ...]]] = {}
        self.decided: list[tuple[str, str, str | None]] = []

    def new_url(self) -> Any:
        return f"duckdb:{self.folder.name}/ads.duckdb"

    def teardown(self) -> None:
        self.folder.cleanup()

    def _write(self, period: Any, status: Any, name: str | None = None) -> Any:
        order = next(self.clock) if name is None else self.runs[name].order
        name = name or f"run{order}"
        rows = 5 + order
        runs = f"{self.folder.name}/runs"
        return _Run(period, order, status, rows), write_run(
            runs, name, period, status, rows=rows, quarantined=1, order=order
        )

    def _published(self, period: Any) -> Any:
        for name, run in self.runs.items():
            if run.period == period and run.status is RunStatus.PUBLISHED:
                return name
        return None

    def _path(self, period: Any) -> Any:
        return self.paths.get(period, [()])[-1]

    def _becomes_published(self, name: str, action: Any, path: Any = None) -> None:
        """`path` leads to the run, where that is not the current one with the run added."""
        period = self.runs[name].period
        current = self._published(period)
        if current == name:
            return
        if current is not None:
            self.runs[current].status = RunStatus.SUPERSEDED
        self.runs[name].status = RunStatus.PUBLISHED
        path = (*self._path(period), name) if path is None else path
        self.paths.setdefault(period, []).append(path)
        self.decided.append((name, action, current))

    def _path_back_to(self, name: str) -> Any:
        """Where the run was last on the way here, else where it was last at all."""
        paths = self.paths[self.runs[name].period]
        before = paths[-1][:-1]
        if name in before:
            return before[: len(before) - before[::-1].index(name)]
        return [path for path in paths if path[-1] == name][-1]

    @rule(period=PERIODS)
    def publish(self, period: Any) -> None:
        run, written = self._write(period, RunStatus.PUBLISHED)
        publish_run(self.warehouse, *written)
        self.runs[written[0].run_id] = dataclasses.replace(run, status=RunStatus.HELD)
        self._becomes_published(written[0].run_id, "PUBLISHED")

    @rule(period=PERIODS)
    def hold(self, period: Any) -> None:
        run, written = self._write(period, RunStatus.HELD)
        publish_run(self.warehouse, *written)
        self.runs[written[0].run_id] = run

    @rule(period=PERIODS)
    def fail(self, period: Any) -> None:
        run, written = self._write(period, RunStatus.FAILED)
        fail_run(self.warehouse, written[0])
        self.runs[written[0].run_id] = run

    @precondition(lambda self: self.runs)
    @rule(at=ANY, status=st.sampled_from([RunStatus.PUBLISHED, RunStatus.HELD]))
    def run_again(self, at: Any, status: Any) -> None:
        name = sorted(self.runs)[at % len(self.runs)]
        old = self.runs[name]
        _, written = self._write(old.period, status, name)
        publish_run(self.warehouse, *written)
        if status is RunStatus.PUBLISHED or old.status is RunStatus.PUBLISHED:
            self._becomes_published(name, "PUBLISHED")
        else:
            old.status = status

    @precondition(lambda self: self.runs)
    @rule(at=ANY)
    def approve(self, at: Any) -> None:
        name = sorted(self.runs)[at % len(self.runs)]
        if self.runs[name].status in (RunStatus.HELD, RunStatus.PUBLISHED):
            approve(self.warehouse, name, "good")
            self._becomes_published(name, "APPROVED")
        else:
            self._refused(approve, name)

    @precondition(lambda self: self.runs)
    @rule(at=ANY)
    def reject(self, at: Any) -> None:
        name = sorted(self.runs)[at % len(self.runs)]
        status = self.runs[name].status
        if status is RunStatus.HELD:
            self.decided.append((name, "REJECTED", None))
        if status in (RunStatus.HELD, RunStatus.REJECTED):
            assert reject(self.warehouse, name, "bad").status is RunStatus.REJECTED
            self.runs[name].status = RunStatus.REJECTED
        else:
            self._refused(reject, name)

    @rule(period=PERIODS)
    def rollback(self, period: Any) -> None:
        path = self._path(period)[:-1]
        while path and self.runs[path[-1]].status is not RunStatus.SUPERSEDED:
            path = path[:-1]
        if path:
            assert rollback(self.warehouse, "monthly", period).run_id == path[-1]
            self._becomes_published(path[-1], "ROLLED_BACK", path)
        else:
            self._refused(rollback, "monthly", period)

    @precondition(lambda self: self.runs)
    @rule(at=ANY, period=PERIODS)
    def rollback_to(self, at: Any, period: Any) -> None:
        name = sorted(self.runs)[at % len(self.runs)]
        run = self.runs[name]
        if run.period == period and run.status in (RunStatus.SUPERSEDED, RunStatus.PUBLISHED):
            rollback(self.warehouse, "monthly", period, name)
            if run.status is RunStatus.SUPERSEDED:
                self._becomes_published(name, "ROLLED_BACK", self._path_back_to(name))
        else:
            self._refused(rollback, "monthly", period, name)

    def _refused(self, action: Any, *arguments: Any) -> None:
        try:
            action(self.warehouse, *arguments)
        except UsageError:
            return
        raise AssertionError(f"{action.__name__} was not refused")

    @invariant()
    def the_warehouse_is_the_model(self) -> None:
        if not self.runs:
            return
        expected = {("runs", name, 1) for name in self.runs}
        for name, run in self.runs.items():
            if run.status is RunStatus.PUBLISHED:
                expected |= {("scores", name, 4 * run.rows - 2), ("quarantine", name, 2)}
            if run.status in (RunStatus.PUBLISHED, RunStatus.HELD):
                expected |= {("anomalies", name, 1), ("feature_statistics", name, 1)}
                expected |= {("inputs", name, 2)}
        assert set(self.warehouse.query(WHOLE_MONTH).rows) == expected
        assert {run.run_id: run.status for run in self.warehouse.runs()} == {
            name: run.status for name, run in self.runs.items()
        }
        found = [
            publication
            for period in sorted({run.period for run in self.runs.values()})
            for publication in self.warehouse.publications("monthly", period)
        ]
        # Of one period in their order; the model has both periods in one list.
        recorded = [(each.run_id, each.action.value, each.replaced_run_id) for each in found]
        by_period = sorted(self.decided, key=lambda decided: self.runs[decided[0]].period)
        assert recorded == by_period


TestPublishMachine = PublishMachine.TestCase
TestPublishMachine.settings = settings(max_examples=6, stateful_step_count=10, deadline=None)


class BigQueryMachine(PublishMachine):
    """The same on BigQuery."""

    server: BigQueryServer | None = None

    def new_url(self) -> Any:
        assert self.server is not None
        return f"bigquery:{self.server.new_dataset()}"


@pytest.fixture
def machine_server(bigquery: BigQueryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BigQueryMachine, "server", bigquery)


@pytest.mark.usefixtures("machine_server")
class TestBigQueryMachine(BigQueryMachine.TestCase):  # type: ignore[valid-type, misc]
    settings = settings(max_examples=2, stateful_step_count=8, deadline=None)
