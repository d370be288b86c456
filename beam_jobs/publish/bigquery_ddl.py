"""Which of the statements that make tables and views have something to do."""

from collections.abc import Collection, Mapping

import sqlglot
from sqlglot import exp


def pending(
    script: str, dataset: str, tables: Collection[str], views: Mapping[str, str]
) -> list[str]:
    """The statements of a script that change something.

    Args:
        script: `CREATE TABLE IF NOT EXISTS`, `ALTER TABLE` and `CREATE OR REPLACE VIEW`.
        dataset: PROJECT.DATASET; a view must name its tables with it.
        tables: that exist.
        views: {view: text of its query} that exist.
    """
    todo: list[str] = []
    for tree in sqlglot.parse(script, read="bigquery"):
        if tree is None:
            continue
        if isinstance(tree, exp.Create) and tree.kind == "VIEW":
            _qualify(tree.expression, dataset)
            name, query = _made(tree), tree.expression.sql("bigquery")
            # New columns show in a view of `SELECT *` only after it is made again.
            if not todo and views.get(name) == query:
                continue
        elif isinstance(tree, exp.Create) and _made(tree) in tables:
            continue
        todo.append(tree.sql("bigquery", comments=False))
    return todo


def _made(create: exp.Create) -> str:
    """The name of what a statement makes; a table's stands in front of its columns."""
    what = create.this
    return (what.this if isinstance(what, exp.Schema) else what).name


def _qualify(query: exp.Expression, dataset: str) -> None:
    names = {cte.alias for cte in query.find_all(exp.CTE)}
    project, _, name = dataset.rpartition(".")
    for table in query.find_all(exp.Table):
        # The parser takes UNNEST(t.details) for a function, not for a table.
        if not table.db and table.name not in names:
            table.set("db", exp.to_identifier(name, quoted=True))
            table.set("catalog", exp.to_identifier(project, quoted=True))
