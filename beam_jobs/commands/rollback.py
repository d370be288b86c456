"""The verb `rollback`."""

from beam_jobs.commands.decision import print_change, print_decided
from beam_jobs.config.months import parse_month
from beam_jobs.config.verbs import RollbackConfig
from beam_jobs.publish import decisions
from beam_jobs.runs.catalog import open_catalog
from beam_jobs.runs.run_row import Job, RunStatus


def roll_back(config: RollbackConfig) -> int:
    """Puts an earlier run of a month back.

    Returns:
        The exit code.

    Raises:
        UsageError: there is none, or a person should confirm it with --yes.
        RunError: it cannot be published.
    """
    period = parse_month(config.month, "UTC")
    catalog, job = open_catalog(config.warehouse), Job.MONTHLY.value
    run = decisions.to_roll_back_to(catalog, job, period, config.to)
    if run.status is not RunStatus.PUBLISHED:
        change = decisions.change_to(catalog, run)
        print_change(change, config.json)
        change.confirm(yes=config.yes, newer_counts=False)
        run = decisions.rollback(catalog, job, period, run.run_id, config.reason)
    print_decided(run, config.json)
    return 0
