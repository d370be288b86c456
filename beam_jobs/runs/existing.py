"""What the warehouse has of a run that failed or was interrupted, in words.

What a message says of publication is read, never assumed: much can fail after a run is published,
and an answer of the warehouse can get lost on its way.
"""

import datetime
from dataclasses import dataclass

from beam_jobs.errors import BeamJobsError
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.run_row import RunRow, RunStatus

NOTHING = "nothing was published"
FAILED_LATER = "what failed after it: "
ASK = "`beam-jobs runs` shows it"

_OUTCOMES = (RunStatus.PUBLISHED, RunStatus.HELD)


@dataclass(frozen=True)
class ExistingRun:
    """What the warehouse says of an attempt to run.

    Attributes:
        run_id: of the run.
        run: its line; None where there is none, or the warehouse does not answer.
        is_of_attempt: whether it is this attempt's outcome, not an earlier one's.
        problem: why the warehouse does not answer; empty where it does.
    """

    run_id: str
    run: RunRow | None = None
    is_of_attempt: bool = False
    problem: str = ""

    @property
    def outcome(self) -> RunRow | None:
        """The line of a run that is published or held by this attempt, whatever failed then."""
        is_outcome = self.run is not None and self.run.status in _OUTCOMES and self.is_of_attempt
        return self.run if is_outcome else None

    def after_failure(self, cause: str) -> str:
        """One line: what failed, and what the warehouse has.

        A cause that says so already (a worker recorded the failure before its launcher does) stays
        as it is.
        """
        if FAILED_LATER in cause or cause.endswith((NOTHING, ASK)):
            return cause
        if self.problem:
            return (
                f"{cause}; whether run {self.run_id} was published is not known, the warehouse does"
                f" not answer ({self.problem}): {ASK}"
            )
        if self.outcome is not None:
            return f"run {self.run_id} is {self.outcome.status.value}; {FAILED_LATER}{cause}"
        if self.run is not None and self.run.status is not RunStatus.FAILED:
            before = f"run {self.run_id} is {self.run.status.value}, as before"
            return f"{cause}; {before}: by this attempt {NOTHING}"
        return f"{cause}; {NOTHING}"

    def after_interrupt(self, goes_on: str = "") -> str:
        """One line: what the warehouse has now, and what goes on without this process."""
        if self.problem:
            now = f"whether run {self.run_id} is published is not known ({self.problem})"
        elif self.outcome is not None:
            now = f"run {self.run_id} is {self.outcome.status.value}"
        elif self.run is not None and self.run.status is not RunStatus.FAILED:
            now = f"run {self.run_id} is {self.run.status.value}, as before"
        else:
            now = f"nothing of run {self.run_id} is published so far"
        return "; ".join(filter(None, ("interrupted", now, goes_on, ASK)))


def existing_run(
    catalog: RunCatalog, run_id: str, started_at: datetime.datetime | None = None
) -> ExistingRun:
    """Asks the warehouse what became of a run; never raises an error of ours.

    Args:
        catalog: may not exist.
        run_id: of the run.
        started_at: of the attempt; without it any outcome is this attempt's.
    """
    try:
        run = catalog.run_with_id(run_id)
    except BeamJobsError as error:
        return ExistingRun(run_id, problem=str(error))
    is_of_attempt = run is not None and started_at in (None, run.started_at)
    return ExistingRun(run_id, run, is_of_attempt)
