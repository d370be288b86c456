"""Summaries of runs, as terminal, alerts and tables take them."""

import dataclasses
import datetime
from typing import Any

from beam_jobs.monitoring.anomaly import Anomaly
from beam_jobs.monitoring.policy import Kind, Severity
from beam_jobs.runs.run_row import Job, RowCounts
from beam_jobs.runs.summary import RunOutcome, RunSummary


def anomaly(severity: str, kind: str, feature: str, short: str, **others: Any) -> Anomaly:
    """An anomaly in a few words."""
    return Anomaly(
        kind=Kind(kind),
        code=others.pop("code", "CODE"),
        severity=Severity(severity),
        short_description=short,
        description=f"{short}.",
        feature=feature,
        **others,
    )


SUMMARY = RunSummary(
    job=Job.MONTHLY,
    outcome=RunOutcome.HELD,
    run_id="3f2c9a1b5d7e8f60",
    period=datetime.date(2026, 10, 1),
    run_folder="gs://b/runs/monthly/2026-10/3f2c9a1b5d7e8f60",
    rows=RowCounts(10, 9, 1),
    anomalies=(
        anomaly("HOLD", "DRIFT", "site", "site moved"),
        anomaly("WARN", "SKEW", "site", "site moved"),
    ),
    hold_reasons=("DRIFT site: \u2603 moved",),
    seconds=12.5,
)


def summary(**others: Any) -> RunSummary:
    """`SUMMARY` with other fields."""
    return dataclasses.replace(SUMMARY, **others)
