"""The plan of the monthly job."""

import dataclasses
import datetime

from beam_jobs import storage
from beam_jobs.config.months import expand_month, month_before, parse_month
from beam_jobs.config.verbs import MonthlyConfig
from beam_jobs.errors import UsageError
from beam_jobs.plan.checks import check_columns, reference
from beam_jobs.plan.inputs import match_inputs
from beam_jobs.plan.job import Previous, data_of, plan_job
from beam_jobs.plan.plan import Plan
from beam_jobs.runs.catalog import RunCatalog, open_catalog
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import Job, RunRow, RunStatus

_LOOKED_AT = 100
"""Published runs among which the latest month is looked for."""


def plan_monthly(config: MonthlyConfig, now: datetime.datetime | None = None) -> Plan:
    """Plans the monthly job.

    Raises:
        UsageError: anything in the configuration, schema, model, policy or warehouse is wrong.
    """
    started_at = now or datetime.datetime.now(datetime.UTC)
    period = parse_month(config.month, config.timezone, started_at)
    matched = match_inputs([expand_month(pattern, period) for pattern in config.ads], "--ads")
    catalog = open_catalog(config.warehouse)
    plan = plan_job(
        config,
        Job.MONTHLY,
        period,
        matched.files,
        started_at=started_at,
        check_inputs=lambda schema: check_columns(matched.files, schema, data_of(config)),
        catalog=catalog,
        find_previous=lambda: find_previous(config, catalog, period),
    )
    return dataclasses.replace(plan, notes=(*matched.notes, *plan.notes))


def find_previous(config: MonthlyConfig, catalog: RunCatalog, period: datetime.date) -> Previous:
    """The statistics to measure drift against: given, a given run's, or the month before's."""
    before = month_before(period)
    if config.previous_run is not None:
        if config.previous is not None:
            raise UsageError(
                "--previous-run names a run, --previous a file: give one of them, not both"
            )
        return _of_run(_named(config.previous_run, catalog), f"run {config.previous_run}")
    run = catalog.latest_published(Job.MONTHLY.value, before)
    if config.previous is not None:
        return Previous(*reference(config.previous, "--previous"), run)
    if run is None:
        return Previous(notes=[_why_none(catalog, before)])
    return _of_run(run, f"the published run of {before:%Y-%m}")


def _of_run(run: RunRow, what: str) -> Previous:
    uri = RunFolder(run.run_folder).statistics
    if not storage.exists(uri):
        return Previous(run=run, notes=[f"{uri} of {what} is gone: drift is not measured"])
    return Previous(*reference(uri, "--previous", run.run_id), run)


def _named(run_id: str, catalog: RunCatalog) -> RunRow:
    try:
        run = catalog.find_run(run_id)
    except UsageError as error:
        raise UsageError(f"--previous-run: {error}") from error
    if run.job != Job.MONTHLY.value or run.status is RunStatus.FAILED:
        what = "has failed" if run.job == Job.MONTHLY.value else f"is of the job {run.job}"
        raise UsageError(f"--previous-run {run_id}: {what}; expected a complete run of a month")
    return run


def _why_none(catalog: RunCatalog, before: datetime.date) -> str:
    """Why there is nothing to measure drift against, and which run could be named instead."""
    held = catalog.runs(job=Job.MONTHLY, period=before, status=RunStatus.HELD)
    published = catalog.last_published(Job.MONTHLY, None, _LOOKED_AT)
    earlier = sorted(
        (run for run in published if run.period < before), key=lambda run: run.period, reverse=True
    )
    note = f"no published run of {before:%Y-%m}: drift is not measured"
    if held:
        note += f"; run {held[0].run_id} of it is HELD (--previous-run names a run all the same)"
    if earlier:
        note += (
            f"; the latest published month is {earlier[0].period:%Y-%m}"
            f" (--previous-run {earlier[0].run_id})"
        )
    return note
