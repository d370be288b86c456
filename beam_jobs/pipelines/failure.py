"""What a run that failed leaves behind: a line in `runs`, its traceback, and one alert.

The launcher records the failures of the runs that it waits for; on Dataflow the graph's last
element records its own, because there the launcher may be gone. Beam repeats what failed: the
alert is not repeated.
"""

import contextlib
import json
import logging
import time
import traceback
from collections.abc import Iterator
from typing import Any

from beam_jobs import storage
from beam_jobs.errors import BeamJobsError, RunError
from beam_jobs.notify import Outcome, announce
from beam_jobs.plan import Plan
from beam_jobs.publish import publishing
from beam_jobs.publish.run_folder import RunFolder
from beam_jobs.publish.runs import Job, RunStatus
from beam_jobs.publish.warehouse import open_warehouse

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def failure_recorded(plan: Plan, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Records what is raised within.

    Args:
        plan: of the run.
        but: what the caller mends: it is no failure yet.

    Raises:
        BeamJobsError: as it was raised; a defect becomes a RunError that names its traceback.
    """
    started = time.monotonic()
    try:
        yield
    except but:
        raise
    except Exception as error:
        folder = RunFolder(plan.run_folder)
        try:
            publishing.fail_run(open_warehouse(plan.warehouse), plan.run_row(RunStatus.FAILED))
        except BeamJobsError as second:
            _log.error("the failure could not be written to `runs`: %s", second)
        problem: BeamJobsError
        if isinstance(error, BeamJobsError):
            problem = error
        else:
            trace = storage.join(folder.path, "failure.txt")
            folder.write(trace, traceback.format_exc().encode())
            last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            problem = RunError(f"the run failed, nothing was published: {last} (see {trace})")
        if _is_first(plan, folder):
            summary = failed(plan, time.monotonic() - started)
            announce(Outcome.of_summary(summary, str(problem)), plan.notify)
        problem.announced = True
        if problem is error:
            raise
        raise problem from error


def _is_first(plan: Plan, folder: RunFolder) -> bool:
    """Whether nobody has told of this attempt's failure; a disk that takes nothing does not ask."""
    uri = storage.join(folder.path, "failure.json")
    attempt = plan.started_at.isoformat()
    with contextlib.suppress(OSError, ValueError):
        if json.loads(storage.read_bytes(uri))["started_at"] == attempt:
            return False
    try:
        folder.write(uri, json.dumps({"started_at": attempt}).encode())
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
        error.result = failed(plan, time.monotonic() - started)
        raise


def result_of(error: Exception, job: Job, seconds: float = 0.0) -> dict[str, Any]:
    """What `--json` prints of a command that failed; it may have failed before it had a run."""
    known = error.result if isinstance(error, BeamJobsError) else None
    words = str(error) if isinstance(error, BeamJobsError) else f"{type(error).__name__}: {error}"
    return (known or _nothing(job, seconds)) | {"error": words}


def failed(plan: Plan, seconds: float) -> dict[str, Any]:
    """What `--json` prints of a run that failed; like its line in `runs`, it counts no rows."""
    return _nothing(plan.job, seconds) | {
        "run_id": plan.run_id,
        "period": plan.period.isoformat(),
        "run_folder": plan.run_folder,
    }


def _nothing(job: Job, seconds: float) -> dict[str, Any]:
    return {
        "run_id": None,
        "job": job.value,
        "period": None,
        "status": RunStatus.FAILED.value,
        "rows": {"read": 0, "scored": 0, "quarantined": 0},
        "anomalies": 0,
        "hold_reasons": [],
        "report": None,
        "run_folder": None,
        "seconds": round(seconds, 3),
    }
