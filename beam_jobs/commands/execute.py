"""Runs a plan to its end: published, held, or nothing to do."""

import contextlib
import dataclasses
import importlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from beam_jobs import storage, terminal
from beam_jobs.errors import AuditError
from beam_jobs.finish.failure import failure_recorded, planned
from beam_jobs.notify import announce
from beam_jobs.plan import Plan
from beam_jobs.publish.decisions import left_by_rollback, publish_again
from beam_jobs.runs.catalog import open_catalog
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import RunRow, RunStatus
from beam_jobs.runs.summary import RunOutcome, RunSummary, read_summary, write_summary

if TYPE_CHECKING:
    from beam_jobs.pipelines.counter import RowCounter


def execute(
    plan: Plan, beam_args: Sequence[str], *, force: bool = False, planned_in: float = 0.0
) -> RunSummary:
    """Runs a plan to its end, unless this very run is published or held already.

    Args:
        plan: what to run.
        beam_args: flags of Beam's own.
        force: compute again even where the warehouse has this very run.
        planned_in: seconds that planning took, part of the summary's `seconds`.

    Returns:
        What came of the run.

    Raises:
        RunError: the run failed; the message says what the warehouse has of it.
    """
    folder = RunFolder(plan.run_folder)
    with folder.lock(terminal.print_note):
        # Asked under the lock: another process may just have finished this very run.
        catalog = open_catalog(plan.warehouse)
        existing = catalog.run_of(plan.job, plan.period, plan.run_id)
        if existing is not None and not force:
            left = left_by_rollback(catalog, existing)
            is_over = existing.status in (RunStatus.FAILED, RunStatus.REJECTED)
            # Without a summary it was killed right behind publishing, or its folder was cleared.
            if not is_over and (left or storage.exists(folder.summary)):
                return _reuse(plan, existing, folder, left)
        return compute(plan, folder, beam_args, planned_in)


def compute(
    plan: Plan,
    folder: RunFolder,
    beam_args: Sequence[str],
    planned_in: float,
    mended: tuple[type[Exception], ...] = (),
) -> RunSummary:
    """Runs the plan's pipeline; the caller holds the folder's lock. See `execute`.

    Errors that the caller mends are raised without a trace in `runs`.
    """
    # The imports' seconds are not the run's.
    build = importlib.import_module(f"beam_jobs.pipelines.{plan.job.value}").build
    from beam_jobs.pipelines.options import (
        check_staging,
        is_remote,
        label_flags,
        pipeline_options,
    )
    from beam_jobs.pipelines.run import run_pipeline

    options = pipeline_options(beam_args)
    remote = is_remote(options)
    if remote:
        check_staging(options)
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
            return dataclasses.replace(planned(plan, RunOutcome.SUBMITTED), job_id=job_id)
        seconds = round(planned_in + time.monotonic() - started, 3)
        summary = dataclasses.replace(_summary_of(plan, folder), seconds=seconds)
        write_summary(folder, summary)
    if not remote and summary.outcome is not RunOutcome.TAKEN:  # there the graph itself does
        announce(summary, plan.notify)
    return summary


def _summary_of(plan: Plan, folder: RunFolder) -> RunSummary:
    summary = read_summary(folder)
    if summary is not None and summary.started_at == plan.started_at:
        return summary
    raise AuditError(
        f"run {plan.run_id}: the runner says that it is done, but it never came to its end"
    )


def _reuse(plan: Plan, existing: RunRow, folder: RunFolder, left: str) -> RunSummary:
    """The same run again: nothing is computed; one that was superseded is published again.

    Unless a person left it for another one; then `left` says so, and it stays as it is.
    """
    outcome = RunOutcome.UNCHANGED
    if existing.status is RunStatus.SUPERSEDED and not left:
        publish_again(open_catalog(plan.warehouse), existing)
        outcome = RunOutcome.PUBLISHED
    is_held = existing.status is RunStatus.HELD
    # Its summary may be cleared away.
    known = read_summary(folder) or dataclasses.replace(planned(plan, outcome), rows=existing.rows)
    summary = dataclasses.replace(
        known,
        outcome=outcome,
        hold_reasons=existing.hold_reasons if is_held else (),
        notes=(*filter(None, [left]), *plan.notes),
        seconds=0.0,
    )
    announce(summary, plan.notify)
    return summary


@contextlib.contextmanager
def shown_progress() -> Iterator["RowCounter"]:
    """Shows rows as workers report them; gives the counter that they report to."""
    from beam_jobs.pipelines.counter import RowCounter

    with tempfile.TemporaryDirectory(prefix="beam-jobs-") as folder:
        counter = RowCounter(folder)
        with terminal.Progress(counter.rows, stage_now=lambda: counter.stage().value):
            yield counter
