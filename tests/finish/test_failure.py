"""What a failure leaves and says: the cause is kept, publication is read and never assumed."""

import dataclasses
import datetime
import json
import types
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from beam_jobs.errors import BeamJobsError, InputError, RunError, RunInterruptedError
from beam_jobs.finish.failure import failed, failure_of, failure_recorded, failure_summary
from beam_jobs.pipelines import run
from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import open_catalog
from beam_jobs.runs.existing import ExistingRun, existing_run
from beam_jobs.runs.run_row import Job, RunStatus
from beam_jobs.runs.summary import RunOutcome
from support.publishing import OCTOBER, on_duckdb, write_run


class Attempt:
    """A run that was planned: `plan` has what failures need of a plan."""

    def __init__(self, url: str, folder: Path, status: RunStatus = RunStatus.PUBLISHED) -> None:
        self.written = write_run(str(folder / "runs"), "r1", status=status)
        self.run = self.written[0]
        self.warehouse = open_catalog(url)
        nothing = dataclasses.replace(self.run, rows_read=0, rows_scored=0, rows_quarantined=0)
        self.plan: Any = types.SimpleNamespace(
            run_id="r1",
            job=Job.MONTHLY,
            period=OCTOBER,
            run_folder=self.run.run_folder,
            warehouse=url,
            started_at=self.run.started_at,
            notify=None,
            notes=(),
            run_row=lambda status, error: dataclasses.replace(nothing, status=status, error=error),
        )

    def publish(self) -> None:
        publish_run(self.warehouse, *self.written)

    def fails(self, error: BaseException, *, published: bool) -> BaseException:
        """What comes out of an attempt that fails, before or after it is published."""
        with pytest.raises(BaseException) as raised, failure_recorded(self.plan):  # noqa: PT011, PT012  (the caller looks at it)
            if published:
                self.publish()
            raise error
        return raised.value

    def file(self, name: str) -> str:
        return Path(self.run.run_folder, name).read_text()


@pytest.fixture
def attempt(url: str, tmp_path: Path) -> Any:
    return Attempt(url, tmp_path)


def test_a_failure_before_publication_keeps_its_cause(attempt: Any) -> None:
    error = attempt.fails(InputError("a.csv.gz: cut off"), published=False)
    assert type(error) is InputError
    assert str(error) == "a.csv.gz: cut off; nothing was published"
    run = attempt.warehouse.find_run("r1")
    assert (run.status, run.error) == (RunStatus.FAILED, "a.csv.gz: cut off")
    assert json.loads(attempt.file("failure.json"))["error"] == "a.csv.gz: cut off"
    assert "InputError: a.csv.gz: cut off" in attempt.file("failure.txt")
    # The run succeeds later: the line has no error any more.
    attempt.publish()
    assert attempt.warehouse.find_run("r1").error is None


@on_duckdb
def test_a_defect_names_its_traceback(attempt: Any) -> None:
    error = attempt.fails(ValueError("no such thing"), published=False)
    assert type(error) is RunError
    assert str(error) == (
        f"the run failed: no such thing (see {attempt.run.run_folder}/failure.txt);"
        " nothing was published"
    )
    assert "raise error" in attempt.file("failure.txt")


@pytest.mark.parametrize("status", [RunStatus.PUBLISHED, RunStatus.HELD])
def test_a_failure_after_publication_says_what_stands(
    url: str, tmp_path: Path, status: Any
) -> None:
    attempt = Attempt(url, tmp_path, status)
    error = attempt.fails(RunError("summary.json: cannot be written"), published=True)
    assert isinstance(error, BeamJobsError)
    assert error.exit_code == 1
    assert str(error) == (
        f"run r1 is {status.value}; what failed after it: summary.json: cannot be written"
    )
    assert attempt.warehouse.find_run("r1").status is status
    with pytest.raises(RunError) as raised, failure_of(attempt.plan, 0.0):
        raise RunError("again")
    result = failure_summary(raised.value, None)
    assert (result.outcome.value, result.rows.read) == (status.value, attempt.run.rows_read)
    assert result.hold_reasons == attempt.run.hold_reasons


@on_duckdb
def test_an_earlier_outcome_is_not_taken_for_this_attempts(attempt: Any) -> None:
    attempt.publish()
    attempt.plan.started_at += datetime.timedelta(hours=1)
    error = attempt.fails(RunError("away"), published=False)
    assert str(error) == (
        "away; run r1 is PUBLISHED, as before: by this attempt nothing was published"
    )
    existing = existing_run(attempt.warehouse, "r1", attempt.plan.started_at)
    assert failed(attempt.plan, 0.0, existing).outcome is RunOutcome.FAILED


@on_duckdb
def test_what_a_worker_recorded_is_not_said_twice(attempt: Any) -> None:
    plan = attempt.plan
    with pytest.raises(InputError) as raised, failure_recorded(plan), failure_recorded(plan):
        raise InputError("a.csv: cut off")
    assert str(raised.value) == "a.csv: cut off; nothing was published"
    attempt.publish()
    with pytest.raises(RunError) as later, failure_recorded(plan), failure_recorded(plan):
        raise RunError("away")
    assert str(later.value) == "run r1 is PUBLISHED; what failed after it: away"


@pytest.mark.parametrize(
    ("published", "says"),
    [(False, "nothing of run r1 is published so far"), (True, "run r1 is PUBLISHED")],
)
@on_duckdb
def test_an_interrupt_says_what_stands_and_what_goes_on(
    attempt: Any, published: Any, says: str
) -> None:
    error = attempt.fails(KeyboardInterrupt("the Dataflow job 7 goes on"), published=published)
    assert isinstance(error, RunInterruptedError)
    assert error.exit_code == 130
    assert str(error) == (
        f"interrupted; {says}; the Dataflow job 7 goes on; `beam-jobs runs` shows it"
    )


def test_a_warehouse_that_does_not_answer_is_said(tmp_path: Path) -> None:
    (tmp_path / "ads.duckdb").mkdir()
    attempt = Attempt(f"duckdb:{tmp_path}/ads.duckdb", tmp_path)
    error = attempt.fails(RunError("out of memory"), published=False)
    assert str(error).startswith(
        "out of memory; whether run r1 was published is not known, the warehouse does not answer"
    )
    interrupt = existing_run(attempt.warehouse, "r1").after_interrupt()
    assert interrupt.startswith("interrupted; whether run r1 is published is not known (")
    assert ExistingRun("r1").after_failure("x") == "x; nothing was published"


@pytest.mark.parametrize(
    ("remote", "says"), [(True, r"the Dataflow job 2026-11-01_7 goes on without"), (False, r"^$")]
)
def test_an_interrupt_names_the_job_on_dataflow(
    monkeypatch: pytest.MonkeyPatch, remote: Any, says: str
) -> None:
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    result = types.SimpleNamespace(job_id=lambda: "2026-11-01_7", has_job=True)
    monkeypatch.setattr(beam.Pipeline, "run", lambda _: result)
    monkeypatch.setattr(run, "wait_for_end", interrupt)
    monkeypatch.setattr(run, "is_remote", lambda _: remote)
    with pytest.raises(KeyboardInterrupt, match=says):
        run.run_pipeline(lambda _: None, [], 1)
