"""The SQL itself: what it reads is bounded by `period`, by which BigQuery partitions the tables."""

from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from beam_jobs.publish import statements
from beam_jobs.runs.run_row import Job
from beam_jobs.warehouse.tables import TABLES, arrow_schema

STAGED = {table: f"staged_{table}" for table in TABLES}
AUDITS = ("audit_files", "audit_keys", "audit_rows")
SCRIPTS = ("publish", "hold", "fail", "reject", "derive", *AUDITS)


LEDGER = ("inputs", "runs")
"""A request file is looked for on all days: a line a file and a line a run, no rows of data."""


def _parsed(name: str, job: Any = Job.MONTHLY) -> Any:
    text = statements.statement(name, STAGED, arrow_schema("scores"), job)
    return [tree for tree in sqlglot.parse(text, read="bigquery") if tree is not None]


def _tables(tree: Any) -> Any:
    return [table for table in tree.find_all(exp.Table) if table.name in TABLES]


def _scope(table: Any) -> Any:
    """The statement or subquery that reads or changes the table; None for an INSERT's target."""
    if isinstance(table.find_ancestor(exp.Schema, exp.Select, exp.Insert), exp.Schema | exp.Insert):
        return None
    return table.find_ancestor(exp.Select, exp.Delete, exp.Update)


def _is_bounded(scope: Any) -> Any:
    """Whether `period = @period` is one of the conditions that all must hold."""
    where = scope.args.get("where")
    if where is None:
        return False
    condition = where.this
    parts = condition.flatten() if isinstance(condition, exp.And) else [condition]
    return any(part.sql("bigquery") == "period = @period" for part in parts)


@pytest.mark.parametrize("job", list(Job))
@pytest.mark.parametrize("name", SCRIPTS)
def test_every_statement_bounds_the_period_of_every_table(name: str, job: Any) -> None:
    looked_at = 0
    for tree in _parsed(name, job):
        for table in _tables(tree):
            scope = _scope(table)
            is_ledger = job is Job.REQUESTS and table.name in LEDGER
            if scope is not None and not (is_ledger and not _is_bounded(scope)):
                looked_at += 1
                assert _is_bounded(scope), scope.sql("bigquery")
    is_empty = name == "derive" and not job.replaces_period
    assert looked_at > 0 or name in AUDITS or is_empty


def test_the_test_itself_finds_what_is_not_bounded() -> None:
    for sql in (
        "DELETE FROM scores WHERE run_id = @run_id",
        "DELETE FROM scores WHERE period = @period OR job = @job",
        "UPDATE runs SET status = 'x' WHERE job = @job",
        "SELECT 1 FROM (SELECT run_id FROM runs) AS x WHERE period = @period",
    ):
        (tree,) = sqlglot.parse(sql, read="bigquery")
        assert not all(_is_bounded(_scope(table)) for table in _tables(tree))


def test_the_audit_reads_the_run_s_own_rows_only() -> None:
    for name in AUDITS:
        assert [table.name for tree in _parsed(name) for table in _tables(tree)] == []


def test_a_bound_on_a_view_s_period_reaches_the_tables() -> None:
    """`WHERE period = ...` outside can be moved inside: it is a column, and all joins use it."""
    views = [tree for tree in sqlglot.parse(statements.views(), read="bigquery") if tree]
    assert [view.this.name for view in views] == list(statements.VIEWS)
    for view in views:
        query = view.expression
        (period,) = [
            item
            for item in query.expressions
            if item.alias_or_name == "period"
            or (isinstance(item.unalias(), exp.Column) and item.is_star)
        ]
        assert isinstance(period, exp.Column)
        for select in query.find_all(exp.Select):
            group = select.args.get("group")
            if group is not None:
                assert "period" in [column.name for column in group.expressions]
            for join in select.args.get("joins") or ():
                condition = join.args.get("on")
                if condition is not None:
                    assert "period" in {column.name for column in condition.find_all(exp.Column)}
