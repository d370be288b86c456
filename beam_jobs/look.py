"""Verbs that look at the warehouse, or decide about a run in it. No pipeline, quick to start."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from beam_jobs import storage, terminal
from beam_jobs.config import LookConfig, QueryConfig, RollbackConfig, parse_month
from beam_jobs.errors import UsageError
from beam_jobs.publish import publishing
from beam_jobs.publish.runs import RUN_COLUMNS, Job, RunRow, period_name
from beam_jobs.publish.warehouse import open_warehouse
from beam_jobs.requests.release import release_left
from beam_jobs.tables import TABLES

RUN_VIEW = (
    "run_id", "job", "period", "status", "rows_read", "rows_scored", "rows_quarantined",
    "model_version", "finished_at", "hold_reasons",
)  # fmt: skip
RUN_OPTIONAL = ("hold_reasons", "finished_at", "model_version", "rows_scored")
ANOMALY_VIEW = (
    "severity", "kind", "feature", "slice", "code", "measure", "value", "threshold",
    "short_description",
)  # fmt: skip
ANOMALY_OPTIONAL = ("slice", "threshold", "value", "measure", "code")


def runs(config: LookConfig) -> int:
    """All runs, the latest period first."""
    rows = [run.to_json() for run in open_warehouse(config.warehouse).runs()]
    _print(rows, RUN_COLUMNS if config.json else RUN_VIEW, config.json, RUN_OPTIONAL)
    return 0


def anomalies(config: LookConfig, run_id: str | None) -> int:
    """The anomalies of a run, the worst first."""
    _, rows = open_warehouse(config.warehouse).anomalies(run_id)
    columns = [column.name for column in TABLES["anomalies"]] if config.json else ANOMALY_VIEW
    _print(rows, columns, config.json, ANOMALY_OPTIONAL)
    return 0


def query(config: QueryConfig, sql: str | None) -> int:
    """The result of a query: given as SQL, as a file, or as `-` on standard input."""
    if config.csv and config.json:
        raise UsageError("query: --csv or --json, not both")
    found = open_warehouse(config.warehouse).query(_text_of(config, sql))
    if config.csv:
        terminal.print_csv(found.columns, found.rows)
    else:
        terminal.print_table(found.columns, found.rows, config.json)
    return 0


def _text_of(config: QueryConfig, sql: str | None) -> str:
    if (sql is None) == (config.file is None):
        raise UsageError("query: give either SQL, or - for standard input, or --file FILE")
    if sql is not None:
        return sys.stdin.read() if sql == "-" else sql
    file = config.file or ""
    try:
        return storage.read_bytes(file).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"--file {file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--file {file}: is not UTF-8 text") from error


def _print(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    as_json: bool,
    optional: Sequence[str],
) -> None:
    values = [[row[name] for name in columns] for row in rows]
    terminal.print_table(columns, values, as_json, optional=optional)


def approve(config: LookConfig, run_id: str) -> int:
    """Publishes a held run; one of the queue is answered, too."""
    run = publishing.approve(open_warehouse(config.warehouse), run_id)
    if run.job == Job.REQUESTS.value:
        release_left([run], terminal.print_note)
    return _decided(run, config.json)


def rollback(config: RollbackConfig) -> int:
    """Puts an earlier run of a month back."""
    period = parse_month(config.month, "UTC")
    run = publishing.rollback(open_warehouse(config.warehouse), "monthly", period, config.to)
    return _decided(run, config.json)


def _decided(run: RunRow, as_json: bool) -> int:
    if as_json:
        terminal.print_json(run.to_json())
    else:
        print(f"{run.run_id} ({run.job} {period_name(run.job, run.period)}) is {run.status.value}")
    return 0
