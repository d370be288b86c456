"""Verbs that run a pipeline: plan it, run it, say what came of it."""

import contextlib
import importlib
import json
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from beam_jobs import storage, terminal
from beam_jobs.config import MonthlyConfig
from beam_jobs.errors import BeamJobsError, RunError, unwrap
from beam_jobs.plan import Plan, describe, plan_monthly, standing_of
from beam_jobs.publish import publishing
from beam_jobs.publish.run_folder import RunFolder
from beam_jobs.publish.runs import RunRow, RunStatus
from beam_jobs.publish.warehouse import open_warehouse

if TYPE_CHECKING:
    import apache_beam as beam

    from beam_jobs.pipelines.counter import RowCounter

HELD = 3
UNCHANGED = "UNCHANGED"
RESULT = (
    "run_id", "job", "period", "status", "rows", "anomalies", "hold_reasons", "report",
    "run_folder", "seconds",
)  # fmt: skip
"""What `--json` prints of a summary."""


def run_monthly(config: MonthlyConfig, beam_args: Sequence[str]) -> int:
    """The verb `monthly`; returns the exit code."""
    started = time.monotonic()
    plan = plan_monthly(config)
    planned_in = time.monotonic() - started
    if config.plan:
        return print_plan(plan, as_json=config.json)
    try:
        summary = execute(plan, beam_args, force=config.force, planned_in=planned_in)
    except RunError:
        if config.json:
            terminal.print_json(failed(plan, time.monotonic() - started))
        raise
    return print_result(summary, as_json=config.json)


def print_plan(plan: Plan, *, as_json: bool) -> int:
    """What `--plan` shows; returns the exit code."""
    if as_json:
        terminal.print_json(plan.to_json())
    else:
        terminal.print_pairs(describe(plan), plan.notes)
    return 0


def print_result(summary: dict[str, Any], *, as_json: bool) -> int:
    """What a run that ended shows; returns the exit code."""
    if as_json:
        result = {name: summary[name] for name in RESULT}
        terminal.print_json(result | {"anomalies": len(summary["anomalies"])})
    else:
        terminal.print_summary(summary)
    return exit_code(summary)


def failed(plan: Plan, seconds: float) -> dict[str, Any]:
    """What `--json` prints of a run that failed; like its line in `runs`, it counts no rows."""
    return {
        "run_id": plan.run_id,
        "job": plan.job.value,
        "period": plan.period.isoformat(),
        "status": RunStatus.FAILED.value,
        "rows": {"read": 0, "scored": 0, "quarantined": 0},
        "anomalies": 0,
        "hold_reasons": [],
        "report": None,
        "run_folder": plan.run_folder,
        "seconds": round(seconds, 3),
    }


def exit_code(summary: dict[str, Any]) -> int:
    """3 for a run that waits for approval, also where it was held earlier already; else 0."""
    return HELD if summary["hold_reasons"] else 0


def execute(
    plan: Plan, beam_args: Sequence[str], *, force: bool = False, planned_in: float = 0.0
) -> dict[str, Any]:
    """Runs a plan to its end: published, held, or nothing to do.

    Args:
        plan: what to run.
        beam_args: flags of Beam's own.
        force: compute again even where this very run stands in the warehouse.
        planned_in: seconds that planning took, part of the summary's `seconds`.

    Returns:
        The summary (summary.json), with the status as it is now.

    Raises:
        RunError: the run failed and nothing was published.
    """
    folder = RunFolder(plan.run_folder)
    with folder.lock(terminal.print_note):
        # Asked under the lock: another process may just have finished this very run.
        standing = standing_of(open_warehouse(plan.warehouse), plan.run_id)
        # Without a summary it was killed right behind publishing, or its folder was cleared away.
        is_whole = storage.exists(folder.summary)
        if standing and standing.status is not RunStatus.FAILED and is_whole and not force:
            return _reuse(plan, standing, folder)
        return compute(plan, folder, beam_args, planned_in)


def compute(
    plan: Plan, folder: RunFolder, beam_args: Sequence[str], planned_in: float
) -> dict[str, Any]:
    """Runs the plan's pipeline; the caller holds the folder's lock. See `execute`."""
    folder.write(folder.plan, json.dumps(plan.to_json(), indent=2).encode())
    # The imports' seconds are not the run's.
    build = importlib.import_module(f"beam_jobs.pipelines.{plan.job.value}").build
    started = time.monotonic()
    with _failure_recorded(plan, folder), shown_progress() as counter:
        run_pipeline(lambda pipeline: build(pipeline, plan, counter), beam_args, plan.bytes)
    summary = json.loads(storage.read_bytes(folder.summary))
    summary["seconds"] = round(planned_in + time.monotonic() - started, 3)
    folder.write(folder.summary, json.dumps(summary, indent=2).encode())
    return summary


def run_pipeline(
    build: Callable[["beam.Pipeline"], None], beam_args: Sequence[str], input_bytes: int
) -> None:
    """Runs a graph that reads so many bytes, on the local runner unless the flags name another."""
    import apache_beam as beam

    from beam_jobs.pipelines.options import pipeline_options

    pipeline = beam.Pipeline(options=pipeline_options(beam_args, input_bytes))
    build(pipeline)
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:
        ours = unwrap(error)
        if ours is None:
            raise
        raise ours from error


def _reuse(plan: Plan, standing: RunRow, folder: RunFolder) -> dict[str, Any]:
    """The same run again: nothing is computed; one that was superseded is put back."""
    status = UNCHANGED
    if standing.status is RunStatus.SUPERSEDED:
        warehouse = open_warehouse(plan.warehouse)
        publishing.rollback(warehouse, standing.job, standing.period, standing.run_id)
        status = RunStatus.PUBLISHED.value
    held = standing.status is RunStatus.HELD
    summary = json.loads(storage.read_bytes(folder.summary))
    return summary | {
        "status": status,
        "hold_reasons": list(standing.hold_reasons) if held else [],
        "seconds": 0.0,
    }


@contextlib.contextmanager
def _failure_recorded(plan: Plan, folder: RunFolder) -> Iterator[None]:
    """A run that fails leaves a line in `runs` and, for a defect, its traceback in the folder."""
    try:
        yield
    except Exception as error:
        try:
            publishing.fail_run(open_warehouse(plan.warehouse), plan.run_row(RunStatus.FAILED))
        except BeamJobsError as second:
            terminal.print_note(f"the failure could not be written to `runs`: {second}")
        if isinstance(error, BeamJobsError):
            raise
        log = storage.join(folder.path, "failure.txt")
        folder.write(log, traceback.format_exc().encode())
        last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise RunError(f"the run failed, nothing was published: {last} (see {log})") from error


@contextlib.contextmanager
def shown_progress() -> Iterator["RowCounter"]:
    """Shows rows as workers report them; gives the counter that they report to."""
    from beam_jobs.pipelines.counter import RowCounter

    with tempfile.TemporaryDirectory(prefix="beam-jobs-") as folder:
        counter = RowCounter(folder)
        with terminal.Progress(counter.rows, stage_now=lambda: counter.stage().value):
            yield counter
