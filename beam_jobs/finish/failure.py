"""What a run that failed leaves behind: a line in `runs`, failure.json, a traceback, one alert.

The launcher records the failures of the runs that it waits for; on Dataflow the graph's last
element records its own, because there the launcher may be gone. Beam repeats what failed: the
alert is not repeated.
"""

import contextlib
import dataclasses
import json
import logging
import time
import traceback
from collections.abc import Iterator

from beam_jobs import storage
from beam_jobs.errors import BeamJobsError, BusyError, RunError, RunInterruptedError
from beam_jobs.notify import announce
from beam_jobs.plan import Plan
from beam_jobs.publish import publishing
from beam_jobs.runs.catalog import open_catalog
from beam_jobs.runs.existing import ExistingRun, existing_run
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import Job, RunStatus
from beam_jobs.runs.summary import RunOutcome, RunSummary

_log = logging.getLogger(__name__)

_ERROR_CHARACTERS = 4_000
"""Of a failure in `runs`."""


@contextlib.contextmanager
def failure_recorded(plan: Plan, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Records what is raised within: in `runs`, in the run folder, in an alert.

    Args:
        plan: of the run.
        but: what the caller mends: it is no failure yet.

    Raises:
        BeamJobsError: as it was raised, its message completed by what the warehouse has of the run;
            a defect becomes a RunError that names its traceback.
        RunInterruptedError: where somebody interrupted, the same.
    """
    started = time.monotonic()
    try:
        yield
    except KeyboardInterrupt as error:
        raise RunInterruptedError(_existing(plan).after_interrupt(str(error))) from error
    except but:
        raise
    except Exception as error:
        folder = RunFolder(plan.run_folder)
        cause = _cause(error, folder)
        if not isinstance(error, BusyError):  # nobody waits for the same warehouse twice
            _fail(plan, cause)
        text = _existing(plan).after_failure(cause)
        # What is caught by its kind further up stays of that kind.
        problem = type(error)(text) if isinstance(error, BeamJobsError) else RunError(text)
        if _is_first(plan, folder, cause):
            # A failure is announced as one, whatever was published: alerts look for the word.
            summary = failed(plan, time.monotonic() - started)
            announce(dataclasses.replace(summary, error=str(problem)), plan.notify)
        problem.announced = True
        raise problem from error


def _cause(error: Exception, folder: RunFolder) -> str:
    """Why, in one line; a traceback for engineers is left in the folder, if it can be."""
    try:
        folder.write(folder.traceback, traceback.format_exc().encode())
    except RunError as second:
        _log.error("%s", second)
    if isinstance(error, BeamJobsError):
        return str(error)
    last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return f"the run failed: {last} (see {folder.traceback})"


def _fail(plan: Plan, cause: str) -> None:
    """Leaves a line in `runs`, if the warehouse takes it."""
    try:
        run = plan.run_row(RunStatus.FAILED, error=cause[:_ERROR_CHARACTERS])
        publishing.fail_run(open_catalog(plan.warehouse), run)
    except BeamJobsError as second:
        _log.error("the failure could not be written to `runs`: %s", second)


def _existing(plan: Plan) -> ExistingRun:
    return existing_run(open_catalog(plan.warehouse), plan.run_id, plan.started_at)


def _is_first(plan: Plan, folder: RunFolder, cause: str) -> bool:
    """Whether nobody has announced this attempt's failure; on a full disk nobody can know."""
    attempt = plan.started_at.isoformat()
    with contextlib.suppress(OSError, ValueError):
        if json.loads(storage.read_bytes(folder.failure))["started_at"] == attempt:
            return False
    try:
        document = {"started_at": attempt, "error": cause}
        folder.write(folder.failure, json.dumps(document, indent=2).encode())
    except RunError as error:
        _log.error("%s", error)
    return True


@contextlib.contextmanager
def failure_of(plan: Plan, started: float) -> Iterator[None]:
    """Errors raised within know the run that failed: what `--json` prints of them.

    Args:
        plan: of the run.
        started: the moment of `time.monotonic` at which planning began.
    """
    try:
        yield
    except BeamJobsError as error:
        error.result = failed(plan, time.monotonic() - started, _existing(plan))
        raise


def failure_summary(error: Exception, job: Job | None, seconds: float = 0.0) -> RunSummary:
    """What came of a command that failed; it may have failed before it had a run."""
    known = error.result if isinstance(error, BeamJobsError) else None
    words = str(error) if isinstance(error, BeamJobsError) else f"{type(error).__name__}: {error}"
    nothing = RunSummary(job=job, outcome=RunOutcome.FAILED, seconds=round(seconds, 3))
    return dataclasses.replace(known if isinstance(known, RunSummary) else nothing, error=words)


def failed(plan: Plan, seconds: float, existing: ExistingRun | None = None) -> RunSummary:
    """What came of a run that failed; like its line in `runs`, it counts no rows.

    Args:
        plan: of the run.
        seconds: it took.
        existing: what the warehouse says: of a run that failed when it was published or held
            already, this is said, and its rows.
    """
    summary = planned(plan, RunOutcome.FAILED, seconds)
    run = existing.outcome if existing is not None else None
    if run is None:
        return summary
    return dataclasses.replace(
        summary,
        outcome=RunOutcome(run.status.value),
        rows=run.rows,
        hold_reasons=run.hold_reasons if run.status is RunStatus.HELD else (),
    )


def planned(plan: Plan, outcome: RunOutcome, seconds: float = 0.0) -> RunSummary:
    """The summary of a run of which only the plan is known."""
    return RunSummary(
        job=plan.job,
        outcome=outcome,
        run_id=plan.run_id,
        period=plan.period,
        run_folder=plan.run_folder,
        notes=tuple(plan.notes),
        started_at=plan.started_at,
        seconds=round(seconds, 3),
    )
