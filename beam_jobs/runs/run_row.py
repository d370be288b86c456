"""A run as the warehouse knows it: identity, status and its line in `runs`.

Light on purpose (no Arrow, no TensorFlow): verbs that only look answer in under a second.
"""

import dataclasses
import datetime
import enum
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from beam_jobs.errors import UsageError


class Job(str, enum.Enum):
    """The jobs, as in the column `job`."""

    MONTHLY = "monthly"
    REQUESTS = "requests"

    @property
    def replaces_period(self) -> bool:
        """Whether publishing a run replaces its period's published run.

        A month has one published run; a day of the queue has many, each with request files of
        its own, which the ledger (the table `inputs`) keeps from being answered twice.
        """
        return self is Job.MONTHLY


class RunStatus(str, enum.Enum):
    """What became of a run.

    A month has at most one PUBLISHED run; SUPERSEDED runs were published before it. Of the queue
    job, SUPERSEDED runs were held until `--force` gave their request files to another run.
    REJECTED runs were held until somebody decided against them.
    """

    PUBLISHED = "PUBLISHED"
    HELD = "HELD"
    SUPERSEDED = "SUPERSEDED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"


class RowCounts(NamedTuple):
    """Rows of a run: read = scored + quarantined."""

    read: int = 0
    scored: int = 0
    quarantined: int = 0


@dataclasses.dataclass(frozen=True)
class RunIdentity:
    """What every row of a run carries.

    Attributes:
        run_id: hash of everything that decides the result; letters, digits, `_` and `-`.
        job: `monthly` or `requests`.
        period: first day of the month, or the day of a queue run.
        model_version: version that scores the rows.
    """

    run_id: str
    job: str
    period: datetime.date
    model_version: str


@dataclasses.dataclass(frozen=True)
class RunRow:
    """A line of the table `runs`; the fields are its columns."""

    run_id: str
    job: str
    period: datetime.date
    status: RunStatus
    started_at: datetime.datetime
    finished_at: datetime.datetime
    rows_read: int
    rows_scored: int
    rows_quarantined: int
    error: str | None = dataclasses.field(default=None, kw_only=True)
    model: str
    model_version: str
    schema_fingerprint: str
    baseline: str | None
    previous_run_id: str | None
    code_version: str
    run_folder: str
    hold_reasons: tuple[str, ...] = ()

    @property
    def rows(self) -> RowCounts:
        """The run's rows."""
        return RowCounts(self.rows_read, self.rows_scored, self.rows_quarantined)

    @property
    def quarantined_share(self) -> float | None:
        """Of the rows that were read; None where none was."""
        return self.rows_quarantined / self.rows_read if self.rows_read else None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "RunRow":
        """From a row of the warehouse, or from `to_json`; later columns may be missing."""
        values = {
            field.name: record[field.name]
            for field in dataclasses.fields(cls)
            if field.name in record or field.default is dataclasses.MISSING
        }
        for name in ("started_at", "finished_at"):
            if isinstance(values[name], str):
                values[name] = datetime.datetime.fromisoformat(values[name])
            values[name] = values[name].astimezone(datetime.UTC)
        if isinstance(values["period"], str):
            values["period"] = datetime.date.fromisoformat(values["period"])
        values["status"] = RunStatus(values["status"])
        values["hold_reasons"] = tuple(values.get("hold_reasons") or ())
        return cls(**values)

    def parameters(self) -> dict[str, Any]:
        """{column: value} as parameters of a statement."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return values | {"status": self.status.value, "hold_reasons": list(self.hold_reasons)}

    def to_json(self) -> dict[str, Any]:
        """The same with texts for dates and times, for a JSON file."""
        return {
            name: value.isoformat() if isinstance(value, datetime.date) else value
            for name, value in self.parameters().items()
        }

    def decided(self, status: RunStatus, at: datetime.datetime | None = None) -> "RunRow":
        """The line with another status, decided now unless a time is given."""
        when = at or datetime.datetime.now(datetime.UTC)
        return dataclasses.replace(self, status=status, finished_at=when)


RUN_COLUMNS = tuple(field.name for field in dataclasses.fields(RunRow))


def period_name(job: str, period: datetime.date) -> str:
    """Folder of a period: `2026-10` for a month, `2026-10-05` for a day of the queue."""
    return f"{period:%Y-%m}" if job == Job.MONTHLY.value else period.isoformat()


def checked_run_id(run_id: str) -> str:
    """The run id itself, safe in names of files, tables and load jobs.

    Raises:
        UsageError: it holds other characters than a run id can.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", run_id):
        raise UsageError(
            f"run {run_id!r}: not a run id (letters, digits, _ and -); `beam-jobs runs` lists them"
        )
    return run_id
