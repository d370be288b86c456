"""The plan of the monthly job."""

import datetime

from beam_jobs import storage
from beam_jobs.config import MonthlyConfig, expand_month, month_before, parse_month
from beam_jobs.plan.checks import check_columns, match_inputs, reference
from beam_jobs.plan.job import data_of, plan_job
from beam_jobs.plan.plan import Job, Plan, Reference
from beam_jobs.publish.run_folder import RunFolder
from beam_jobs.publish.runs import RunRow
from beam_jobs.publish.warehouse import Warehouse, open_warehouse


def plan_monthly(config: MonthlyConfig, now: datetime.datetime | None = None) -> Plan:
    """Plans the monthly job.

    Raises:
        UsageError: anything in the configuration, schema, model, policy or warehouse is wrong.
    """
    started_at = now or datetime.datetime.now(datetime.UTC)
    period = parse_month(config.month, config.timezone, started_at)
    inputs = match_inputs([expand_month(pattern, period) for pattern in config.ads], "--ads")
    warehouse = open_warehouse(config.warehouse)
    return plan_job(
        config,
        Job.MONTHLY,
        period,
        inputs,
        started_at=started_at,
        check_inputs=lambda schema: check_columns(inputs, schema, data_of(config)),
        warehouse=warehouse,
        find_previous=lambda: _previous(config, warehouse, period),
    )


def _previous(
    config: MonthlyConfig, warehouse: Warehouse, period: datetime.date
) -> tuple[Reference | None, RunRow | None, list[str]]:
    """The statistics to measure drift against: given, or the month before's."""
    before = month_before(period)
    run = warehouse.latest_published(Job.MONTHLY.value, before)
    if config.previous is not None:
        return reference(config.previous, "--previous"), run, []
    if run is None:
        return None, None, [f"no published run of {before:%Y-%m}: drift is not measured"]
    uri = RunFolder(run.run_folder).statistics
    if not storage.exists(uri):
        note = f"{uri} of the published run of {before:%Y-%m} is gone: drift is not measured"
        return None, run, [note]
    return reference(uri, "--previous", run.run_id), run, []
