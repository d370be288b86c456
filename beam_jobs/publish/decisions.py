"""What people decide about runs: approve, reject, roll back; and what each would change."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from beam_jobs.errors import UsageError
from beam_jobs.publish import statements
from beam_jobs.publish.publishing import decided_now, prepare, restore
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.publications import Action, Decision, previous_run, rolled_back_from
from beam_jobs.runs.run_row import Job, RunRow, RunStatus, period_name
from beam_jobs.runs.summary import read_summary
from beam_jobs.warehouse.tables import arrow_schema

FEWER_ROWS = 0.5
"""At this share of the replaced run's rows, and below, a run is published on --yes only."""


@dataclass(frozen=True)
class Change:
    """What publishing a run would change.

    Attributes:
        run: to be published.
        replaced: the run that is published now; None where none makes room.
        mean_score: of the run; None where it is not known, or nothing was scored.
        replaced_mean_score: the same of the replaced run.
    """

    run: RunRow
    replaced: RunRow | None
    mean_score: float | None
    replaced_mean_score: float | None

    def doubts(self, *, newer_counts: bool) -> list[str]:
        """Why a person should confirm it.

        Args:
            newer_counts: whether it is a reason that the replaced run is newer; who goes back
                knows that.
        """
        run, replaced = self.run, self.replaced
        found = []
        if not run.rows_scored:
            found.append(f"nothing is scored (0 of {run.rows_read:,} rows)")
        if replaced is None:
            return found
        for what, now, before in (
            ("rows read", run.rows_read, replaced.rows_read),
            ("rows scored", run.rows_scored, replaced.rows_scored),
        ):
            if before and now <= before * FEWER_ROWS:
                found.append(f"{what} fall from {before:,} to {now:,}")
        if newer_counts and replaced.started_at > run.started_at:
            found.append(
                f"the newer run {replaced.run_id}, started {replaced.started_at:%Y-%m-%d %H:%M}"
                " UTC, is published"
            )
        return found

    def confirm(self, *, yes: bool, newer_counts: bool) -> None:
        """Raises UsageError where a person should confirm it and has not."""
        doubts = self.doubts(newer_counts=newer_counts)
        if doubts and not yes:
            raise UsageError(
                f"run {self.run.run_id}: {'; '.join(doubts)}; --yes publishes it all the same"
            )


def change_to(catalog: RunCatalog, run: RunRow) -> Change:
    """What publishing a run would change now."""
    replaced = None
    if Job(run.job).replaces_period:
        replaced = catalog.latest_published(run.job, run.period)
    if replaced is not None and replaced.run_id == run.run_id:
        replaced = None
    before = None if replaced is None else _mean_score(replaced)
    return Change(run, replaced, _mean_score(run), before)


def _mean_score(run: RunRow) -> float | None:
    summary = read_summary(RunFolder(run.run_folder))
    return None if summary is None or summary.score is None else summary.score.mean


def to_approve(catalog: RunCatalog, run_id: str) -> RunRow:
    """The run that `approve` would publish; one that is published already stays as it is.

    Raises:
        UsageError: it is not held.
    """
    run = catalog.find_run(run_id)
    match run.status:
        case RunStatus.SUPERSEDED if not Job(run.job).replaces_period:
            raise UsageError(
                f"run {run.run_id}: is superseded; a later run with --force has its request files"
            )
        case RunStatus.SUPERSEDED:
            when = period_name(run.job, run.period)
            raise UsageError(
                f"run {run.run_id}: is superseded, not held; `beam-jobs rollback --month {when}"
                f" --to {run.run_id}` puts it back"
            )
        case RunStatus.FAILED:
            raise UsageError(
                f"run {run.run_id}: failed, so there is nothing to approve; run it again"
            )
        case RunStatus.REJECTED:
            raise UsageError(
                f"run {run.run_id}: was rejected; the same command computes it again, and the gate"
                " decides anew"
            )
    return run


def approve(catalog: RunCatalog, run_id: str, reason: str | None = None) -> RunRow:
    """Publishes a held run from its folder, whatever is published now; see `Change`.

    Raises:
        UsageError: the run is not held, or its folder is gone.
        TakenError: another run took its request files in the meantime.
        AuditError: the folder's files are not those that the run wrote.
        BusyError: another process works on the run.
    """
    run = to_approve(catalog, run_id)
    if run.status is RunStatus.PUBLISHED:
        return run
    return restore(catalog, run, Decision(Action.APPROVED, reason))


def reject(catalog: RunCatalog, run_id: str, reason: str | None = None) -> RunRow:
    """Ends a held run: it is not published, and its request files are free for another one.

    Raises:
        UsageError: the run is not held.
        RunError: the warehouse cannot be written; nothing was changed.
    """
    run = catalog.find_run(run_id)
    if run.status is RunStatus.HELD:
        with catalog.engine.writing() as session:
            prepare(session, catalog.url)
            scores, job = arrow_schema("scores"), Job(run.job)
            parameters = decided_now(session, run, Decision(Action.REJECTED, reason))
            for name in ("publish_lock", "reject"):
                session.run(statements.statement(name, {}, scores, job), parameters)
        run = catalog.find_run(run.run_id)
    if run.status is not RunStatus.REJECTED:
        raise UsageError(f"run {run.run_id}: is {run.status.value}; only a held run is rejected")
    return run


def to_roll_back_to(
    catalog: RunCatalog, job: str, period: datetime.date, to: str | None = None
) -> RunRow:
    """The run that `rollback` would put back.

    Without `to`: the run that was published before the one that is published now, see
    `publications.previous_run`. `to` may also name a later one, to go forward.

    Raises:
        UsageError: there is no such run of the period, or it was never published.
    """
    what = f"{job} {period_name(job, period)}"
    runs = catalog.runs(job=Job(job), period=period)
    current = next((run for run in runs if run.status is RunStatus.PUBLISHED), None)
    others = [run for run in runs if run.status is RunStatus.SUPERSEDED]
    if to is not None:
        target = catalog.find_run(to)
        if (target.job, target.period) != (job, period):
            its = f"{target.job} {period_name(target.job, target.period)}"
            raise UsageError(f"--to {to}: is a run of {its}, not of {what}")
        if target.status not in (RunStatus.PUBLISHED, RunStatus.SUPERSEDED):
            raise UsageError(
                f"--to {to}: is {target.status.value} and was never published;"
                f" {_known(others)}; `beam-jobs approve` publishes a held run"
            )
        return target
    if current is None:
        raise UsageError(f"{what}: nothing is published, so there is nothing to roll back")
    earlier = {run.run_id: run for run in others}
    history = catalog.publications(job, period)
    if not history:
        _derive(catalog, current)
        history = catalog.publications(job, period)
    found = previous_run(history, earlier.keys())
    if found is None:
        raise UsageError(f"{what}: no run was published before {current.run_id}; {_known(others)}")
    return earlier[found]


def rollback(
    catalog: RunCatalog,
    job: str,
    period: datetime.date,
    to: str | None = None,
    reason: str | None = None,
) -> RunRow:
    """Puts an earlier run of a period back; see `to_roll_back_to`.

    Raises:
        UsageError: there is no such run of the period, it was never published, or its folder is
            gone.
        AuditError: the folder's files are not those that the run wrote.
        BusyError: another process works on the run.
    """
    target = to_roll_back_to(catalog, job, period, to)
    if target.status is RunStatus.PUBLISHED:
        return target
    return restore(catalog, target, Decision(Action.ROLLED_BACK, reason))


def publish_again(catalog: RunCatalog, run: RunRow) -> RunRow:
    """Publishes a superseded run that its job was asked for again; see `left_by_rollback`."""
    return restore(catalog, run, Decision(Action.PUBLISHED, "the same run was asked for again"))


def left_by_rollback(catalog: RunCatalog, run: RunRow | None) -> str:
    """Why a run that is asked for again stays superseded: a person left it for another one.

    Publishing it again would undo that decision, and a schedule asks every day.

    Returns:
        A sentence; empty where nobody rolled back from the run.
    """
    if run is None or run.status is not RunStatus.SUPERSEDED:
        return ""
    found = rolled_back_from(catalog.publications(run.job, run.period), run.run_id)
    if found is None:
        return ""
    who = found.by or "somebody"
    why = f" ({found.reason})" if found.reason else ""
    return (
        f"run {run.run_id} is not published again: {who} rolled back from it to {found.run_id}"
        f" at {found.at:%Y-%m-%d %H:%M} UTC{why}; `beam-jobs rollback --month"
        f" {period_name(run.job, run.period)} --to {run.run_id}` publishes it again, --force"
        " computes it anew and publishes that"
    )


def _derive(catalog: RunCatalog, current: RunRow) -> None:
    """Writes the history of a month that was published before there was a table of it."""
    with catalog.engine.writing() as session:
        prepare(session, catalog.url)
        scores, job = arrow_schema("scores"), Job(current.job)
        for name in ("publish_lock", "derive"):
            session.run(statements.statement(name, {}, scores, job), current.parameters())


def _known(runs: Sequence[RunRow]) -> str:
    names = ", ".join(run.run_id for run in runs)
    return f"runs that --to can name: {names}" if names else "there is no other run to go to"
