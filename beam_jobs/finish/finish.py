"""The end of a run in four steps: judge, publish, summarise, deliver.

All of it is safe to repeat, because Beam retries.
"""

import dataclasses
import time

from beam_jobs import storage
from beam_jobs.finish.failure import planned
from beam_jobs.finish.job_end import JobEnd, job_end
from beam_jobs.finish.judge import Judgement, judge
from beam_jobs.finish.results import InputsRead, JobResults
from beam_jobs.plan import Plan
from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import open_catalog
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.ledger import TakenError
from beam_jobs.runs.run_row import RunRow, RunStatus
from beam_jobs.runs.summary import LeftOut, RunOutcome, RunSummary, ScoreFigures, write_summary


def finish(plan: Plan, results: JobResults) -> RunSummary:
    """Judges, publishes or holds, and sums up a run whose rows are done.

    A queue run whose request files another run has answered in the meantime, or which have all
    changed, ends as TAKEN. Files that are left out are in nothing that the run publishes, but for
    those that are set aside: the ledger has them.

    Returns:
        The summary, also in summary.json.

    Raises:
        AuditError: the figures do not add up; nothing was published.
        RunError, UsageError: the folder or the warehouse cannot be written.
    """
    folder, end, stages = RunFolder(plan.run_folder), job_end(plan.job), _Stages()
    storage.remove(folder.keys)
    try:
        inputs = _inputs(plan, results)
        judgement = judge(plan, results, inputs, end)
        stages.ended("anomalies")
        run = _publish(plan, results, inputs, judgement, end)
        stages.ended("publish")
    except TakenError as error:
        return _taken(plan, folder, str(error))
    summary = _summarise(plan, run, results, inputs, judgement, end)
    summary = dataclasses.replace(summary, stages=stages.seconds)
    write_summary(folder, summary)
    end.deliver(folder, run)
    return summary


class _Stages:
    """How long each stage took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def ended(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name], self._since = round(now - self._since, 3), now


def _inputs(plan: Plan, results: JobResults) -> InputsRead:
    """Raises TakenError where nothing is left of what was planned."""
    inputs = InputsRead.of(plan.inputs, results)
    if inputs.have_all_changed:
        raise TakenError("all request files have changed since they were found")
    return inputs


def _publish(
    plan: Plan, results: JobResults, inputs: InputsRead, judgement: Judgement, end: JobEnd
) -> RunRow:
    """The run's line, published or held."""
    end.stage_answers(plan, inputs, results.answers)
    total, decision = results.total, judgement.decision
    run = plan.run_row(
        RunStatus.HELD if decision.held else RunStatus.PUBLISHED,
        read=sum(inputs.rows),
        scored=total.scored,
        quarantined=total.quarantined,
        hold_reasons=decision.hold_reasons,
    )
    tables = {
        "anomalies": judgement.anomalies_table(),
        "feature_statistics": judgement.report.feature_statistics,
        "inputs": inputs.table(),
    }
    catalog = open_catalog(plan.warehouse)
    return publish_run(catalog, run, results.parts, tables, takes_held=plan.takes_held)


def _summarise(
    plan: Plan,
    run: RunRow,
    results: JobResults,
    inputs: InputsRead,
    judgement: Judgement,
    end: JobEnd,
) -> RunSummary:
    report, score = judgement.report, judgement.report.score
    is_held = run.status is RunStatus.HELD
    return RunSummary(
        job=plan.job,
        outcome=RunOutcome(run.status.value),
        run_id=run.run_id,
        period=run.period,
        run_folder=run.run_folder,
        rows=run.rows,
        reasons=dict(results.total.reasons),
        flags=dict(results.total.flags),
        examples=judgement.examples,
        anomalies=report.anomalies,
        score=ScoreFigures(**score) if score else None,
        hold_reasons=run.hold_reasons if is_held else (),
        overruled=() if is_held else run.hold_reasons,
        left_out=LeftOut(tuple(inputs.set_aside), tuple(inputs.changed))
        if end.leaves_out_files
        else None,
        notes=tuple(plan.notes),
        started_at=plan.started_at,
        # Until a launcher that waited knows better.
        seconds=round((run.finished_at - run.started_at).total_seconds(), 3),
    )


def _taken(plan: Plan, folder: RunFolder, why: str) -> RunSummary:
    """The summary of a run that leaves no trace but itself."""
    summary = dataclasses.replace(planned(plan, RunOutcome.TAKEN), taken=why)
    write_summary(folder, summary)
    return summary
