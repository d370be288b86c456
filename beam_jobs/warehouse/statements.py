"""The warehouse's SQL: written once, in GoogleSQL, and translated for the embedded warehouse.

Heavy (SQLGlot takes 0.3 s to import, within the functions): only what writes needs it.
"""

import functools
import string
from collections.abc import Mapping, Sequence
from importlib import resources

import pyarrow as pa

from beam_jobs.runs.run_row import RUN_COLUMNS, Job
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


def create_table(table: str, schema: pa.Schema) -> str:
    """`CREATE TABLE IF NOT EXISTS`, by month, clustered by job and key."""
    columns = ", ".join(f"{quoted(field.name)} {google_type(field.type)}" for field in schema)
    cluster = "`job`, `key`" if "key" in schema.names else "`job`"
    return (
        f"CREATE TABLE IF NOT EXISTS {quoted(table)} ({columns})"
        f" PARTITION BY DATE_TRUNC(`period`, MONTH) CLUSTER BY {cluster}"
    )


def add_column(table: str, field: pa.Field) -> str:
    return (
        f"ALTER TABLE {quoted(table)} ADD COLUMN IF NOT EXISTS {quoted(field.name)}"
        f" {google_type(field.type)}"
    )


def quoted(name: str) -> str:
    """Columns such as `rows` are reserved words in GoogleSQL: every name is quoted."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


_SCALARS = {
    pa.string(): "STRING",
    pa.int64(): "INT64",
    pa.float64(): "FLOAT64",
    pa.date32(): "DATE",
    pa.binary(): "BYTES",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP",
}


def google_type(type_: pa.DataType) -> str:
    """GoogleSQL's name of a column type of ours."""
    if pa.types.is_list(type_):
        return f"ARRAY<{google_type(type_.value_type)}>"
    if pa.types.is_struct(type_):
        fields = ", ".join(f"{quoted(field.name)} {google_type(field.type)}" for field in type_)
        return f"STRUCT<{fields}>"
    return _SCALARS[type_]


@functools.cache
def for_duckdb(sql: str) -> Sequence[str]:
    """The statements of a GoogleSQL script in DuckDB's dialect."""
    import logging

    import sqlglot

    # Partitions and clusters are BigQuery's; DuckDB leaves them out, and SQLGlot says so each time.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    return tuple(text for text in sqlglot.transpile(sql, read="bigquery", write="duckdb") if text)
