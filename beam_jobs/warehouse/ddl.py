"""Tables in GoogleSQL, and GoogleSQL translated for the embedded warehouse.

Heavy (SQLGlot takes 0.3 s to import, within the function): only what writes needs it.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from sqlglot import exp


def create_table(table: str, schema: pa.Schema) -> str:
    """`CREATE TABLE IF NOT EXISTS`, by month, clustered by job and key."""
    columns = ", ".join(f"{quoted(field.name)} {google_type(field.type)}" for field in schema)
    cluster = "`job`, `key`" if "key" in schema.names else "`job`"
    return (
        f"CREATE TABLE IF NOT EXISTS {quoted(table)} ({columns})"
        f" PARTITION BY DATE_TRUNC(`period`, MONTH) CLUSTER BY {cluster}"
    )


def add_columns(table: str, fields: Sequence[pa.Field]) -> str:
    """`ALTER TABLE ... ADD COLUMN IF NOT EXISTS ..., ADD COLUMN IF NOT EXISTS ...`.

    One statement: BigQuery takes five updates of a table's metadata in ten seconds
    (https://cloud.google.com/bigquery/quotas#standard_tables).
    """
    columns = (
        f"ADD COLUMN IF NOT EXISTS {quoted(field.name)} {google_type(field.type)}"
        for field in fields
    )
    return f"ALTER TABLE {quoted(table)} {', '.join(columns)}"


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
    trees = sqlglot.parse(sql, read="bigquery")
    return tuple(
        one.sql("duckdb") for tree in trees if tree is not None for one in _with_one_action(tree)
    )


def _with_one_action(tree: "exp.Expr") -> "Iterator[exp.Expr]":
    """DuckDB's `ALTER TABLE` does one thing at a time."""
    from sqlglot import exp

    if not isinstance(tree, exp.Alter):
        yield tree
        return
    for action in tree.args["actions"]:
        one = tree.copy()
        one.set("actions", [action.copy()])
        yield one
