"""The statements that publish, written once, in GoogleSQL: `sql/`, with names filled in."""

import functools
import string
from collections.abc import Mapping
from importlib import resources

import pyarrow as pa

from beam_jobs.runs.run_row import RUN_COLUMNS, Job
from beam_jobs.warehouse.ddl import quoted
from beam_jobs.warehouse.tables import TABLES, arrow_schema

VIEWS = (
    "current_scores",
    "current_anomalies",
    "drift_history",
    "run_history",
    "quarantine_summary",
)


@functools.cache
def _text(name: str) -> str:
    return (resources.files(__package__) / "sql" / f"{name}.sql").read_text("utf-8")


def statement(
    name: str, staged: Mapping[str, str], scores: pa.Schema, job: Job = Job.MONTHLY
) -> str:
    """The text of sql/<name>.sql with the names of tables and columns filled in.

    Args:
        name: of the file.
        staged: {table: name of the table that holds the run's staged rows}.
        scores: the columns of `scores`, the ad's own included.
        job: decides what publishing replaces, and whether it asks the ledger.
    """
    values = {f"staged_{table}": quoted(name) for table, name in staged.items()}
    for table in TABLES:
        schema = scores if table == "scores" else arrow_schema(table)
        values[f"columns_{table}"] = ", ".join(map(quoted, schema.names))
    values["columns_runs"] = ", ".join(map(quoted, RUN_COLUMNS))
    values["values_runs"] = ", ".join(f"@{column}" for column in RUN_COLUMNS)
    values["replaced"] = "TRUE" if job.replaces_period else "run_id = @run_id"
    values["ledger"] = values["earlier"] = ""
    values["recorded"] = string.Template(_text("recorded")).substitute(values)
    if job.replaces_period:
        values["earlier"] = string.Template(_text("earlier")).substitute(values)
    elif "inputs" in staged:
        values["taken"] = string.Template(_text("taken")).substitute(values)
        values["ledger"] = string.Template(_text("ledger")).substitute(values)
    return string.Template(_text(name)).substitute(values)


def views() -> str:
    """`CREATE OR REPLACE VIEW` of all views."""
    return _text("views")
