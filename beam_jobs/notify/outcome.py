"""How a run ended, as the line that alert policies match on.

templates/terraform/alerts.tf looks for texts of this line; tests/template/test_alerts.py holds the
two together.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

EVENT = "beam_jobs_run"
"""In every such line, and in no other."""

REASONS_SHOWN = 20
REASON_CHARACTERS = 500

SEVERITIES = {"HELD": logging.WARNING, "FAILED": logging.ERROR}
"""Of a status; of the others INFO, or WARNING where request files were set aside."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        job: `monthly` or `requests`.
        status: as in the table `runs`, or UNCHANGED where nothing was to do.
        run_id: none where planning failed.
        period: first day of the month, or the day; none where planning failed.
        rows: read, scored, quarantined.
        anomalies: how many.
        hold_reasons: why it is held.
        overruled: why it would have been held.
        unreadable: a sentence for each request file that was set aside.
        report: address of the report, of the run folder where there is none.
        error: of a run that failed.
        seconds: it took.
    """

    job: str
    status: str
    run_id: str | None = None
    period: str | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    anomalies: int = 0
    hold_reasons: tuple[str, ...] = ()
    overruled: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    report: str | None = None
    error: str | None = None
    seconds: float = 0.0

    @classmethod
    def of_summary(cls, summary: Mapping[str, Any], error: str | None = None) -> "Outcome":
        """From summary.json, or from what `--json` prints."""
        found = summary["anomalies"]
        return cls(
            job=summary["job"],
            status=summary["status"],
            run_id=summary["run_id"],
            period=summary["period"],
            rows=dict(summary["rows"]),
            anomalies=found if isinstance(found, int) else len(found),
            hold_reasons=tuple(summary["hold_reasons"]),
            overruled=tuple(summary.get("overruled", ())),
            unreadable=tuple(summary.get("unreadable", ())),
            report=summary["report"] or summary["run_folder"],
            error=error,
            seconds=summary["seconds"],
        )

    @property
    def level(self) -> int:
        """Of `logging`: what Cloud Logging shows as the severity."""
        usual = logging.WARNING if self.unreadable else logging.INFO
        return SEVERITIES.get(self.status, usual)

    @property
    def sentence(self) -> str:
        """For a person."""
        what = " ".join(filter(None, ["beam-jobs", self.job, self.period, self.status]))
        if self.error:
            return f"{what}: {_cut(self.error)}"
        rows = f"{self.rows.get('scored', 0):,} of {self.rows.get('read', 0):,} rows scored"
        left = f", {len(self.unreadable)} request files set aside" if self.unreadable else ""
        return f"{what}: {rows}, {self.anomalies} anomalies{left}"

    def to_json(self) -> dict[str, Any]:
        """What the line and a generic webhook hold; texts are cut, so that it stays small."""
        return {
            "event": EVENT,
            "severity": logging.getLevelName(self.level),
            "message": self.sentence,
            "run_id": self.run_id,
            "job": self.job,
            "period": self.period,
            "status": self.status,
            "rows": dict(self.rows),
            "anomalies": self.anomalies,
            "hold_reasons": _shown(self.hold_reasons),
            "overruled": _shown(self.overruled),
            **({"unreadable": _shown(self.unreadable)} if self.unreadable else {}),
            "report": self.report,
            "error": self.error and _cut(self.error),
            "seconds": self.seconds,
        }

    def line(self) -> str:
        """JSON on one line, ASCII, without blanks between its parts: filters look for these."""
        return json.dumps(self.to_json(), separators=(",", ":"))


def _shown(reasons: tuple[str, ...]) -> list[str]:
    shown = [_cut(reason) for reason in reasons[:REASONS_SHOWN]]
    more = len(reasons) - len(shown)
    return [*shown, f"and {more} more"] if more else shown


def _cut(text: str) -> str:
    return text if len(text) <= REASON_CHARACTERS else text[: REASON_CHARACTERS - 3] + "..."
