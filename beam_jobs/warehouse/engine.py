"""What a warehouse must be able to do: run GoogleSQL, stage Parquet files, answer queries.

DuckDB and BigQuery differ here and nowhere else; what is published, and how, is written once.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from beam_jobs.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class QueryResult:
    """Names of the columns, and the rows as tuples of Python values."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def records(self) -> list[dict[str, Any]]:
        """The rows as {column: value}."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


NOT_A_SELECT = "query: is {kind}; only SELECT is allowed, the warehouse is read-only here"
"""Where a statement would do something else; `kind` is the warehouse's word for it."""


def check_one_statement(count: int) -> None:
    """Raises UsageError where a query is not exactly one statement."""
    if count == 0:
        raise UsageError("query: there is no statement in it; give one SELECT")
    if count > 1:
        raise UsageError("query: several statements; give one SELECT, the others in further calls")


def tables_of(sql: str) -> set[str]:
    """The tables that a query of ours reads."""
    return set(re.findall(r"\b(?:FROM|JOIN) (\w+)", sql))


class Session(Protocol):
    """An open warehouse, for the short time of publishing; staged tables go by themselves."""

    def columns(self) -> dict[str, dict[str, str]]:
        """As `Engine.columns`, seen from inside."""

    def account(self) -> str:
        """Who publishes: the system's user, or the account that the warehouse knows."""

    def define(self, statements: Sequence[str]) -> None:
        """Runs GoogleSQL statements that make or extend tables and views; safe to repeat."""

    def fetch(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows of one GoogleSQL query with `@name` parameters."""

    def run(self, sql: str, parameters: Mapping[str, Any]) -> None:
        """Runs a GoogleSQL script; one with a transaction happens whole or not at all.

        Parameters that the script does not name are ignored.

        Raises:
            RunError: nothing was changed.
        """

    def stage(self, table: str, run_id: str, uris: Sequence[str], schema: "pa.Schema") -> str:
        """Makes the rows of Parquet files readable as a table; safe to repeat.

        Args:
            table: where the rows belong.
            run_id: part of the staged table's name and of the load job's id.
            uris: the files; none gives an empty table.
            schema: the files' columns.

        Returns:
            The staged table's name.
        """


class Engine(Protocol):
    """A warehouse that is opened only while something is read or published."""

    url: str

    def check(self) -> None:
        """Finds early what would stop publishing: locked, corrupt, not writable.

        A warehouse that does not exist yet is fine; nothing is made.

        Raises:
            UsageError: naming the URL and what to do.
        """

    def columns(self) -> dict[str, dict[str, str]]:
        """{table or view: {column: GoogleSQL type}}; empty where there is no warehouse yet."""

    def fetch(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows of a query of ours; none where its tables are still to be made.

        Args:
            sql: one SELECT that every dialect takes as it is, with `@name` parameters. Of a list
                `IN UNNEST(@name)`.
            parameters: {name: text, number, date, time or list of texts}.

        Raises:
            UsageError: the warehouse cannot be opened.
        """

    def query(self, sql: str) -> QueryResult:
        """Answers one SELECT in the warehouse's own dialect; nothing else can be reached by it.

        Raises:
            UsageError: the warehouse cannot be opened, or does not take the statement; it is none,
                several, or no SELECT.
        """

    def writing(self, files: Sequence[str] = ()) -> AbstractContextManager[Session]:
        """Opens the warehouse for publishing; made where it does not exist.

        Args:
            files: all that will be staged. A warehouse that cannot read them where they lie
                copies them first, while others may still use it.

        Raises:
            UsageError: it cannot be opened.
            RunError: it cannot be written (disk full); nothing was changed.
        """
