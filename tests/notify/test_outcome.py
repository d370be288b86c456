"""The line that ends a run."""

import json
import logging

import pytest

from beam_jobs.notify import Outcome, announce, log_to_standard_error
from beam_jobs.notify.outcome import EVENT
from support.summaries import SUMMARY


def test_the_line_is_json_on_one_line_with_all_of_the_run() -> None:
    line = Outcome.of_summary(SUMMARY).line()
    assert line.isascii()
    assert "\n" not in line
    found = json.loads(line)
    assert found == {
        **{name: SUMMARY[name] for name in ("run_id", "job", "period", "status", "rows")},
        **{name: SUMMARY[name] for name in ("hold_reasons", "overruled", "seconds")},
        "event": EVENT,
        "severity": "WARNING",
        "message": "beam-jobs monthly 2026-10-01 HELD: 9 of 10 rows scored, 2 anomalies",
        "anomalies": 2,
        "report": SUMMARY["run_folder"],
        "error": None,
    }


@pytest.mark.parametrize(
    ("status", "level"),
    [("PUBLISHED", "INFO"), ("UNCHANGED", "INFO"), ("HELD", "WARNING"), ("FAILED", "ERROR")],
)
def test_the_severity_follows_from_the_status(status: str, level: str) -> None:
    outcome = Outcome.of_summary(SUMMARY | {"status": status})
    assert logging.getLevelName(outcome.level) == level
    assert json.loads(outcome.line())["severity"] == level


def test_the_line_stays_small() -> None:
    reasons = [f"DRIFT feature {i}: {'x' * 10_000}" for i in range(1_000)]
    outcome = Outcome.of_summary(SUMMARY | {"hold_reasons": reasons}, "e" * 1_000_000)
    assert len(outcome.line()) < 16_384
    assert json.loads(outcome.line())["hold_reasons"][-1] == "and 980 more"


def test_standard_error_gets_the_bare_line_of_the_stream_of_the_moment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_to_standard_error()
    announce(Outcome.of_summary(SUMMARY), None)
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["run_id"] == SUMMARY["run_id"]


def test_a_terminal_gets_no_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    log_to_standard_error()
    announce(Outcome.of_summary(SUMMARY), None)
    assert capsys.readouterr() == ("", "")
