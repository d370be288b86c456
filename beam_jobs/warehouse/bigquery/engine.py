"""The warehouse for teams: one data set of BigQuery.

Nobody waits for a turn: readers see snapshots, and of two transactions that meet BigQuery aborts
one, which is started again.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from beam_jobs.errors import UsageError
from beam_jobs.warehouse.bigquery.client import client_of
from beam_jobs.warehouse.bigquery.errors import explained
from beam_jobs.warehouse.bigquery.jobs import CALL_SECONDS, Dataset
from beam_jobs.warehouse.bigquery.library import bigquery, google_errors
from beam_jobs.warehouse.bigquery.tables import google_type, tables
from beam_jobs.warehouse.engine import (
    NOT_A_SELECT,
    Engine,
    QueryResult,
    Session,
    check_one_statement,
    tables_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

READ_SECONDS = 60.0
"""How long verbs that only look repeat a call."""


class BigQueryEngine(Engine):
    """Engine of `bigquery:PROJECT.DATASET`; see `engine.Engine`.

    Credentials are Google's application default; with BIGQUERY_EMULATOR_HOST set, none.
    """

    def __init__(self, place: str) -> None:
        """Connects when it is first needed.

        Args:
            place: PROJECT.DATASET.

        Raises:
            UsageError: it is not of that form.
        """
        self.url = f"bigquery:{place}"
        # A project may begin with its organisation's domain: example.com:ads.
        found = re.fullmatch(r"((?:[a-z0-9.-]+:)?[a-z][a-z0-9-]*)\.(\w{1,1024})", place)
        if not found:
            raise UsageError(
                f"--warehouse {self.url}: is no data set; use bigquery:PROJECT.DATASET, such as"
                " bigquery:my-project.ads"
            )
        self._project, self._dataset = found.groups()
        self._location = ""

    @override
    def check(self) -> None:
        dataset = self._located(READ_SECONDS)
        # Nothing happens in a dry run, but permissions are checked as if.
        from beam_jobs.warehouse import ddl
        from beam_jobs.warehouse.tables import arrow_schema

        with explained(self.url, "publishing would fail", UsageError):
            self._dry_run(dataset, ddl.create_table("runs", arrow_schema("runs")))

    @override
    def columns(self) -> dict[str, dict[str, str]]:
        with explained(self.url, "cannot be read", UsageError):
            return _columns(tables(self._located(READ_SECONDS)))

    @override
    def fetch(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        dataset = self._connect(READ_SECONDS)
        with explained(self.url, "cannot be read", UsageError):
            try:
                return _result(dataset.query(sql, parameters)).records()
            except google_errors.NotFound:
                if not tables_of(sql) <= tables(self._located(READ_SECONDS)).keys():
                    return []
            # Another process has made them meanwhile.
            return _result(dataset.query(sql, parameters)).records()

    @override
    def query(self, sql: str) -> QueryResult:
        if _NO_STATEMENT.fullmatch(sql):
            check_one_statement(0)
        dataset = self._connect(READ_SECONDS)
        with explained(self.url, "query failed", UsageError):
            kind = self._dry_run(dataset, sql).statement_type
            if kind == "SCRIPT":
                check_one_statement(2)
            if kind != "SELECT":
                raise UsageError(NOT_A_SELECT.format(kind=kind or "no query"))
            return _result(dataset.query(sql))

    @override
    @contextlib.contextmanager
    def writing(self, files: Sequence[str] = ()) -> Iterator["BigQuerySession"]:
        dataset = self._located(CALL_SECONDS)
        with explained(self.url, "publishing failed"):
            yield BigQuerySession(dataset, self.url)

    def _connect(self, patience: float) -> Dataset:
        with explained(self.url, "cannot be reached", UsageError):
            client = client_of(self._project)
        return Dataset(client, self._project, self._dataset, self._location, patience)

    def _located(self, patience: float) -> Dataset:
        """The data set with its region, which is asked for once.

        Raises:
            UsageError: it does not exist, or may not be seen.
        """
        dataset = self._connect(patience)
        if self._location:
            return dataset
        with explained(self.url, "cannot be opened", UsageError):
            try:
                found = dataset.client.get_dataset(dataset.id, retry=dataset.retry)
            except google_errors.NotFound as error:
                raise UsageError(
                    f"--warehouse {self.url}: there is no such data set; make it, in the region of"
                    f" the bucket: bq mk --location=EU --dataset {self._project}:{self._dataset}"
                ) from error
        self._location = found.location
        return self._connect(patience)

    def _dry_run(self, dataset: Dataset, sql: str) -> Any:
        config = bigquery.QueryJobConfig(default_dataset=dataset.id, dry_run=True)
        return dataset.client.query(sql, config, retry=dataset.retry, job_retry=None)


class BigQuerySession(Session):
    """A data set for the time of publishing; see `engine.Session`."""

    def __init__(self, dataset: Dataset, url: str) -> None:
        self._dataset, self._url = dataset, url
        self._tables = tables(dataset)

    @override
    def columns(self) -> dict[str, dict[str, str]]:
        return _columns(self._tables)

    @override
    def account(self) -> str:
        (row,) = self.fetch("SELECT SESSION_USER() AS account", {})
        return str(row["account"])

    @override
    def fetch(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        return _result(self._dataset.query(sql, parameters, _types())).records()

    @override
    def run(self, sql: str, parameters: Mapping[str, Any]) -> None:
        self._dataset.query(sql, parameters, _types())

    @override
    def define(self, statements: Sequence[str]) -> None:
        from beam_jobs.warehouse.bigquery.tables import define

        define(self._dataset, ";\n".join(statements), self._tables)

    @override
    def stage(self, table: str, run_id: str, uris: Sequence[str], schema: "pa.Schema") -> str:
        from beam_jobs.warehouse.bigquery.stage import Staging

        return Staging(self._dataset, self._url, table, run_id, uris, schema).load()


_NO_STATEMENT = re.compile(r"(--[^\n]*|#[^\n]*|/\*.*?\*/|[;\s])*", re.DOTALL)
"""Comments, and nothing else."""


def _types() -> dict[str, str]:
    """{parameter: GoogleSQL type}: the columns of `runs`, and what statements need beside them."""
    from beam_jobs.warehouse import ddl
    from beam_jobs.warehouse.tables import arrow_schema

    types = {field.name: ddl.google_type(field.type) for field in arrow_schema("runs")}
    texts = dict.fromkeys(("action", "decided_by", "reason"), "STRING")
    return types | texts | {"now": "TIMESTAMP", "takes_held": "BOOL"}


def _columns(found: Mapping[str, bigquery.Table]) -> dict[str, dict[str, str]]:
    return {
        name: {field.name: google_type(field) for field in table.schema}
        for name, table in found.items()
    }


def _result(rows: Any) -> QueryResult:
    columns = tuple(field.name for field in rows.schema)
    return QueryResult(columns, [row.values() for row in rows])
