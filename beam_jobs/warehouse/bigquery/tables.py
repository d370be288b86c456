"""Tables and views of a data set: what is there, and what is still to be made.

Asked through the API, which is free and quick, where INFORMATION_SCHEMA is a billed query.
"""

import contextlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from beam_jobs.warehouse.bigquery.jobs import Dataset
from beam_jobs.warehouse.bigquery.library import bigquery, google_errors

if TYPE_CHECKING:
    from sqlglot import exp

STAGED = "staged_"
"""What names of staging tables begin with."""

_CALLS_AT_ONCE = 8

_TYPES = {
    "INTEGER": "INT64",
    "FLOAT": "FLOAT64",
    "BOOLEAN": "BOOL",
}
"""GoogleSQL's words for those of the API."""


def tables(dataset: Dataset) -> dict[str, bigquery.Table]:
    """{name: table or view}, without staging tables."""
    listed = dataset.client.list_tables(dataset.id, retry=dataset.retry)
    names = [item.table_id for item in listed if not item.table_id.startswith(STAGED)]

    def get(name: str) -> bigquery.Table | None:
        with contextlib.suppress(google_errors.NotFound):  # removed just now
            return dataset.client.get_table(f"{dataset.id}.{name}", retry=dataset.retry)
        return None

    with ThreadPoolExecutor(_CALLS_AT_ONCE) as pool:
        found = zip(names, pool.map(get, names), strict=True)
        return {name: table for name, table in found if table is not None}


def google_type(field: bigquery.SchemaField) -> str:
    """A column's type in GoogleSQL's words, as `ddl.google_type` writes it."""
    type_ = _TYPES.get(field.field_type, field.field_type)
    if field.field_type in ("RECORD", "STRUCT"):
        inner = ", ".join(f"`{part.name}` {google_type(part)}" for part in field.fields)
        type_ = f"STRUCT<{inner}>"
    return f"ARRAY<{type_}>" if field.mode == "REPEATED" else type_


def define(dataset: Dataset, script: str, existing: Mapping[str, bigquery.Table]) -> None:
    """Runs the statements that change something; each takes BigQuery a second.

    Args:
        dataset: to be changed.
        script: `CREATE TABLE IF NOT EXISTS`, `ALTER TABLE` and `CREATE OR REPLACE VIEW`.
        existing: tables and views.
    """
    import sqlglot
    from sqlglot import exp

    todo: list[str] = []
    views: dict[str, str] = {}
    for tree in sqlglot.parse(script, read="bigquery"):
        if isinstance(tree, exp.Create) and tree.kind == "VIEW":
            views[tree.this.name] = _qualified(tree.expression, dataset)
        elif isinstance(tree, exp.Create) and tree.this.this.name in existing:
            continue
        elif tree is not None:
            todo.append(tree.sql("bigquery"))
    if todo:
        dataset.query(";\n".join(todo))
    for name, query in views.items():
        view = bigquery.Table(f"{dataset.id}.{name}")
        view.view_query = query
        if name not in existing:
            dataset.client.create_table(view, exists_ok=True, retry=dataset.retry)
        # The columns of `SELECT *` are those that the table had when the view was made.
        elif todo or existing[name].view_query != query:
            dataset.client.update_table(view, ["view_query"], retry=dataset.retry)


def _qualified(query: "exp.Expression", dataset: Dataset) -> str:
    """The text of a view's query: it must name data sets, for it is asked from anywhere."""
    from sqlglot import exp

    assert not query.find(exp.CTE), "a CTE's name would be taken for a table's"
    for table in query.find_all(exp.Table):
        table.set("db", exp.to_identifier(dataset.name, quoted=True))
        table.set("catalog", exp.to_identifier(dataset.project, quoted=True))
    return query.sql("bigquery")
