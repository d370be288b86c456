"""What the verbs that decide about a run print: what would change, and how the run is then."""

from beam_jobs import terminal
from beam_jobs.publish.decisions import Change
from beam_jobs.runs.run_row import Job, RunRow, period_name


def print_change(change: Change, as_json: bool) -> None:
    """Before and after, for a person."""
    if as_json:
        return
    run, replaced = change.run, change.replaced
    if replaced is None:
        before = "nothing: no run of the period is published"
        if not Job(run.job).replaces_period:
            before = "nothing: each run of the queue stands beside the others"
    else:
        before = f"{replaced.run_id}, published since {replaced.finished_at:%Y-%m-%d %H:%M} UTC"
    rows = {
        "rows read": ("rows_read", "{:,}"),
        "rows scored": ("rows_scored", "{:,}"),
        "quarantined": ("quarantined_share", "{:.2%}"),
    }
    pairs = {"publishes": run.run_id, "replaces": before}
    for what, (name, form) in rows.items():
        old = None if replaced is None else getattr(replaced, name)
        pairs[what] = _from_to(old, getattr(run, name), form)
    pairs["mean score"] = _from_to(change.replaced_mean_score, change.mean_score, "{:.6g}")
    terminal.print_pairs(pairs)


def _from_to(before: float | None, after: float | None, form: str) -> str:
    shown = "not known" if after is None else form.format(after)
    return shown if before is None else f"{form.format(before)} -> {shown}"


def print_decided(run: RunRow, as_json: bool) -> None:
    """The run after a decision about it."""
    if as_json:
        terminal.print_json(run.to_json())
    else:
        print(describe_run(run))


def describe_run(run: RunRow) -> str:
    """Which run it is, and its status."""
    return f"{run.run_id} ({run.job} {period_name(run.job, run.period)}) is {run.status.value}"
