"""Verbs that look at the warehouse, or decide about a run in it. No pipeline, quick to start."""

from beam_jobs import terminal
from beam_jobs.config import LookConfig, RollbackConfig, parse_month
from beam_jobs.publish import publishing
from beam_jobs.publish.runs import RunRow
from beam_jobs.publish.warehouse import open_warehouse

RUN_VIEW = (
    "run_id", "job", "period", "status", "rows_read", "rows_scored", "rows_quarantined",
    "model_version", "finished_at", "hold_reasons",
)  # fmt: skip
ANOMALY_VIEW = (
    "severity", "kind", "feature", "slice", "code", "measure", "value", "threshold",
    "short_description",
)  # fmt: skip


def runs(config: LookConfig) -> int:
    """All runs, the newest first."""
    rows = [run.to_json() for run in open_warehouse(config.warehouse).runs()]
    if config.json:
        terminal.print_table(list(rows[0]) if rows else [], [list(r.values()) for r in rows], True)
    else:
        terminal.print_table(RUN_VIEW, [[row[name] for name in RUN_VIEW] for row in rows], False)
    return 0


def anomalies(config: LookConfig, run_id: str | None) -> int:
    """The anomalies of a run, the most severe first."""
    table = open_warehouse(config.warehouse).anomalies(run_id)
    columns = table.column_names if config.json else ANOMALY_VIEW
    data = table.select(list(columns)).to_pydict()
    rows = [list(row) for row in zip(*data.values(), strict=True)]
    terminal.print_table(columns, rows, config.json)
    return 0


def query(config: LookConfig, sql: str) -> int:
    """The result of a query."""
    columns, rows = open_warehouse(config.warehouse).query(sql)
    terminal.print_table(columns, rows, config.json)
    return 0


def approve(config: LookConfig, run_id: str) -> int:
    """Publishes a held run."""
    return _decided(publishing.approve(open_warehouse(config.warehouse), run_id), config.json)


def rollback(config: RollbackConfig) -> int:
    """Puts an earlier run of a month back."""
    period = parse_month(config.month, "UTC")
    run = publishing.rollback(open_warehouse(config.warehouse), "monthly", period, config.to)
    return _decided(run, config.json)


def _decided(run: RunRow, as_json: bool) -> int:
    if as_json:
        terminal.print_json(run.to_json())
    else:
        print(f"{run.run_id} ({run.job} {run.period:%Y-%m}) is {run.status.value}")
    return 0
