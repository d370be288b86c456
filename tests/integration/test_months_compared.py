"""Months against what was published before: a named run, the run they replace, their own keys."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.commands import ROWS, Run

pytestmark = pytest.mark.integration
Ask = Callable[[str], Any]


@pytest.fixture
def published(demo: Path, tmp_path: Path, ask: Ask) -> dict[str, str]:
    """{month: its run} of the demo, in the test's own warehouse; and the queue's, `requests`."""
    shutil.copy(demo / "warehouse.duckdb", tmp_path / "ads.duckdb")
    runs = ask("SELECT job, strftime(period, '%Y-%m') AS month, run_id FROM runs")
    return {run["month"] if run["job"] == "monthly" else run["job"]: run["run_id"] for run in runs}


@pytest.fixture
def few(demo: Path, tmp_path: Path) -> Path:
    """A file with the first 300 ads of September's, which holds 3,000."""
    lines = (demo / "ads/2026-09/ads-1.csv").read_bytes().splitlines(keepends=True)
    path = tmp_path / "few.csv"
    path.write_bytes(b"".join(lines[:301]))
    return path


def test_drift_is_measured_against_the_run_that_is_named(
    monthly: Run, ask: Ask, published: dict[str, str]
) -> None:
    """Against its own published run a month has not moved at all; against August a little."""
    august, september = published["2026-08"], published["2026-09"]
    done = monthly("--json", f"--previous-run={september[:12]}")
    assert (done.code, done.json["status"]) == (0, "PUBLISHED"), done.err
    runs = ask("SELECT run_id, previous_run_id FROM runs WHERE period = '2026-09-01'")
    assert {run["run_id"]: run["previous_run_id"] for run in runs} == {
        september: august, done.json["run_id"]: september,
    }  # fmt: skip
    found = ask(
        "SELECT feature, drift FROM feature_statistics WHERE drift IS NOT NULL"
        f" AND run_id = '{done.json['run_id']}'"
    )
    assert {"bid", "device", "score"} <= {row["feature"] for row in found}
    assert {row["drift"] for row in found} == {0.0}
    before = monthly("--plan", "--json").json["previous"]["run_id"]
    assert before == august  # what it is measured against where none is named


def test_a_wrong_run_to_measure_drift_against_is_one_line(
    demo: Path, monthly: Run, published: dict[str, str]
) -> None:
    for argv, message in (
        (["--previous-run=0123456789abcdef"], "--previous-run: run 0123456789abcdef: there is no"),
        (["--previous-run=../x"], "--previous-run: run '../x': not a run id"),
        (
            [f"--previous-run={published['requests']}"],
            "is of the job requests; expected a complete",
        ),
        (
            [
                f"--previous-run={published['2026-08']}",
                f"--previous={demo}/baseline/statistics.binpb",
            ],
            "give one of them, not both",
        ),
    ):
        done = monthly(*argv)
        assert done.code == 2, done.out
        (line,) = done.err.splitlines()
        assert message in line


def test_a_month_is_not_replaced_by_a_far_smaller_one(
    monthly: Run, ask: Ask, published: dict[str, str], few: Path
) -> None:
    done = monthly("--json", f"--ads={few}")
    assert (done.code, done.json["status"], done.json["rows"]["read"]) == (3, "HELD", 300), done.err
    (found,) = ask(
        "SELECT severity, value, description FROM anomalies WHERE code = 'ROWS_LOW_REPLACED'"
    )
    assert (found["severity"], found["value"]) == ("HOLD", pytest.approx(300 / ROWS))
    assert f"300 rows, 0.1 times the {ROWS:,} of run {published['2026-09']}" in found["description"]
    assert any(found["description"] in reason for reason in done.json["hold_reasons"])
    current = ask("SELECT DISTINCT run_id FROM current_scores WHERE period = '2026-09-01'")
    assert current == [{"run_id": published["2026-09"]}]


def test_a_key_that_identifies_no_row_holds_the_month_and_is_told(
    monthly: Run, ask: Ask, few: Path
) -> None:
    done = monthly("--json", f"--ads={few}", "--key=device")
    assert (done.code, done.json["status"]) == (3, "HELD"), done.err
    repeated = done.json["rows"]["quarantined"]  # all but the first row of each device
    assert 290 < repeated < 300
    (found,) = ask("SELECT severity, description FROM anomalies WHERE code = 'KEY_NOT_UNIQUE'")
    assert found["severity"] == "HOLD"
    assert found["description"].startswith("--key device: 9")
    assert any(found["description"] in reason for reason in done.json["hold_reasons"])
