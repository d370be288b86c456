"""Any sequence of publish, hold, fail, approve and rollback, against a model of a few lines."""

import dataclasses
import datetime
import itertools
import tempfile

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from publish_kit import WHOLE_MONTH, write_run

from beam_jobs.errors import UsageError
from beam_jobs.publish.decisions import approve, rollback
from beam_jobs.publish.publishing import fail_run, publish_run
from beam_jobs.publish.runs import RunStatus
from beam_jobs.publish.warehouse import open_warehouse

PERIODS = st.sampled_from([datetime.date(2026, 9, 1), datetime.date(2026, 10, 1)])
ANY = st.integers(0, 20)


@dataclasses.dataclass
class _Run:
    """What the model knows of a run."""

    period: datetime.date
    order: int
    status: RunStatus
    rows: int
    superseded: int = -1


class PublishMachine(RuleBasedStateMachine):
    """The warehouse beside the model; they are compared after every step."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.warehouse = open_warehouse(self.new_url())
        self.runs: dict[str, _Run] = {}
        self.clock = itertools.count()

    def new_url(self):
        return f"duckdb:{self.folder.name}/ads.duckdb"

    def teardown(self):
        self.folder.cleanup()

    def _write(self, period, status, name=None):
        order = next(self.clock) if name is None else self.runs[name].order
        name = name or f"run{order}"
        rows = 5 + order
        runs = f"{self.folder.name}/runs"
        return _Run(period, order, status, rows), write_run(
            runs, name, period, status, rows=rows, quarantined=1, order=order
        )

    def _published(self, period):
        for name, run in self.runs.items():
            if run.period == period and run.status is RunStatus.PUBLISHED:
                return name
        return None

    def _becomes_published(self, name):
        current = self._published(self.runs[name].period)
        if current not in (None, name):
            self.runs[current].status = RunStatus.SUPERSEDED
            self.runs[current].superseded = next(self.clock)
        self.runs[name].status = RunStatus.PUBLISHED

    @rule(period=PERIODS)
    def publish(self, period):
        run, written = self._write(period, RunStatus.PUBLISHED)
        publish_run(self.warehouse, *written)
        self.runs[written[0].run_id] = run
        self._becomes_published(written[0].run_id)

    @rule(period=PERIODS)
    def hold(self, period):
        run, written = self._write(period, RunStatus.HELD)
        publish_run(self.warehouse, *written)
        self.runs[written[0].run_id] = run

    @rule(period=PERIODS)
    def fail(self, period):
        run, written = self._write(period, RunStatus.FAILED)
        fail_run(self.warehouse, written[0])
        self.runs[written[0].run_id] = run

    @precondition(lambda self: self.runs)
    @rule(at=ANY, status=st.sampled_from([RunStatus.PUBLISHED, RunStatus.HELD]))
    def run_again(self, at, status):
        name = sorted(self.runs)[at % len(self.runs)]
        old = self.runs[name]
        _, written = self._write(old.period, status, name)
        publish_run(self.warehouse, *written)
        if status is RunStatus.PUBLISHED or old.status is RunStatus.PUBLISHED:
            self._becomes_published(name)
        else:
            old.status = status

    @precondition(lambda self: self.runs)
    @rule(at=ANY)
    def approve(self, at):
        name = sorted(self.runs)[at % len(self.runs)]
        if self.runs[name].status in (RunStatus.HELD, RunStatus.PUBLISHED):
            approve(self.warehouse, name)
            self._becomes_published(name)
        else:
            self._refused(approve, name)

    @rule(period=PERIODS)
    def rollback(self, period):
        current = self._published(period)
        earlier = [
            name
            for name, run in self.runs.items()
            if current is not None
            and (run.period, run.status) == (period, RunStatus.SUPERSEDED)
            and run.order < self.runs[current].order
        ]
        if earlier:
            target = max(earlier, key=lambda name: self.runs[name].superseded)
            assert rollback(self.warehouse, "monthly", period).run_id == target
            self._becomes_published(target)
        else:
            self._refused(rollback, "monthly", period)

    @precondition(lambda self: self.runs)
    @rule(at=ANY, period=PERIODS)
    def rollback_to(self, at, period):
        name = sorted(self.runs)[at % len(self.runs)]
        run = self.runs[name]
        if run.period == period and run.status in (RunStatus.SUPERSEDED, RunStatus.PUBLISHED):
            rollback(self.warehouse, "monthly", period, name)
            self._becomes_published(name)
        else:
            self._refused(rollback, "monthly", period, name)

    def _refused(self, action, *arguments):
        try:
            action(self.warehouse, *arguments)
        except UsageError:
            return
        raise AssertionError(f"{action.__name__} was not refused")

    @invariant()
    def the_warehouse_is_the_model(self):
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


TestPublishMachine = PublishMachine.TestCase
TestPublishMachine.settings = settings(max_examples=6, stateful_step_count=10, deadline=None)


class BigQueryMachine(PublishMachine):
    """The same on BigQuery."""

    server = None

    def new_url(self):
        return f"bigquery:{self.server.new_dataset()}"


@pytest.fixture
def machine_server(bigquery, monkeypatch):
    monkeypatch.setattr(BigQueryMachine, "server", bigquery)


@pytest.mark.usefixtures("machine_server")
class TestBigQueryMachine(BigQueryMachine.TestCase):
    settings = settings(max_examples=2, stateful_step_count=8, deadline=None)
