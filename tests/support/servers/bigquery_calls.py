"""Calls to BigQuery as the proxy sees them, and the faults it makes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlglot


@dataclass
class Call:
    """One request of a client; `body` is the JSON, or empty."""

    method: str
    path: str
    body: dict[str, Any]

    @property
    def job_id(self) -> str:
        found: str = self.body.get("jobReference", {}).get("jobId", "")
        return found

    @property
    def sql(self) -> str:
        found: str = self.body.get("configuration", {}).get("query", {}).get("query", "")
        return found

    @property
    def is_dry_run(self) -> bool:
        return bool(self.body.get("configuration", {}).get("dryRun"))

    @property
    def is_job(self) -> bool:
        """Whether it starts a job."""
        return self.method == "POST" and self.path.split("?")[0].endswith("/jobs")

    @property
    def is_load(self) -> bool:
        return self.is_job and "load" in self.body.get("configuration", {})

    @property
    def is_transaction(self) -> bool:
        return "BEGIN TRANSACTION" in self.sql and not self.is_dry_run


@dataclass
class Fault:
    """What goes wrong, `times` times, with the calls that `where` picks.

    Attributes:
        status: of the answer; with 200 the call begins a job, and the job fails.
        lost: the call reached the server and did its work; only the answer is an error.
    """

    where: Callable[[Call], bool]
    status: int
    reason: str
    message: str
    times: int = 1
    lost: bool = False


def statements(sql: str) -> list[Any]:
    try:
        return sqlglot.parse(sql, read="bigquery")
    except sqlglot.errors.ParseError:  # the emulator says so, too
        return [None]
