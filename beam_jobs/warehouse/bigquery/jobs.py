"""Jobs whose outcome is always known: what is lost on the way is asked for by its id.

Needs google-cloud-bigquery, which takes a second to import: only the BigQuery warehouse comes here.
"""

import datetime
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from beam_jobs.warehouse.bigquery.errors import CONFLICT, PASSING, reason_of
from beam_jobs.warehouse.bigquery.library import bigquery, google_errors

CALL_SECONDS = 600.0
"""How long one call is repeated while BigQuery is unreachable or overloaded."""

ATTEMPTS = 10
"""How often a job is started that fails for a passing reason or another transaction: 5 minutes."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds

Job = TypeVar("Job", bigquery.QueryJob, bigquery.LoadJob)


@dataclass(frozen=True)
class Dataset:
    """Where a warehouse lives, and the client that reaches it.

    Attributes:
        location: region of the data set; jobs are found by it. Empty before it is known.
        patience: seconds that one call is repeated.
    """

    client: bigquery.Client
    project: str
    name: str
    location: str = ""
    patience: float = CALL_SECONDS

    @property
    def id(self) -> str:
        """`project.name`."""
        return f"{self.project}.{self.name}"

    @property
    def retry(self) -> Any:
        """For one call: the library's own judgement of what passes, with our patience."""
        return bigquery.DEFAULT_RETRY.with_delay(
            initial=FIRST_PAUSE, maximum=LONGEST_PAUSE
        ).with_timeout(self.patience)

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        types: Mapping[str, str] | None = None,
    ) -> Any:
        """Runs a statement or script to its end; a script's transaction commits whole or not.

        A job that another transaction aborted, or that failed for a passing reason, had no effect
        (BigQuery rolls back by itself) and is started again.

        Args:
            sql: GoogleSQL.
            parameters: {name: value} for `@name`.
            types: {name: GoogleSQL type} of those whose value does not tell it.

        Returns:
            The rows (of a script: of its last statement), a google.cloud.bigquery RowIterator.

        Raises:
            google.api_core.exceptions.GoogleAPICallError: the last failure.
        """
        config = self.config(sql, parameters or {}, types or {})
        for pause in pauses():
            job = self._submit(sql, config)
            try:
                return job.result(retry=self.retry, job_retry=None)
            except google_errors.GoogleAPICallError as error:
                if pause is None or not is_passing(error):
                    raise
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def config(
        self, sql: str, parameters: Mapping[str, Any], types: Mapping[str, str]
    ) -> bigquery.QueryJobConfig:
        """The configuration of a query with parameters."""
        used = set(re.findall(r"@(\w+)", sql))
        return bigquery.QueryJobConfig(
            default_dataset=self.id,
            query_parameters=[
                _parameter(n, v, types.get(n) or _type_of(v))
                for n, v in parameters.items()
                if n in used
            ],
        )

    def _submit(self, sql: str, config: bigquery.QueryJobConfig) -> bigquery.QueryJob:
        def begin(job_id: str) -> bigquery.QueryJob:
            return self.client.query(
                sql,
                config,
                job_id=job_id,
                location=self.location or None,
                retry=self.retry,
                job_retry=None,
            )

        _, job = self.known(f"beam-jobs-{uuid.uuid4().hex}", begin)
        assert job is not None, "nobody else has a job of that name"
        return job

    def known(self, job_id: str, begin: Callable[[str], Job]) -> tuple[bool, Job | None]:
        """(whether it was there already, the job of that id).

        It may have been begun by an earlier process, or by a call whose answer got lost. None for
        a job of another account, which only that account and administrators may see.
        """
        try:
            return False, begin(job_id)
        except google_errors.Conflict:  # 409: there is a job of that id
            try:
                job: Any = self.client.get_job(
                    job_id, project=self.project, location=self._region(), retry=self.retry
                )
            except google_errors.Forbidden:
                return True, None
            return True, job

    def _region(self) -> str:
        """Jobs outside the multi-regions US and EU are found by their location alone.

        https://cloud.google.com/bigquery/docs/locations#specify_locations
        """
        found: str = self.location or self.client.get_dataset(self.id, retry=self.retry).location
        return found


def pauses() -> Iterator[float | None]:
    """Seconds to wait after each failed attempt; None after the last.

    Uneven, so that transactions that met once do not meet again.
    """
    limit = FIRST_PAUSE
    for _ in range(ATTEMPTS - 1):
        yield random.uniform(limit / 4, limit)
        limit = min(limit * 2, LONGEST_PAUSE)
    yield None


def is_passing(error: google_errors.GoogleAPICallError) -> bool:
    """Whether a failed job is worth another attempt."""
    return reason_of(error) in PASSING or bool(CONFLICT.search(str(error)))


def outcome(dataset: Dataset, job: Job) -> google_errors.GoogleAPICallError | None:
    """Waits for a job; its failure, None where it succeeded.

    Raises:
        GoogleAPIError: BigQuery cannot be reached, so nobody knows.
    """
    try:
        job.result(retry=dataset.retry)
    except google_errors.GoogleAPICallError as error:
        if job.error_result is None:
            raise
        return error
    return None


_TYPES = {
    str: "STRING",
    bool: "BOOL",
    int: "INT64",
    float: "FLOAT64",
    datetime.date: "DATE",
    datetime.datetime: "TIMESTAMP",
    list: "ARRAY<STRING>",
}


def _type_of(value: Any) -> str:
    """The GoogleSQL type of a value that is no null; a list holds texts."""
    return _TYPES[type(value)]


def _parameter(name: str, value: Any, type_: str) -> Any:
    """A typed parameter: a null has no type of its own."""
    if type_.startswith("ARRAY<"):
        return bigquery.ArrayQueryParameter(name, type_[len("ARRAY<") : -1], value)
    if isinstance(value, datetime.datetime):
        value = value.astimezone(datetime.UTC)
    return bigquery.ScalarQueryParameter(name, type_, value)
