"""Writes docs/tables.md from the code: `python docs/make_tables.py`.

Tables come from `beam_jobs/warehouse/tables.py`, views from an embedded warehouse in which they
were made; only what a derived column of a view means is written here.
"""

import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from beam_jobs.publish import statements
from beam_jobs.warehouse import ddl
from beam_jobs.warehouse.duckdb import DuckDbEngine
from beam_jobs.warehouse.tables import TABLES, arrow_schema

PAGE = Path(__file__).with_name("tables.md")

INTRODUCTION = """\
# Tables and views

Made by `python docs/make_tables.py` from `beam_jobs/warehouse/tables.py` and
`beam_jobs/publish/sql/views.sql`.

The same in DuckDB and BigQuery. Types are GoogleSQL's; in DuckDB `STRING` is `VARCHAR`, `INT64` is
`BIGINT`, `FLOAT64` is `DOUBLE`, `BYTES` is `BLOB` and `ARRAY<T>` is `T[]`. BigQuery partitions the
tables by the month of `period` and clusters them by `job` and, where there is one, `key`. A month,
with its rows in all tables and its line in `runs`, is replaced in one transaction; bigquery.md
says how. A day of the queue job has many published runs side by side; `inputs` says which of them
answered which request file. The table `publish_locks` is for the job itself: one row, which
publishing writes first. A missing array is NULL in DuckDB and empty in BigQuery, which also has
`staged_...` tables for some days: rows of runs that are not published by being there.

The views show published runs only, except `run_history`, which has all of them. `rows` and
`distinct` are reserved words: in a query they stand in backticks, in DuckDB in double quotes.
"""

TABLE_MEANINGS = {
    "runs": "One row a run, whatever became of it.",
    "scores": "One row a scored ad. After the columns below come the ad's own columns, named and"
    " typed by the schema (`INT` is `INT64`, `FLOAT` is `FLOAT64`, `BYTES` is `STRING`, list"
    " features are arrays), so that an analyst needs no join. Characters that BigQuery does not"
    " take in a name become `_`; a name that is taken below gets the prefix `ad_`.",
    "quarantine": "One row a record that was not scored. Every input record is in exactly one of"
    " `scores` and `quarantine`.",
    "anomalies": "One row a finding in the statistics of a run; those of a held run are here at"
    " once.",
    "feature_statistics": "One row a slice and feature, distances included also where they are"
    " below their thresholds. `mean`, `std_dev`, `min` and `max` are those of the rows that were"
    " scored: what a check sent to quarantine does not move them. All else covers every row that"
    " could be read, because TFDV judges these.",
    "inputs": "One row a file that was read.",
    "publications": "One row a decision: who published, approved, rejected or put back which run,"
    " when and why. Nothing is ever removed. Of months that were published before there was this"
    " table, it holds what `runs` shows.",
}

DERIVED = {
    "missing_share": "missing / rows",
    "median": "the middle one of quantiles (numeric); unlike the mean no outlier moves it",
    "anomalies": "anomalies of the feature in the slice",
    "drift_history.severity": "the worst of its anomalies; null where there is none",
    "is_current": "whether this run is the published one of its period",
    "quarantined_share": "rows_quarantined / rows_read",
    "anomalies_info": "anomalies of severity INFO",
    "anomalies_warn": "anomalies of severity WARN",
    "anomalies_hold": "anomalies of severity HOLD",
    "reason": "a reason code, one of those in quarantine.reasons",
    "quarantine_summary.rows": "rows of the file with that reason",
    "share_of_rows_read": "rows / rows_read of the run",
    "first_source_row": "the first of these rows, from 1, without the header",
    "example": "the detail of one of these rows",
}
"""What columns of views mean that no table has; VIEW.COLUMN where a table's means another thing."""

SOURCES = {
    "current_scores": ("scores",),
    "current_anomalies": ("anomalies",),
    "drift_history": ("feature_statistics", "runs"),
    "run_history": ("runs",),
    "quarantine_summary": ("quarantine",),
}
"""The tables that give the other columns of a view their meaning."""

_DUCKDB_ONLY = {"HUGEINT": "INT64", "BOOLEAN": "BOOL"}


def render() -> str:
    """The page."""
    parts = [INTRODUCTION, "## Tables\n"]
    for table, columns in TABLES.items():
        rows = [
            (column.name, ddl.google_type(column.type), column.description) for column in columns
        ]
        parts.append(_section(table, TABLE_MEANINGS[table], rows))
    parts.append("## Views\n")
    types, meanings = _view_types(), _view_meanings()
    for view in statements.VIEWS:
        rows = [(name, type_, _meaning(view, name)) for name, type_ in types[view].items()]
        note = " The ad's own columns follow." if view == "current_scores" else ""
        parts.append(_section(view, meanings[view] + note, rows))
    return "\n".join(parts)


def _section(name: str, meaning: str, rows: Iterable[tuple[str, str, str]]) -> str:
    lines = [f"### {name}", "", meaning, "", "| column | type | meaning |", "|---|---|---|"]
    for column, type_, text in rows:
        lines.append(f"| `{column}` | `{type_.replace('`', '')}` | {text} |")
    return "\n".join(lines) + "\n"


def _view_types() -> dict[str, dict[str, str]]:
    """{view: {column: type}} as an empty warehouse has them."""
    tables = [ddl.create_table(table, arrow_schema(table)) for table in TABLES]
    with tempfile.TemporaryDirectory() as folder:
        engine = DuckDbEngine(os.path.join(folder, "empty.duckdb"))
        with engine.writing() as session:
            session.define([*tables, statements.views()])
        found = engine.columns()
    return {
        view: {name: _DUCKDB_ONLY.get(type_, type_) for name, type_ in found[view].items()}
        for view in statements.VIEWS
    }


def _view_meanings() -> dict[str, str]:
    """{view: the comment above it}."""
    found = re.findall(r"^((?:-- .*\n)+)CREATE OR REPLACE VIEW (\w+)", statements.views(), re.M)
    return {view: " ".join(re.findall(r"-- (.*)", comment)) for comment, view in found}


def _meaning(view: str, name: str) -> str:
    """Raises KeyError where nobody has said what a column means."""
    derived = DERIVED.get(f"{view}.{name}")
    if derived is not None:
        return derived
    for table in SOURCES[view]:
        for column in TABLES[table]:
            if column.name == name:
                return column.description
    return DERIVED[name]


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
