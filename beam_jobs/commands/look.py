"""Verbs that look at the warehouse, or decide about a run in it. No pipeline, quick to start."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from beam_jobs import storage, terminal
from beam_jobs.config.months import parse_month
from beam_jobs.config.verbs import (
    ApproveConfig,
    LookConfig,
    QueryConfig,
    RejectConfig,
    RollbackConfig,
)
from beam_jobs.errors import RunError, UsageError
from beam_jobs.publish import decisions
from beam_jobs.request_files.deliver import release_left
from beam_jobs.runs.catalog import Warehouse, open_warehouse
from beam_jobs.runs.existing import standing_after
from beam_jobs.runs.run_row import RUN_COLUMNS, Job, RunRow, RunStatus, period_name
from beam_jobs.warehouse.tables import TABLES

RUN_VIEW = (
    "run_id", "job", "period", "status", "rows_read", "rows_scored", "rows_quarantined",
    "model_version", "finished_at", "hold_reasons", "error",
)  # fmt: skip
RUN_OPTIONAL = ("error", "hold_reasons", "finished_at", "model_version", "rows_scored")
ANOMALY_VIEW = (
    "severity", "kind", "feature", "slice", "code", "measure", "value", "threshold",
    "short_description",
)  # fmt: skip
_SHORT = 60
"""Characters of an error in the list of runs."""

ANOMALY_OPTIONAL = ("slice", "threshold", "value", "measure", "code")


def runs(config: LookConfig) -> int:
    """All runs, the latest period first."""
    rows = [run.to_json() for run in open_warehouse(config.warehouse).runs()]
    if not config.json:
        rows = [row | {"error": _shortly(row["error"])} for row in rows]
    _print(rows, RUN_COLUMNS if config.json else RUN_VIEW, config.json, RUN_OPTIONAL)
    return 0


def _shortly(text: str | None) -> str | None:
    """The beginning: `beam-jobs show RUN` has all of it."""
    return text if text is None or len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."


def anomalies(config: LookConfig, run_id: str | None) -> int:
    """The anomalies of a run, the worst first; for a person also of which, where none is named."""
    run, rows = open_warehouse(config.warehouse).anomalies(run_id)
    if run is not None and run.status not in (RunStatus.PUBLISHED, RunStatus.HELD):
        # The warehouse has those of runs that are published or held; the folder keeps all.
        from beam_jobs.runs.details import anomalies_of

        rows = anomalies_of(run)
    if run_id is None and not config.json:
        print("there is no run yet that did not fail" if run is None else _standing(run))
    columns = [column.name for column in TABLES["anomalies"]] if config.json else ANOMALY_VIEW
    _print(rows, columns, config.json, ANOMALY_OPTIONAL)
    return 0


def query(config: QueryConfig, sql: str | None) -> int:
    """The result of a query: given as SQL, as a file, or as `-` on standard input."""
    if config.csv and config.json:
        raise UsageError("query: --csv or --json, not both")
    text = _text_of(config, sql)
    warehouse = open_warehouse(config.warehouse)
    if config.run is None:
        found = warehouse.query(text)
    else:
        from beam_jobs.runs.folder_query import query_run

        found = query_run(warehouse.find_run(config.run), text)
    if config.csv:
        terminal.print_csv(found.columns, found.rows)
    else:
        terminal.print_table(found.columns, found.rows, config.json)
    return 0


def _text_of(config: QueryConfig, sql: str | None) -> str:
    if (sql is None) == (config.file is None):
        raise UsageError("query: give either SQL, or - for standard input, or --file FILE")
    if sql is not None and sql != "-":
        return sql
    source = "standard input" if config.file is None else f"--file {config.file}"
    try:
        if config.file is None:
            return sys.stdin.buffer.read().decode("utf-8-sig")
        return storage.read_bytes(config.file).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{source}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{source}: is not UTF-8 text") from error


def _print(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    as_json: bool,
    optional: Sequence[str],
) -> None:
    values = [[row[name] for name in columns] for row in rows]
    terminal.print_table(columns, values, as_json, optional=optional)


def show(config: LookConfig, run_id: str) -> int:
    """All of one run, also of one that is held, superseded, rejected or failed."""
    from beam_jobs.runs.details import details

    found = details(open_warehouse(config.warehouse), run_id)
    if config.json:
        terminal.print_json(found)
    else:
        terminal.print_details(found)
    return 0


def approve(config: ApproveConfig, run_id: str) -> int:
    """Publishes a held run; one of the queue is answered, too."""
    warehouse = open_warehouse(config.warehouse)
    run = decisions.to_approve(warehouse, run_id)
    if run.status is not RunStatus.PUBLISHED:
        change = decisions.change_to(warehouse, run)
        _show_change(change, config.json)
        change.confirm(yes=config.yes, newer_counts=True)
    run = decisions.approve(warehouse, run.run_id, config.reason)
    if run.job == Job.REQUESTS.value:
        _deliver(warehouse, run)
    return _decided(run, config.json)


def _deliver(warehouse: Warehouse, run: RunRow) -> None:
    try:
        release_left([run], terminal.print_note)
    except RunError as error:
        cause = f"{error}; the next `beam-jobs requests` delivers the answers"
        raise RunError(standing_after(warehouse, run.run_id).after_failure(cause)) from error


def reject(config: RejectConfig, run_id: str) -> int:
    """Ends a held run."""
    run = decisions.reject(open_warehouse(config.warehouse), run_id, config.reason)
    return _decided(run, config.json)


def rollback(config: RollbackConfig) -> int:
    """Puts an earlier run of a month back."""
    period = parse_month(config.month, "UTC")
    warehouse, job = open_warehouse(config.warehouse), Job.MONTHLY.value
    run = decisions.to_roll_back_to(warehouse, job, period, config.to)
    if run.status is not RunStatus.PUBLISHED:
        change = decisions.change_to(warehouse, run)
        _show_change(change, config.json)
        change.confirm(yes=config.yes, newer_counts=False)
        run = decisions.rollback(warehouse, job, period, run.run_id, config.reason)
    return _decided(run, config.json)


def _show_change(change: decisions.Change, as_json: bool) -> None:
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


def _decided(run: RunRow, as_json: bool) -> int:
    if as_json:
        terminal.print_json(run.to_json())
    else:
        print(_standing(run))
    return 0


def _standing(run: RunRow) -> str:
    """Which run it is, and how it stands."""
    return f"{run.run_id} ({run.job} {period_name(run.job, run.period)}) is {run.status.value}"
