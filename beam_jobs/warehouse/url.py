"""The URL of a warehouse: `duckdb:PATH` or `bigquery:PROJECT.DATASET`."""

import os

from beam_jobs.errors import UsageError
from beam_jobs.warehouse.engine import Engine


def absolute_url(url: str) -> str:
    """The URL, a relative path in it against the current folder."""
    scheme, _, place = url.partition(":")
    return f"duckdb:{os.path.abspath(place)}" if scheme == "duckdb" and place else url


def engine_of(url: str) -> Engine:
    """The warehouse of a URL; nothing is opened or made yet.

    Raises:
        UsageError: the URL is of no known kind.
    """
    scheme, _, place = url.partition(":")
    if scheme == "duckdb" and place:
        if "://" in place:
            raise UsageError(f"--warehouse {url}: DuckDB needs a local file; use duckdb:PATH")
        from beam_jobs.warehouse.duckdb import DuckDbEngine

        return DuckDbEngine(place)
    if scheme == "bigquery" and place:
        from beam_jobs.warehouse.bigquery.engine import BigQueryEngine

        return BigQueryEngine(place)
    raise UsageError(
        f"--warehouse {url}: not a known kind; use duckdb:PATH (a local file) or"
        " bigquery:PROJECT.DATASET"
    )
