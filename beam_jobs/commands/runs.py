"""The verb `runs`."""

from beam_jobs import terminal
from beam_jobs.config.verbs import WarehouseConfig
from beam_jobs.runs.catalog import open_catalog
from beam_jobs.runs.run_row import RUN_COLUMNS

COLUMNS = (
    "run_id", "job", "period", "status", "rows_read", "rows_scored", "rows_quarantined",
    "model_version", "finished_at", "hold_reasons", "error",
)  # fmt: skip
OPTIONAL = ("error", "hold_reasons", "finished_at", "model_version", "rows_scored")
"""Columns that a narrow terminal can do without, the first to go first."""

_ERROR_CHARACTERS = 60
"""Of an error in the list: `beam-jobs show RUN` has all of it."""


def list_runs(config: WarehouseConfig) -> int:
    """Prints all runs, the latest period first; the exit code."""
    rows = [run.to_json() for run in open_catalog(config.warehouse).runs()]
    if config.json:
        terminal.print_records(rows, RUN_COLUMNS, as_json=True)
    else:
        rows = [row | {"error": _cut(row["error"])} for row in rows]
        terminal.print_records(rows, COLUMNS, optional=OPTIONAL)
    return 0


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= _ERROR_CHARACTERS:
        return text
    return f"{text[: _ERROR_CHARACTERS - 3]}..."
