"""The line that ends a run."""

import json
import logging

import pytest

from beam_jobs.notify import announce, log_to_standard_error
from beam_jobs.notify.event import EVENT, level, line
from beam_jobs.runs.summary import RunOutcome
from support.summaries import SUMMARY, summary


def test_the_line_is_json_on_one_line_with_all_of_the_run() -> None:
    text = line(SUMMARY)
    assert text.isascii()
    assert "\n" not in text
    found = json.loads(text)
    assert found == {
        "run_id": "3f2c9a1b5d7e8f60",
        "job": "monthly",
        "period": "2026-10-01",
        "status": "HELD",
        "rows": {"read": 10, "scored": 9, "quarantined": 1},
        "hold_reasons": ["DRIFT site: \u2603 moved"],
        "overruled": [],
        "seconds": 12.5,
        "event": EVENT,
        "severity": "WARNING",
        "message": "beam-jobs monthly 2026-10-01 HELD: 9 of 10 rows scored, 2 anomalies",
        "anomalies": 2,
        "report": "gs://b/runs/monthly/2026-10/3f2c9a1b5d7e8f60",
        "error": None,
    }


@pytest.mark.parametrize(
    ("status", "severity"),
    [("PUBLISHED", "INFO"), ("UNCHANGED", "INFO"), ("HELD", "WARNING"), ("FAILED", "ERROR")],
)
def test_the_severity_follows_from_the_status(status: str, severity: str) -> None:
    found = summary(outcome=RunOutcome(status))
    assert logging.getLevelName(level(found)) == severity
    assert json.loads(line(found))["severity"] == severity


def test_the_line_stays_small() -> None:
    reasons = [f"DRIFT feature {i}: {'x' * 10_000}" for i in range(1_000)]
    text = line(summary(hold_reasons=tuple(reasons), error="e" * 1_000_000))
    assert len(text) < 16_384
    assert json.loads(text)["hold_reasons"][-1] == "and 980 more"


def test_standard_error_gets_the_bare_line_of_the_stream_of_the_moment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_to_standard_error()
    announce(SUMMARY, None)
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["run_id"] == SUMMARY.run_id


def test_a_terminal_gets_no_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    log_to_standard_error()
    announce(SUMMARY, None)
    assert capsys.readouterr() == ("", "")
