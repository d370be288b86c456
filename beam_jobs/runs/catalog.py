"""The runs in a warehouse, as readers see them. Writing is in `publish`.

Light on purpose: verbs that only look answer in under a second.
"""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from beam_jobs.errors import UsageError
from beam_jobs.runs.publications import Publication
from beam_jobs.runs.run_row import Job, RunRow, RunStatus, checked_run_id
from beam_jobs.warehouse.engine import Engine, QueryResult
from beam_jobs.warehouse.url import engine_of

RECENT = datetime.timedelta(days=92)
"""How far back a round of the queue looks for published runs: the bound of what BigQuery reads."""

_PAGE = 10  # runs that are asked for at first where nobody knows how many are needed


class RunCatalog:
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
        """Of the warehouse."""
        return self.engine.url

    def check(self) -> None:
        """Finds before any work what would stop publishing: locked, corrupt, not writable."""
        self.engine.check()

    def query(self, sql: str) -> QueryResult:
        """Answers SQL in the warehouse's own dialect; nothing can be changed."""
        return self.engine.query(sql)

    def runs(
        self,
        *,
        job: Job | None = None,
        period: datetime.date | None = None,
        status: RunStatus | None = None,
    ) -> list[RunRow]:
        """Runs, the latest period first, and in a period the latest run.

        Args:
            job: those of one job only.
            period: those of one period only; BigQuery then reads one partition.
            status: those with it only.
        """
        wanted = {
            "job": job and job.value,
            "period": period,
            "status": status and status.value,
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        bounds = [f"{name} = @{name}" for name in given]
        return self._runs(bounds, given, "period DESC, started_at DESC, run_id DESC")

    def _runs(
        self, bounds: Sequence[str], parameters: Mapping[str, Any], order: str, limit: int = 0
    ) -> list[RunRow]:
        """Lines of `runs` for which all bounds hold; a warehouse of earlier code lacks columns."""
        where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
        most = f" LIMIT {limit}" if limit else ""
        found = self.engine.fetch(f"SELECT * FROM runs{where} ORDER BY {order}{most}", parameters)
        return [RunRow.from_record(record) for record in found]

    def run_of(self, job: Job, period: datetime.date, run_id: str) -> RunRow | None:
        """The line of exactly this run, None where it never ended."""
        bounds = ("period = @period", "job = @job", "run_id = @run_id")
        parameters = {"period": period, "job": job.value, "run_id": run_id}
        return next(iter(self._runs(bounds, parameters, "run_id", 1)), None)

    def run_with_id(self, run_id: str) -> RunRow | None:
        """The same where nobody says of which job and period."""
        found = self._runs(("run_id = @run_id",), {"run_id": run_id}, "run_id", 1)
        return next(iter(found), None)

    def find_run(self, run_id: str) -> RunRow:
        """The run of that id, or of the only id that begins so.

        Raises:
            UsageError: there is no such run, or several.
        """
        checked_run_id(run_id)
        begins = self._runs(("STARTS_WITH(run_id, @run_id)",), {"run_id": run_id}, "run_id")
        found = [run for run in begins if run.run_id == run_id] or begins
        if len(found) == 1:
            return found[0]
        problem = f"{len(found)} runs begin so" if found else "there is no such run"
        raise UsageError(f"run {run_id}: {problem} in {self.url}; `beam-jobs runs` lists them")

    def latest_published(self, job: str, period: datetime.date) -> RunRow | None:
        """The run that is the period now, None where nothing was published."""
        found = self.runs(job=Job(job), period=period, status=RunStatus.PUBLISHED)
        return found[0] if found else None

    def last_published(
        self, job: Job, since: datetime.date | None, limit: int, *, with_rows: bool = False
    ) -> list[RunRow]:
        """Published runs, the one that was published last first.

        Args:
            job: which one's.
            since: those of this period and later ones only; BigQuery then reads their partitions.
            limit: at most so many.
            with_rows: those that read a row only.
        """
        bounds = ["job = @job", "status = @status", *(["rows_read > 0"] if with_rows else [])]
        parameters: dict[str, Any] = {"job": job.value, "status": RunStatus.PUBLISHED.value}
        if since is not None:
            bounds.append("period >= @since")
            parameters["since"] = since
        return self._runs(bounds, parameters, "finished_at DESC, run_id DESC", limit)

    def each_published(self, job: Job, since: datetime.date) -> Iterator[RunRow]:
        """The same, asked for as far as somebody takes them; one that was given may come again."""
        limit, given = _PAGE, 0
        while True:
            page = self.last_published(job, since, limit)
            yield from page[given:]
            if len(page) < limit:
                return
            limit, given = limit * 10, len(page)

    def latest_run(self) -> RunRow | None:
        """The run that started last and did not fail."""
        failed = {"failed": RunStatus.FAILED.value}
        order = "started_at DESC, run_id DESC"
        return next(iter(self._runs(("status <> @failed",), failed, order, 1)), None)

    def publications(self, job: str, period: datetime.date) -> list[Publication]:
        """What was decided about a period's runs, in that order."""
        found = self.engine.fetch(
            "SELECT * FROM publications WHERE period = @period AND job = @job",
            {"period": period, "job": job},
        )
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
        found = self.engine.fetch(
            "SELECT * FROM anomalies WHERE period = @period AND job = @job AND run_id = @run_id",
            {"period": run.period, "job": run.job, "run_id": run.run_id},
        )
        order = {"HOLD": 0, "WARN": 1, "INFO": 2}
        found.sort(key=lambda a: (order[a["severity"]], a["slice"], a["feature"], a["code"]))
        return run, found


def open_catalog(url: str) -> RunCatalog:
    """The runs in the warehouse of a URL; nothing is opened or made yet.

    Raises:
        UsageError: the URL is of no known kind.
    """
    return RunCatalog(engine_of(url))
