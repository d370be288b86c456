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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from beam_jobs import storage
from beam_jobs.errors import BusyError, RunError, UsageError
from beam_jobs.publish.engine import QueryResult

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

_WRITER_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": "256MB",  # publishing must not grow with the rows; beyond it, DuckDB spills
    "preserve_insertion_order": "false",
}

_MACROS = ("CREATE OR REPLACE TEMPORARY MACRO farm_fingerprint(text) AS hash(text)",)
"""BigQuery's functions that DuckDB knows by another name."""

# In one process DuckDB refuses a reader beside a writer at once, so threads take turns here.
_TURN = threading.RLock()


class DuckDbEngine:
    """Engine of `duckdb:PATH`; see `engine.Engine`."""

    def __init__(self, path: str) -> None:
        """Args:
        path: of the file, which need not exist yet.
        """
        self.path = os.path.abspath(path)
        self.url = f"duckdb:{path}"

    def check(self) -> None:
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

    def columns(self) -> dict[str, dict[str, str]]:
        if not os.path.exists(self.path):
            return {}
        with self._reading() as connection:
            return DuckDbSession(connection).columns()

    def has_table(self, name: str) -> bool:
        return name in self.columns()

    def query(self, sql: str) -> QueryResult:
        if not os.path.exists(self.path):
            raise UsageError(
                f"--warehouse {self.url}: does not exist yet; `beam-jobs monthly` makes it"
            )
        with self._reading() as connection:
            try:
                cursor = connection.execute(sql)
                columns = tuple(column[0] for column in cursor.description or ())
                return QueryResult(columns, cursor.fetchall())
            except duckdb.Error as error:
                raise UsageError(f"query: {error}") from error

    @contextlib.contextmanager
    def writing(self, files: Sequence[str] = ()) -> Iterator["DuckDbSession"]:
        with storage.fetched(files) as local, _TURN:
            self._make()
            connection = self._connect(read_only=False, wait=patience.write)
            try:
                with self._guard():
                    for macro in _MACROS:
                        connection.execute(macro)
                    yield DuckDbSession(connection, local)
            finally:
                with self._guard():
                    connection.close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with _TURN:
            connection = self._connect(read_only=True, wait=patience.read)
            with connection:
                yield connection

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise RunError(
                f"{self.url}: publishing failed ({_one_line(error)}); the warehouse is as it was;"
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
                    duckdb.connect(fresh).close()
                with contextlib.suppress(FileExistsError):  # another process was first
                    os.link(fresh, self.path)
        except OSError as error:
            raise UsageError(
                f"--warehouse {self.url}: cannot be made ({error.strerror}); make {folder} writable"
                " or choose another path"
            ) from error

    def _connect(self, read_only: bool, wait: float) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + wait
        pause = 0.02
        while True:
            try:
                return duckdb.connect(
                    self.path,
                    read_only=read_only,
                    config={} if read_only else _WRITER_SETTINGS,
                )
            except duckdb.Error as error:
                if not _is_locked(error):
                    raise UsageError(self._cannot_open(error)) from error
                if time.monotonic() >= deadline:
                    raise BusyError(self._locked(error, wait)) from error
            # Uneven pauses: several processes that wait must not try in step.
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 1.5, 0.5)

    def _locked(self, error: duckdb.Error, wait: float) -> str:
        holder = re.search(r"held in (.+?) \(PID (\d+)\)", str(error))
        who = f"process {holder[2]} ({holder[1]})" if holder else "another program"
        return (
            f"--warehouse {self.url}: locked by {who}, for {wait:g} s already; DuckDB lets one"
            " process write at a time: close it there, then run the command again"
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


class DuckDbSession:
    """An open file; see `engine.Session`."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, local: Mapping[str, str] | None = None
    ) -> None:
        """Args:
        connection: to the file.
        local: {file to be staged: its copy on this machine}.
        """
        self._connection, self._local = connection, local or {}

    def columns(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        rows = self._execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'main' ORDER BY ordinal_position"
        ).fetchall()
        for table, column, type_ in rows:
            found.setdefault(table, {})[column] = _google_type(type_)
        return found

    def fetch(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        cursor = self._run(sql, parameters)
        columns = tuple(column[0] for column in cursor.description)
        return QueryResult(columns, cursor.fetchall()).records()

    def run(self, sql: str, parameters: Mapping[str, Any]) -> None:
        self._run(sql, parameters)

    def define(self, statements: Sequence[str]) -> None:
        # A view of `SELECT *` fails while its table has other columns: both change at once.
        self._run("BEGIN TRANSACTION;" + ";".join(statements) + ";COMMIT TRANSACTION", {})

    def stage(self, table: str, run_id: str, uris: Sequence[str], schema: "pa.Schema") -> str:
        # A view on the files: rows are copied once, and nothing is left behind by a crash.
        name = f"staged_{table}_{run_id}"
        if uris:
            paths = [self._local.get(uri, uri) for uri in uris]
            files = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
            rows = f"SELECT * FROM read_parquet([{files}])"
        else:
            rows = _no_rows(schema)
        self._execute(f'CREATE OR REPLACE TEMPORARY VIEW "{name}" AS {rows}')
        return name

    def _run(self, sql: str, parameters: Mapping[str, Any]) -> duckdb.DuckDBPyConnection:
        from beam_jobs.publish import statements

        cursor = self._connection
        for text in statements.for_duckdb(sql):
            used = set(re.findall(r"\$(\w+)", text))
            cursor = self._execute(text, {name: parameters[name] for name in used})
        return cursor

    def _execute(
        self, sql: str, parameters: Mapping[str, Any] | None = None
    ) -> duckdb.DuckDBPyConnection:
        return self._connection.execute(sql, parameters or {})


def _is_locked(error: duckdb.Error) -> bool:
    return "Could not set lock" in str(error)


def _one_line(error: duckdb.Error) -> str:
    return str(error).strip().splitlines()[0]


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
    from beam_jobs.publish import statements

    columns = ", ".join(
        f"CAST(NULL AS {statements.google_type(field.type)}) AS {statements.quoted(field.name)}"
        for field in schema
    )
    return statements.for_duckdb(f"SELECT {columns} FROM (SELECT 1) AS nothing WHERE FALSE")[0]
