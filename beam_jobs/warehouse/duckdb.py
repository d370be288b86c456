"""The embedded warehouse: one DuckDB file.

DuckDB lets one process write or several read. So nobody keeps the file open: readers and writers
come, wait their turn, and go.
"""

import contextlib
import os
import random
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import duckdb
from typing_extensions import override

from beam_jobs import storage
from beam_jobs.errors import BusyError, RunError, UsageError
from beam_jobs.notes import print_note
from beam_jobs.storage.holder import user_name
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


@dataclass(frozen=True)
class Patience:
    """How long a locked file is waited for, in seconds.

    Attributes:
        read: by a reader; publishing a million rows takes a few seconds.
        write: by a writer: a finished run is worth more patience.
    """

    read: float = 10.0
    write: float = 60.0


patience = Patience()
"""Of this process; tests set another one."""

_NEW_FILE: dict[str, str | bool | int | float | list[str]] = {
    "storage_compatibility_version": "v1.0.0"
}
"""Every DuckDB from 1.0 reads the file; without it, none but the version that made it."""

_QUERY_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",  # no COPY, ATTACH, read_csv, httpfs
    "autoinstall_known_extensions": "false",
    "python_enable_replacements": "false",  # a name that is no table is not a variable of ours
    "lock_configuration": "true",
}
"""What a user's query cannot do, beside changing the file, which is open read-only."""

_WRITER_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": "256MB",  # publishing must not grow with the rows; beyond it, DuckDB spills
    "preserve_insertion_order": "false",
}

_MACROS = ("CREATE OR REPLACE TEMPORARY MACRO farm_fingerprint(text) AS hash(text)",)
"""BigQuery's functions that DuckDB knows by another name."""

# In one process DuckDB refuses a reader beside a writer at once, so threads take turns here.
_TURN = threading.RLock()


class DuckDbEngine(Engine):
    """Engine of `duckdb:PATH`; see `engine.Engine`."""

    def __init__(self, path: str, tell: Callable[[str], None] = print_note) -> None:
        """Opens nothing yet.

        Args:
            path: of the file, which need not exist yet.
            tell: called at once with a sentence: for whom this process waits.
        """
        self.path = os.path.abspath(path)
        self.url = f"duckdb:{path}"
        self._tell = tell

    @override
    def check(self) -> None:
        if odd := set(self.path) & _IMPOSSIBLE:
            raise UsageError(
                f"--warehouse {self.url}: DuckDB cannot keep a file under a path with"
                f" {' or '.join(sorted(odd))}; choose another path"
            )
        if os.path.exists(self.path):
            self.columns()
            if not os.access(self.path, os.W_OK):
                raise UsageError(f"--warehouse {self.url}: the file is read-only; make it writable")
        folder = os.path.dirname(self.path)
        while not os.path.exists(folder):
            folder = os.path.dirname(folder)
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UsageError(
                f"--warehouse {self.url}: {folder} cannot be written ({error.strerror}); make it"
                " writable or choose another path"
            ) from error

    @override
    def columns(self) -> dict[str, dict[str, str]]:
        if not os.path.exists(self.path):
            return {}
        with self._reading() as connection:
            return DuckDbSession(connection).columns()

    @override
    def fetch(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        if not os.path.exists(self.path):
            return []
        # Reading does without the translator, which takes 0.3 s to import.
        text = re.sub(r"\bUNNEST\(@(\w+)\)", r"(SELECT unnest($\1))", sql)
        text = re.sub(r"@(\w+)", r"$\1", text)
        with self._reading() as connection:
            try:
                return result_of(connection.execute(text, dict(parameters))).records()
            except duckdb.CatalogException:
                if tables_of(sql) <= DuckDbSession(connection).columns().keys():
                    raise
                return []
            except duckdb.Error as error:
                raise UsageError(self._cannot_open(error)) from error

    @override
    def query(self, sql: str) -> QueryResult:
        if not os.path.exists(self.path):
            raise UsageError(
                f"--warehouse {self.url}: does not exist yet; `beam-jobs monthly` makes it"
            )
        with self._reading(_QUERY_SETTINGS) as connection:
            try:
                return result_of(connection.execute(the_select(connection, sql)))
            except duckdb.PermissionException as error:
                raise UsageError(
                    f"query: {_one_line(error)}; a query reads the warehouse's own tables only"
                ) from error
            except duckdb.Error as error:
                raise UsageError(f"query: {error}") from error

    @override
    @contextlib.contextmanager
    def writing(self, files: Sequence[str] = ()) -> Iterator["DuckDbSession"]:
        with storage.fetched(files) as local, _TURN:
            self._make()
            connection = self._connect(False, _WRITER_SETTINGS, patience.write)
            try:
                with self._guard():
                    for macro in _MACROS:
                        connection.execute(macro)
                    yield DuckDbSession(connection, local)
            finally:
                with self._guard():
                    connection.close()

    @contextlib.contextmanager
    def _reading(
        self, settings: Mapping[str, Any] = MappingProxyType({})
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        with _TURN:
            connection = self._connect(True, settings, patience.read)
            with connection:
                yield connection

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise RunError(
                f"{self.url}: publishing failed ({_one_line(error)});"
                " put this right, then run the command again"
            ) from error

    def _make(self) -> None:
        """A new file appears whole: a process killed here must not leave half a database."""
        if os.path.exists(self.path):
            return
        folder = os.path.dirname(self.path)
        try:
            os.makedirs(folder, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".warehouse-", dir=folder) as scratch:
                fresh = os.path.join(scratch, "new.duckdb")
                with self._guard():
                    duckdb.connect(fresh, config=_NEW_FILE).close()
                with contextlib.suppress(FileExistsError):  # another process was first
                    os.link(fresh, self.path)
        except OSError as error:
            raise UsageError(
                f"--warehouse {self.url}: cannot be made ({error.strerror}); make {folder} writable"
                " or choose another path"
            ) from error

    def _connect(
        self, read_only: bool, settings: Mapping[str, Any], wait: float
    ) -> duckdb.DuckDBPyConnection:
        """Raises BusyError where others still have the file open after `wait` seconds."""
        deadline: float | None = None  # the wait begins when the file is found in use
        pause = 0.02
        while True:
            try:
                return duckdb.connect(self.path, read_only=read_only, config=dict(settings))
            except duckdb.Error as error:
                holder = _holder(error)
                if holder is None:
                    raise UsageError(self._cannot_open(error)) from error
                if deadline is not None and time.monotonic() >= deadline:
                    raise BusyError(self._locked(holder, wait)) from error
            if deadline is None:
                self._tell(f"--warehouse {self.url}: waiting up to {wait:g} s for {holder}")
                deadline = time.monotonic() + wait
            # Uneven pauses: several processes that wait must not try in step.
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 1.5, 0.5)

    def _locked(self, holder: str, wait: float) -> str:
        return (
            f"--warehouse {self.url}: locked by {holder}, for {wait:g} s already; DuckDB lets one"
            " process write, or several read: close it there, then run the command again"
            " (docs/duckdb.md)"
        )

    def _cannot_open(self, error: duckdb.Error) -> str:
        if os.path.isdir(self.path):
            return f"--warehouse {self.url}: is a folder; name a file in it, such as ads.duckdb"
        if isinstance(error, duckdb.PermissionException) or "Permission denied" in str(error):
            return f"--warehouse {self.url}: no permission to open it; make it writable"
        return (
            f"--warehouse {self.url}: cannot be opened as a DuckDB database ({_one_line(error)});"
            " restore it or choose another path"
        )


class DuckDbSession(Session):
    """An open file; see `engine.Session`."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, local: Mapping[str, str] | None = None
    ) -> None:
        """Takes an open file.

        Args:
            connection: to the file.
            local: {file to be staged: its copy on this machine}.
        """
        self._connection, self._local = connection, local or {}

    @override
    def columns(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        rows = self._execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'main' ORDER BY ordinal_position"
        ).fetchall()
        for table, column, type_ in rows:
            found.setdefault(table, {})[column] = _google_type(type_)
        return found

    @override
    def account(self) -> str:
        return user_name()

    @override
    def fetch(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        return result_of(self._run(sql, parameters)).records()

    @override
    def run(self, sql: str, parameters: Mapping[str, Any]) -> None:
        self._run(sql, parameters)

    @override
    def define(self, statements: Sequence[str]) -> None:
        # A view of `SELECT *` fails while its table has other columns: both change at once.
        self._run("BEGIN TRANSACTION;" + ";".join(statements) + ";COMMIT TRANSACTION", {})

    @override
    def stage(self, table: str, run_id: str, uris: Sequence[str], schema: "pa.Schema") -> str:
        # A view on the files: rows are copied once, and nothing is left behind by a crash.
        name = f"staged_{table}_{run_id}"
        if uris:
            paths = [self._local.get(uri, uri) for uri in uris]
            files = ", ".join(map(literal, map(storage.escape, paths)))
            # Nor is a folder called `job=a` a column of the rows.
            rows = f"SELECT * FROM read_parquet([{files}], hive_partitioning = false)"
        else:
            rows = _no_rows(schema)
        self._execute(f'CREATE OR REPLACE TEMPORARY VIEW "{name}" AS {rows}')
        return name

    def _run(self, sql: str, parameters: Mapping[str, Any]) -> duckdb.DuckDBPyConnection:
        from beam_jobs.warehouse import ddl

        cursor = self._connection
        for text in ddl.for_duckdb(sql):
            used = set(re.findall(r"\$(\w+)", text))
            cursor = self._execute(text, {name: parameters[name] for name in used})
        return cursor

    def _execute(
        self, sql: str, parameters: Mapping[str, Any] | None = None
    ) -> duckdb.DuckDBPyConnection:
        return self._connection.execute(sql, parameters or {})


def result_of(cursor: duckdb.DuckDBPyConnection) -> QueryResult:
    """All rows of a cursor."""
    columns = tuple(column[0] for column in cursor.description or ())
    return QueryResult(columns, cursor.fetchall())


def literal(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def _holder(error: duckdb.Error) -> str | None:
    """Who has the file open, None where that is not what is wrong."""
    if "different configuration" in str(error):
        return f"this process itself ({os.getpid()}), which has it open elsewhere"
    if "Could not set lock" not in str(error):
        return None
    found = re.search(r"held in (.+?) \(PID (\d+)\)", str(error))
    return f"process {found[2]} ({found[1]})" if found else "another program"


def the_select(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    """The one statement of a text, which only reads.

    Raises:
        UsageError: there is none, there are several, or it would do something else.
    """
    found = connection.extract_statements(sql)
    check_one_statement(len(found))
    (statement,) = found
    kind = statement.type.name
    if kind not in _READ_ONLY:
        raise UsageError(NOT_A_SELECT.format(kind=kind))
    return statement


def _one_line(error: duckdb.Error) -> str:
    return str(error).strip().splitlines()[0]


_READ_ONLY = ("SELECT", "EXPLAIN", "MULTI")
"""Kinds of statements that read: also FROM, VALUES, DESCRIBE, SHOW, SUMMARIZE; MULTI is PIVOT."""

_IMPOSSIBLE = frozenset("?\\")
"""Characters that DuckDB loses on its way from a database's path to that of its log."""

_GOOGLE_TYPES = {
    "VARCHAR": "STRING",
    "BIGINT": "INT64",
    "DOUBLE": "FLOAT64",
    "BLOB": "BYTES",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
}


def _google_type(type_: str) -> str:
    """A scalar or list of a type of ours in GoogleSQL's words, any other type as DuckDB says."""
    if type_.endswith("[]"):
        return f"ARRAY<{_google_type(type_[:-2])}>"
    if type_.startswith("STRUCT("):
        fields = re.findall(r'"?(\w+)"? (\w+)', type_[len("STRUCT(") : -1])
        return f"STRUCT<{', '.join(f'`{name}` {_google_type(kind)}' for name, kind in fields)}>"
    return _GOOGLE_TYPES.get(type_, type_)


def _no_rows(schema: "pa.Schema") -> str:
    from beam_jobs.warehouse import ddl

    columns = ", ".join(
        f"CAST(NULL AS {ddl.google_type(field.type)}) AS {ddl.quoted(field.name)}"
        for field in schema
    )
    return ddl.for_duckdb(f"SELECT {columns} FROM (SELECT 1) AS nothing WHERE FALSE")[0]
