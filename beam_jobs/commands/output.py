"""What the verbs that run a job print: a plan, or what came of a run."""

from beam_jobs import terminal
from beam_jobs.plan import Plan, describe
from beam_jobs.plan.costs import describe_estimate, estimate, estimate_json
from beam_jobs.plan.prices import Prices
from beam_jobs.runs.summary import RunOutcome, RunSummary
from beam_jobs.terminal.summary import print_summary

HELD = 3
"""Exit code of a run that waits for approval."""


def print_plan(plan: Plan, prices: Prices | None, *, as_json: bool) -> None:
    """What `--plan` shows, an estimate included."""
    found = estimate(plan)
    if as_json:
        terminal.print_json(plan.to_json() | {"estimate": estimate_json(found, prices)})
    else:
        shown = {**describe(plan), **describe_estimate(found, prices)}
        terminal.print_pairs(shown, plan.all_notes)


def print_result(summary: RunSummary, *, as_json: bool) -> None:
    """What came of a run that ended, or was submitted."""
    if as_json:
        terminal.print_json(summary.to_json())
    elif summary.outcome is RunOutcome.SUBMITTED:
        terminal.print_pairs(
            {
                "run": f"{summary.run_id} is submitted; it goes on without this process",
                "job": summary.job_id or "its description was written",
                "results": summary.run_folder or "",
            },
            (),
        )
    else:
        print_summary(summary)


def exit_code(summary: RunSummary | None) -> int:
    """3 for a run that waits for approval, also where it was held earlier already; else 0."""
    return HELD if summary is not None and summary.hold_reasons else 0
