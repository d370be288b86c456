"""How a run ended, as the line that alert policies match on.

templates/terraform/alerts.tf looks for texts of this line; a test holds the two together.
"""

import json
import logging
from collections.abc import Sequence
from typing import Any

from beam_jobs.runs.summary import RunOutcome, RunSummary

EVENT = "beam_jobs_run"
"""In every such line, and in no other."""

REASONS_SHOWN = 20
REASON_CHARACTERS = 500

LEVELS = {RunOutcome.HELD: logging.WARNING, RunOutcome.FAILED: logging.ERROR}
"""Of an outcome; of the others INFO, or WARNING where request files were set aside."""


def level(summary: RunSummary) -> int:
    """Of `logging`: what Cloud Logging shows as the severity."""
    return LEVELS.get(summary.outcome, logging.WARNING if set_aside(summary) else logging.INFO)


def set_aside(summary: RunSummary) -> Sequence[str]:
    """A sentence for each request file that was set aside."""
    return () if summary.left_out is None else summary.left_out.unreadable


def address(summary: RunSummary) -> str | None:
    """Of the run's page, or of its folder where there is none."""
    return summary.report or summary.run_folder


def sentence(summary: RunSummary) -> str:
    """For a person."""
    job = summary.job.value if summary.job else ""
    period = summary.period.isoformat() if summary.period else ""
    what = " ".join(filter(None, ["beam-jobs", job, period, summary.outcome.value]))
    if summary.error:
        return f"{what}: {_cut(summary.error)}"
    rows = f"{summary.rows.scored:,} of {summary.rows.read:,} rows scored"
    files = len(set_aside(summary))
    left = f", {files} request files set aside" if files else ""
    return f"{what}: {rows}, {len(summary.anomalies)} anomalies{left}"


def event_of(summary: RunSummary) -> dict[str, Any]:
    """What the line and a generic webhook hold; texts are cut, so that it stays small."""
    files = set_aside(summary)
    return {
        "event": EVENT,
        "severity": logging.getLevelName(level(summary)),
        "message": sentence(summary),
        "run_id": summary.run_id,
        "job": summary.job and summary.job.value,
        "period": summary.period and summary.period.isoformat(),
        "status": summary.outcome.value,
        "rows": summary.rows._asdict(),
        "anomalies": len(summary.anomalies),
        "hold_reasons": _first(summary.hold_reasons),
        "overruled": _first(summary.overruled),
        **({"unreadable": _first(files)} if files else {}),
        "report": address(summary),
        "error": summary.error and _cut(summary.error),
        "seconds": summary.seconds,
    }


def line(summary: RunSummary) -> str:
    """JSON on one line, ASCII, without blanks between its parts: filters look for these."""
    return json.dumps(event_of(summary), separators=(",", ":"))


def _first(reasons: Sequence[str]) -> list[str]:
    first = [_cut(reason) for reason in reasons[:REASONS_SHOWN]]
    more = len(reasons) - len(first)
    return [*first, f"and {more} more"] if more else first


def _cut(text: str) -> str:
    return text if len(text) <= REASON_CHARACTERS else text[: REASON_CHARACTERS - 3] + "..."
