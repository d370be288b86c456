"""What came of a run: written and read here, taken by the terminal, `--json`, alerts and pages."""

import dataclasses
import datetime
import enum
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from beam_jobs import storage
from beam_jobs.batch import Reason
from beam_jobs.monitoring.anomaly import Anomaly
from beam_jobs.monitoring.policy import Kind, Severity
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import Job, RowCounts
from beam_jobs.warehouse.tables import own_schema


class RunOutcome(str, enum.Enum):
    """How a command that runs a job has ended; `status` in `--json` and in summary.json."""

    PUBLISHED = "PUBLISHED"
    HELD = "HELD"
    UNCHANGED = "UNCHANGED"
    """Nothing was to do: this very run was done before, or no request file waits."""
    SUBMITTED = "SUBMITTED"
    """Dataflow goes on without this process."""
    TAKEN = "TAKEN"
    """A queue run that left no trace: others have its request files, or all have changed."""
    FAILED = "FAILED"


class Example(NamedTuple):
    """A finding: the feature, None where it is the record as a whole, and the detail."""

    feature: str | None
    detail: str

    @property
    def text(self) -> str:
        """As people read it, beside its reason."""
        return self.detail if self.feature is None else f"{self.feature}: {self.detail}"


class LeftOut(NamedTuple):
    """Request files that a queue run did not answer, a sentence each.

    Attributes:
        unreadable: set aside, because they cannot be read to their end.
        changed: replaced or removed since they were planned; left for the next run.
    """

    unreadable: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


NO_ROWS = RowCounts()


class ScoreFigures(NamedTuple):
    """Of the scores of a run."""

    mean: float
    min: float
    max: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What came of a run.

    Attributes:
        job: None where a launcher does not know which.
        outcome: how it ended.
        run_id: None where planning failed, or nothing was to do; so `period` and `run_folder`.
        period: first day of the month, or the day of a queue run.
        run_folder: where its files are.
        rows: read, scored, quarantined.
        reasons: {reason: quarantined rows that have it}.
        flags: {reason: scored rows that have it}.
        examples: {reason: one of its findings}.
        anomalies: the worst first.
        score: None where nothing was scored.
        hold_reasons: why it waits for approval.
        overruled: why it would, had the gate not been told to publish.
        left_out: None but for queue runs that read something.
        notes: sentences on what the run did not do or could not know.
        report: address of its page.
        started_at: when it was planned.
        seconds: from the plan to the end of publishing.
        stages: {stage: seconds of it}.
        job_id: of Dataflow, where it was submitted; empty where only a description was written.
        error: why it failed.
        taken: why a TAKEN run left no trace.
    """

    job: Job | None
    outcome: RunOutcome
    run_id: str | None = None
    period: datetime.date | None = None
    run_folder: str | None = None
    rows: RowCounts = NO_ROWS
    reasons: Mapping[Reason, int] = dataclasses.field(default_factory=dict)
    flags: Mapping[Reason, int] = dataclasses.field(default_factory=dict)
    examples: Mapping[Reason, Example] = dataclasses.field(default_factory=dict)
    anomalies: tuple[Anomaly, ...] = ()
    score: ScoreFigures | None = None
    hold_reasons: tuple[str, ...] = ()
    overruled: tuple[str, ...] = ()
    left_out: LeftOut | None = None
    notes: tuple[str, ...] = ()
    report: str | None = None
    started_at: datetime.datetime | None = None
    seconds: float = 0.0
    stages: Mapping[str, float] = dataclasses.field(default_factory=dict)
    job_id: str | None = None
    error: str | None = None
    taken: str | None = None

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        found = {
            "run_id": self.run_id,
            "job": self.job and self.job.value,
            "period": self.period and self.period.isoformat(),
            "status": self.outcome.value,
            "rows": self.rows._asdict(),
            "anomalies": len(self.anomalies),
            "hold_reasons": list(self.hold_reasons),
            "report": self.report,
            "run_folder": self.run_folder,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }
        if self.left_out is not None:
            found |= _lists(self.left_out)
        if self.outcome is RunOutcome.SUBMITTED:
            found["job_id"] = self.job_id
        if self.error is not None:
            found["error"] = self.error
        return found

    def document(self) -> dict[str, Any]:
        """What summary.json holds."""
        return self.to_json() | {
            "overruled": list(self.overruled),
            "reasons": {reason.value: rows for reason, rows in self.reasons.items()},
            "flags": {reason.value: rows for reason, rows in self.flags.items()},
            "examples": {reason.value: one._asdict() for reason, one in self.examples.items()},
            "anomalies": [_row_of(anomaly) for anomaly in self.anomalies],
            "score": self.score and self.score._asdict(),
            "started_at": self.started_at and self.started_at.isoformat(),
            "stages": dict(self.stages),
            "taken": self.taken,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "RunSummary":
        """From what `document` gives.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        started_at, score = document["started_at"], document["score"]
        return cls(
            job=Job(document["job"]),
            outcome=RunOutcome(document["status"]),
            run_id=document["run_id"],
            period=datetime.date.fromisoformat(document["period"]),
            run_folder=document["run_folder"],
            rows=RowCounts(**document["rows"]),
            reasons=_counts(document["reasons"]),
            flags=_counts(document["flags"]),
            examples={
                Reason(reason): Example(**one)
                for reason, one in document["examples"].items()
                if isinstance(one, dict)  # earlier versions wrote texts
            },
            anomalies=tuple(map(_anomaly_of, document["anomalies"])),
            score=ScoreFigures(**score) if score else None,
            hold_reasons=tuple(document["hold_reasons"]),
            overruled=tuple(document["overruled"]),
            left_out=LeftOut(tuple(document["unreadable"]), tuple(document["changed"]))
            if "unreadable" in document
            else None,
            notes=tuple(document.get("notes", ())),
            report=document["report"],
            started_at=started_at and datetime.datetime.fromisoformat(started_at),
            seconds=document["seconds"],
            stages=document.get("stages", {}),
            taken=document.get("taken"),
        )


def write_summary(folder: RunFolder, summary: RunSummary) -> None:
    """Writes summary.json.

    Raises:
        RunError: it cannot be written.
    """
    folder.write(folder.summary, json.dumps(summary.document(), indent=2).encode())


def read_summary(folder: RunFolder) -> RunSummary | None:
    """The run's summary; None where there is none, or none that this version can read."""
    try:
        return RunSummary.from_document(json.loads(storage.read_bytes(folder.summary)))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _lists(left_out: LeftOut) -> dict[str, list[str]]:
    return {"unreadable": list(left_out.unreadable), "changed": list(left_out.changed)}


def _counts(rows: Mapping[str, int]) -> dict[Reason, int]:
    return {Reason(reason): count for reason, count in rows.items()}


def _row_of(anomaly: Anomaly) -> dict[str, Any]:
    """The anomaly as a row of the table `anomalies`, without the run's own columns."""
    values = {name: getattr(anomaly, name) for name in own_schema("anomalies").names}
    return {name: getattr(value, "value", value) for name, value in values.items()}


def _anomaly_of(row: Mapping[str, Any]) -> Anomaly:
    values = {name: row[name] for name in own_schema("anomalies").names}
    return Anomaly(**values | {"kind": Kind(row["kind"]), "severity": Severity(row["severity"])})
