"""What differs between the jobs when a run ends."""

import abc
from collections.abc import Sequence
from typing import ClassVar

from beam_jobs.errors import RunError
from beam_jobs.finish.results import InputsRead
from beam_jobs.monitoring.volume import RunCounts
from beam_jobs.plan import Job, Plan
from beam_jobs.publish.part_writer import SourceCounts
from beam_jobs.request_files.deliver import deliver_answers
from beam_jobs.request_files.shapes import ID
from beam_jobs.request_files.staged import AnswerPart, check_answered, stage
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import RunRow, RunStatus


class JobEnd(abc.ABC):
    """The end of a run of one job; `job_end` gives the job's.

    Attributes:
        leaves_out_files: whether a file that cannot be read costs itself only, not the run.
    """

    leaves_out_files: ClassVar[bool]

    @abc.abstractmethod
    def row_counts(self, plan: Plan, inputs: InputsRead, total: SourceCounts) -> RunCounts:
        """What the anomalies of the run as a whole are found in."""

    @abc.abstractmethod
    def stage_answers(self, plan: Plan, inputs: InputsRead, answers: Sequence[AnswerPart]) -> None:
        """Keeps the answers in the run's folder, until the run is published.

        Raises:
            AuditError: a request has no answer, or several.
            RunError: they cannot be written.
        """

    @abc.abstractmethod
    def deliver(self, folder: RunFolder, run: RunRow) -> None:
        """Puts the answers of a run that is published where their readers wait for them.

        Raises:
            RunError: they cannot be written.
        """


class MonthEnd(JobEnd):
    """Nobody waits for answers; each file of the month is looked at by itself."""

    leaves_out_files = False

    def row_counts(self, plan: Plan, inputs: InputsRead, total: SourceCounts) -> RunCounts:
        """Files included: one that is empty or cut is an anomaly."""
        return _row_counts(plan, inputs, total, key=plan.data.key, files=True)

    def stage_answers(self, plan: Plan, inputs: InputsRead, answers: Sequence[AnswerPart]) -> None:
        """Does nothing."""

    def deliver(self, folder: RunFolder, run: RunRow) -> None:
        """Does nothing."""


class QueueEnd(JobEnd):
    """Each request file is answered, whatever it holds, unless it cannot be read."""

    leaves_out_files = True

    def row_counts(self, plan: Plan, inputs: InputsRead, total: SourceCounts) -> RunCounts:
        """Without files: a request file may be as small as it likes."""
        return _row_counts(plan, inputs, total, key=ID, files=False)

    def stage_answers(self, plan: Plan, inputs: InputsRead, answers: Sequence[AnswerPart]) -> None:
        """See `JobEnd`; without --responses nobody wants them."""
        if plan.responses is None:
            return
        files = [file for file, _ in inputs.answered]
        check_answered(answers, files, [rows for _, rows in inputs.answered])
        stage(RunFolder(plan.run_folder), plan.responses, files, answers)

    def deliver(self, folder: RunFolder, run: RunRow) -> None:
        """See `JobEnd`; what cannot be delivered now, the next run of the queue delivers."""
        if run.status is not RunStatus.PUBLISHED:
            return
        try:
            deliver_answers(folder)
        except RunError as error:
            raise RunError(
                f"{error}; the next `beam-jobs requests` delivers the answers"
            ) from error


def job_end(job: Job) -> JobEnd:
    """What ends the runs of a job."""
    ends: dict[Job, JobEnd] = {Job.MONTHLY: MonthEnd(), Job.REQUESTS: QueueEnd()}
    return ends[job]


def _row_counts(
    plan: Plan, inputs: InputsRead, total: SourceCounts, *, key: str | None, files: bool
) -> RunCounts:
    return RunCounts(
        read=sum(inputs.rows),
        scored=total.scored,
        quarantined=total.quarantined,
        reasons=dict(total.reasons),
        previous_read=plan.previous_run.rows_read if plan.previous_run else None,
        replaced_read=plan.replaces.rows_read if plan.replaces else None,
        replaced_run=plan.replaces.run_id if plan.replaces else "",
        is_queue=plan.job is Job.REQUESTS,
        key=key,
        flagged=dict(total.flags),
        unreadable=tuple(inputs.set_aside),
        files=inputs.files_read if files else (),
    )
