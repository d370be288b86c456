"""The verb `query`."""

import sys

from beam_jobs import storage, terminal
from beam_jobs.config.verbs import QueryConfig
from beam_jobs.errors import UsageError
from beam_jobs.runs.catalog import open_catalog


def run_query(config: QueryConfig, sql: str | None) -> int:
    """Prints the result of a query, in the warehouse or over one run's folder.

    Args:
        config: of the verb.
        sql: the query; `-` for standard input, None where a file is named.

    Returns:
        The exit code.

    Raises:
        UsageError: it cannot be read, or not be answered.
    """
    if config.csv and config.json:
        raise UsageError("query: --csv or --json, not both")
    text = _text_of(config, sql)
    catalog = open_catalog(config.warehouse)
    if config.run is None:
        found = catalog.query(text)
    else:
        from beam_jobs.commands.folder_query import query_run

        found = query_run(catalog.find_run(config.run), text)
    if config.csv:
        terminal.print_csv(found.columns, found.rows)
    else:
        terminal.print_table(found.columns, found.rows, config.json)
    return 0


def _text_of(config: QueryConfig, sql: str | None) -> str:
    if (sql is None) == (config.file is None):
        raise UsageError("query: give either SQL, or - for standard input, or --file FILE")
    if sql is not None and sql != "-":
        return sql
    source = "standard input" if config.file is None else f"--file {config.file}"
    try:
        if config.file is None:
            return sys.stdin.buffer.read().decode("utf-8-sig")
        return storage.read_bytes(config.file).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{source}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{source}: is not UTF-8 text") from error
