"""Verbs that run a pipeline: plan it, run it, say what came of it."""

import contextlib
import importlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from beam_jobs import storage, terminal
from beam_jobs.config.verbs import MonthlyConfig
from beam_jobs.errors import AuditError, unwrap
from beam_jobs.finish.failure import failed, failure_of, failure_recorded
from beam_jobs.notify import Outcome, announce
from beam_jobs.plan import Plan, describe, plan_monthly
from beam_jobs.plan.costs import describe_estimate, estimate, estimate_json
from beam_jobs.plan.prices import Prices, load_prices
from beam_jobs.publish.decisions import left_by_rollback, publish_again
from beam_jobs.runs.catalog import open_warehouse
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.ledger import TAKEN
from beam_jobs.runs.run_row import RunRow, RunStatus

if TYPE_CHECKING:
    import apache_beam as beam

    from beam_jobs.pipelines.counter import RowCounter

HELD = 3
UNCHANGED = "UNCHANGED"
SUBMITTED = "SUBMITTED"
RESULT = (
    "run_id", "job", "period", "status", "rows", "anomalies", "hold_reasons", "report",
    "run_folder", "seconds", "notes",
)  # fmt: skip
"""What `--json` prints of a summary."""

QUEUE_RESULT = ("unreadable", "changed")
"""And of a queue run's: sentences on request files that it left out."""


submitted: list[str] = []
"""Ids of the jobs that this process has submitted and does not wait for."""


def run_monthly(config: MonthlyConfig, beam_args: Sequence[str]) -> int:
    """The verb `monthly`; returns the exit code."""
    started = time.monotonic()
    plan = plan_monthly(config)
    planned_in = time.monotonic() - started
    if config.plan:
        return print_plan(plan, load_prices(config.prices), as_json=config.json)
    with failure_of(plan, started):
        summary = execute(plan, beam_args, force=config.force, planned_in=planned_in)
    return print_result(summary, as_json=config.json)


def print_plan(plan: Plan, prices: Prices | None, *, as_json: bool) -> int:
    """What `--plan` shows, an estimate included; returns the exit code."""
    found = estimate(plan)
    if as_json:
        terminal.print_json(plan.to_json() | {"estimate": estimate_json(found, prices)})
    else:
        shown = {**describe(plan), **describe_estimate(found, prices)}
        terminal.print_pairs(shown, plan.all_notes)
    return 0


def print_result(summary: dict[str, Any], *, as_json: bool) -> int:
    """What a run that ended, or was submitted, shows; returns the exit code."""
    if summary["status"] == SUBMITTED:
        return _say_submitted(summary, as_json)
    if as_json:
        result = {name: summary[name] for name in RESULT} | {
            name: summary[name] for name in QUEUE_RESULT if name in summary
        }
        terminal.print_json(result | {"anomalies": len(summary["anomalies"])})
    else:
        terminal.print_summary(summary)
    return exit_code(summary)


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
        RunError: the run failed; the message says what stands in the warehouse.
    """
    folder = RunFolder(plan.run_folder)
    with folder.lock(terminal.print_note):
        # Asked under the lock: another process may just have finished this very run.
        warehouse = open_warehouse(plan.warehouse)
        standing = warehouse.run_of(plan.job, plan.period, plan.run_id)
        # Without a summary it was killed right behind publishing, or its folder was cleared away.
        is_whole = storage.exists(folder.summary)
        is_over = standing is None or standing.status in (RunStatus.FAILED, RunStatus.REJECTED)
        left = left_by_rollback(warehouse, standing)
        if standing is not None and not is_over and (is_whole or left) and not force:
            return _reuse(plan, standing, folder, left)
        return compute(plan, folder, beam_args, planned_in)


def compute(
    plan: Plan,
    folder: RunFolder,
    beam_args: Sequence[str],
    planned_in: float,
    mended: tuple[type[Exception], ...] = (),
) -> dict[str, Any]:
    """Runs the plan's pipeline; the caller holds the folder's lock. See `execute`.

    Errors that the caller mends are raised without a trace in `runs`.
    """
    # The imports' seconds are not the run's.
    build = importlib.import_module(f"beam_jobs.pipelines.{plan.job.value}").build
    from beam_jobs.pipelines.options import is_remote, label_flags, pipeline_options

    remote = is_remote(pipeline_options(beam_args))
    started = time.monotonic()
    with failure_recorded(plan, mended):
        folder.write(folder.plan, json.dumps(plan.to_json(), indent=2).encode())
        with shown_progress() as counter:
            job_id = run_pipeline(
                lambda pipeline: build(pipeline, plan, None if remote else counter),
                [*beam_args, *label_flags(plan)] if remote else beam_args,
                plan.bytes,
            )
        if job_id is not None:
            return failed(plan, 0.0) | {"status": SUBMITTED, "job_id": job_id}
        summary = _summary_of(plan, folder)
        summary["seconds"] = round(planned_in + time.monotonic() - started, 3)
        folder.write(folder.summary, json.dumps(summary, indent=2).encode())
    if not remote and summary["status"] != TAKEN:  # there the graph itself does
        announce(Outcome.of_summary(summary), plan.notify)
    return summary


def _summary_of(plan: Plan, folder: RunFolder) -> dict[str, Any]:
    if storage.exists(folder.summary):
        summary = json.loads(storage.read_bytes(folder.summary))
        if summary["started_at"] == plan.started_at.isoformat():
            return summary
    raise AuditError(
        f"run {plan.run_id}: the runner says that it is done, but it never came to its end"
    )


def run_pipeline(
    build: Callable[["beam.Pipeline"], None], beam_args: Sequence[str], input_bytes: int
) -> str | None:
    """Runs a graph that reads so many bytes, on the local runner unless the flags name another.

    Returns:
        None where it has ended; with --no_wait_until_finish on Dataflow the job's id there, empty
        where only its description was written (--template_location).
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import StandardOptions

    from beam_jobs.pipelines.options import is_remote, pipeline_options
    from beam_jobs.pipelines.watch import explained, wait_for_end, without_traces

    pipeline = beam.Pipeline(options=pipeline_options(beam_args, input_bytes))
    build(pipeline)
    result: Any = None
    try:
        with without_traces():
            result = pipeline.run()
            no_wait = pipeline.options.view_as(StandardOptions).no_wait_until_finish
            if no_wait and is_remote(pipeline.options):
                submitted.append(result.job_id() if result.has_job else "")
                return submitted[-1]
            wait_for_end(result)
            return None
    except KeyboardInterrupt:
        if result is not None and is_remote(pipeline.options):
            raise KeyboardInterrupt(
                f"the Dataflow job {result.job_id()} goes on without this process, and publishes or"
                " holds the run by itself; its page in the Cloud console can cancel it"
            ) from None
        raise
    except Exception as error:
        ours = unwrap(error) or explained(error)
        if ours is None:
            raise
        raise ours from error


def _say_submitted(summary: dict[str, Any], as_json: bool) -> int:
    if as_json:
        terminal.print_json({name: summary[name] for name in (*RESULT, "job_id")})
    else:
        terminal.print_pairs(
            {
                "run": f"{summary['run_id']} is submitted; it goes on without this process",
                "job": summary["job_id"] or "its description was written",
                "results": summary["run_folder"],
            },
            (),
        )
    return 0


def _reuse(plan: Plan, standing: RunRow, folder: RunFolder, left: str) -> dict[str, Any]:
    """The same run again: nothing is computed; one that was superseded is put back.

    Unless a person left it for another one; then `left` says so, and it stays as it is.
    """
    status = UNCHANGED
    if standing.status is RunStatus.SUPERSEDED and not left:
        publish_again(open_warehouse(plan.warehouse), standing)
        status = RunStatus.PUBLISHED.value
    held = standing.status is RunStatus.HELD
    if storage.exists(folder.summary):
        summary = json.loads(storage.read_bytes(folder.summary))
    else:  # cleared away
        summary = failed(plan, 0.0) | {"rows": standing.rows, "anomalies": [], "reasons": {}}
    summary |= {
        "status": status,
        "hold_reasons": list(standing.hold_reasons) if held else [],
        "notes": [*filter(None, [left]), *plan.notes],
        "seconds": 0.0,
    }
    announce(Outcome.of_summary(summary), plan.notify)
    return summary


@contextlib.contextmanager
def shown_progress() -> Iterator["RowCounter"]:
    """Shows rows as workers report them; gives the counter that they report to."""
    from beam_jobs.pipelines.counter import RowCounter

    with tempfile.TemporaryDirectory(prefix="beam-jobs-") as folder:
        counter = RowCounter(folder)
        with terminal.Progress(counter.rows, stage_now=lambda: counter.stage().value):
            yield counter
