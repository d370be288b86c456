"""The warehouse as readers see it: runs, anomalies, queries. Writing is in `publishing`.

Light on purpose: verbs that only look answer in under a second.
"""

import datetime
import os
from collections.abc import Sequence
from typing import Any

from beam_jobs.errors import UsageError
from beam_jobs.publish.engine import Engine, QueryResult
from beam_jobs.publish.publications import Publication
from beam_jobs.publish.runs import RunRow, RunStatus, checked_run_id


class Warehouse:
    """What was published, held and found.

    A warehouse that does not exist yet has no runs. Every method may raise UsageError where the
    warehouse cannot be opened.

    Attributes:
        engine: opens the warehouse; `publishing` writes through it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def url(self) -> str:
        return self.engine.url

    def check(self) -> None:
        """Finds before any work what would stop publishing: locked, corrupt, not writable."""
        self.engine.check()

    def query(self, sql: str) -> QueryResult:
        """Answers SQL in the warehouse's own dialect; nothing can be changed."""
        return self.engine.query(sql)

    def runs(self) -> list[RunRow]:
        """All runs, the latest period first, and in a period the latest run."""
        if not self.engine.has_table("runs"):
            return []
        # Plain enough for every dialect, so that reading does without the translator; columns that
        # came with a later version may be missing.
        found = self.query("SELECT * FROM runs").records()
        rows = [RunRow.from_record(record) for record in found]
        return sorted(rows, key=lambda run: (run.period, run.started_at, run.run_id), reverse=True)

    def find_run(self, run_id: str) -> RunRow:
        """The run of that id, or of the only id that begins so.

        Raises:
            UsageError: there is no such run, or several.
        """
        checked_run_id(run_id)
        runs = self.runs()
        found = [run for run in runs if run.run_id == run_id] or [
            run for run in runs if run.run_id.startswith(run_id)
        ]
        if len(found) == 1:
            return found[0]
        problem = f"{len(found)} runs begin so" if found else "there is no such run"
        raise UsageError(f"run {run_id}: {problem} in {self.url}; `beam-jobs runs` lists them")

    def latest_published(self, job: str, period: datetime.date) -> RunRow | None:
        """The run that is the period now, None where nothing was published."""
        for run in self.runs():
            if (run.job, run.period, run.status) == (job, period, RunStatus.PUBLISHED):
                return run
        return None

    def latest_run(self) -> RunRow | None:
        """The run that started last and did not fail."""
        runs = [run for run in self.runs() if run.status is not RunStatus.FAILED]
        return max(runs, key=lambda run: run.started_at, default=None)

    def publications(self, job: str, period: datetime.date) -> list[Publication]:
        """What was decided about a period's runs, in that order."""
        if not self.engine.has_table("publications"):
            return []
        found = self.query(
            f"SELECT * FROM publications WHERE period = DATE '{period}' AND job = '{job}'"
        ).records()
        return sorted(map(Publication.from_record, found), key=lambda each: each.at)

    def anomalies(
        self, run_id: str | None = None
    ) -> tuple[RunRow | None, Sequence[dict[str, Any]]]:
        """(run, its anomalies as {column: value}), worst first.

        Args:
            run_id: as for `find_run`; None for the latest run that did not fail.
        """
        run = self.latest_run() if run_id is None else self.find_run(run_id)
        if run is None:
            return None, []
        found = self.query(
            f"SELECT * FROM anomalies WHERE period = DATE '{run.period}' AND job = '{run.job}'"
            f" AND run_id = '{run.run_id}'"
        ).records()
        order = {"HOLD": 0, "WARN": 1, "INFO": 2}
        found.sort(key=lambda a: (order[a["severity"]], a["slice"], a["feature"], a["code"]))
        return run, found


def absolute_url(url: str) -> str:
    """The URL, a relative path in it against the current folder."""
    scheme, _, place = url.partition(":")
    return f"duckdb:{os.path.abspath(place)}" if scheme == "duckdb" and place else url


def open_warehouse(url: str) -> Warehouse:
    """The warehouse of a URL; nothing is opened or made yet.

    Raises:
        UsageError: the URL is of no known kind.
    """
    scheme, _, place = url.partition(":")
    if scheme == "duckdb" and place:
        if "://" in place:
            raise UsageError(f"--warehouse {url}: DuckDB needs a local file; use duckdb:PATH")
        from beam_jobs.publish.duckdb_engine import DuckDbEngine

        return Warehouse(DuckDbEngine(place))
    if scheme == "bigquery" and place:
        from beam_jobs.publish.bigquery_engine import BigQueryEngine

        return Warehouse(BigQueryEngine(place))
    raise UsageError(
        f"--warehouse {url}: not a known kind; use duckdb:PATH (a local file) or"
        " bigquery:PROJECT.DATASET"
    )
