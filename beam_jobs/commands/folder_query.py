"""SQL over one run's folder: also of a held, superseded or rejected run, whatever the warehouse is.

The dialect is DuckDB's, in memory: the run's Parquet files are its tables, and nothing else can be
read or written.
"""

import duckdb

from beam_jobs import storage
from beam_jobs.errors import UsageError
from beam_jobs.runs.folder import RUN_TABLES, RunFolder
from beam_jobs.runs.parts import PartTable
from beam_jobs.runs.run_row import RunRow
from beam_jobs.warehouse.duckdb import DuckDbSession, literal, result_of, the_select
from beam_jobs.warehouse.engine import QueryResult
from beam_jobs.warehouse.tables import arrow_schema


def query_run(run: RunRow, sql: str) -> QueryResult:
    """Answers one SELECT over a run's `scores`, `quarantine` and small tables.

    Files in Cloud Storage are copied to this machine for the time of the query.

    Raises:
        UsageError: the run's folder is gone or incomplete, or the query cannot be answered.
        RunError: a file cannot be read.
    """
    folder = RunFolder(run.run_folder)
    manifest = folder.read_manifest()
    files = {table.value: manifest.uris(table) for table in PartTable}
    files |= {name: [folder.table(name)] for name in RUN_TABLES}
    with (
        storage.fetched([uri for uris in files.values() for uri in uris]) as local,
        duckdb.connect(":memory:") as connection,
    ):
        session = DuckDbSession(connection, local)
        try:
            for table, uris in files.items():
                schema = arrow_schema(table)
                staged = session.stage(table, run.run_id, uris, schema)
                connection.execute(f'CREATE VIEW "{table}" AS SELECT * FROM "{staged}"')
            _lock(connection, list(local.values()))
        except duckdb.Error as error:
            raise UsageError(f"run folder {folder.path}: cannot be read ({error})") from error
        return _answer(connection, sql)


def _lock(connection: duckdb.DuckDBPyConnection, paths: list[str]) -> None:
    """From here on only these files can be read, and nothing can be written."""
    allowed = ", ".join(map(literal, paths))
    for setting in (
        f"allowed_paths = [{allowed}]",
        "enable_external_access = false",
        "python_enable_replacements = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")


def _answer(connection: duckdb.DuckDBPyConnection, sql: str) -> QueryResult:
    try:
        return result_of(connection.execute(the_select(connection, sql)))
    except duckdb.Error as error:
        raise UsageError(f"query: {error}") from error
