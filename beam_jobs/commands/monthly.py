"""The verb `monthly`."""

import time
from collections.abc import Sequence

from beam_jobs.commands.execute import execute
from beam_jobs.commands.output import print_plan, print_result
from beam_jobs.config.verbs import MonthlyConfig
from beam_jobs.finish.failure import failure_of
from beam_jobs.plan import plan_monthly
from beam_jobs.plan.prices import load_prices
from beam_jobs.runs.summary import RunSummary


def run_monthly(config: MonthlyConfig, beam_args: Sequence[str]) -> RunSummary | None:
    """Runs the job on a month, and prints what came of it; with --plan prints the plan.

    Returns:
        What came of the run; None where it was only planned.

    Raises:
        BeamJobsError: the set-up is wrong, or the run failed.
    """
    started = time.monotonic()
    plan = plan_monthly(config)
    planned_in = time.monotonic() - started
    if config.plan:
        print_plan(plan, load_prices(config.prices), as_json=config.json)
        return None
    with failure_of(plan, started):
        summary = execute(plan, beam_args, force=config.force, planned_in=planned_in)
    print_result(summary, as_json=config.json)
    return summary
