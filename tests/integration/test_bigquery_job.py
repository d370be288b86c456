"""The monthly job with BigQuery as its warehouse: the same tables as with the embedded one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.commands import Run, monthly_flags, run_command
from support.servers.bigquery import BigQueryServer
from support.servers.gcs import GcsServer

pytestmark = pytest.mark.integration

MONTH = "2026-10"  # the one that is held
COUNTS = (
    "SELECT 'scores' AS what, COUNT(*) AS n FROM scores"
    " UNION ALL SELECT 'quarantine', COUNT(*) FROM quarantine"
    " UNION ALL SELECT severity, COUNT(*) FROM anomalies GROUP BY severity"
    " UNION ALL SELECT 'statistics', COUNT(*) FROM feature_statistics"
    " UNION ALL SELECT 'inputs', COUNT(*) FROM inputs"
    " UNION ALL SELECT status, COUNT(*) FROM runs GROUP BY status"
)


@pytest.fixture
def warehouse(bigquery: BigQueryServer) -> str:
    return f"--warehouse=bigquery:{bigquery.new_dataset()}"


def asked(warehouse: str, sql: str) -> Any:
    found = run_command("query", sql, "--json", warehouse)
    assert found.code == 0, found.err
    return json.loads(found.out)


def counts(warehouse: str) -> dict[str, int]:
    return {row["what"]: row["n"] for row in asked(warehouse, COUNTS)}


@pytest.fixture(params=["local", "gs"])
def run(
    request: pytest.FixtureRequest,
    demo: Path,
    tmp_path: Path,
    bigquery: BigQueryServer,  # noqa: ARG001  (it must run first)
) -> Callable[..., Any]:
    """`beam-jobs monthly`, its run folder on this disk or in Cloud Storage."""
    runs = str(tmp_path / "runs")
    if request.param == "gs":
        gcs: GcsServer = request.getfixturevalue("gcs")
        runs = gcs.uri("runs")
    return lambda *argv: run_command(
        "monthly", *monthly_flags(demo, tmp_path, f"--runs={runs}", *argv, month=MONTH)
    )


def test_a_month_is_held_approved_and_found_again(
    run: Run, warehouse: str, bigquery: BigQueryServer, demo: Path, tmp_path: Path
) -> None:
    local = f"--warehouse=duckdb:{tmp_path / 'ads.duckdb'}"
    reference = run_command("monthly", *monthly_flags(demo, tmp_path, month=MONTH))
    assert reference.code in (0, 3), reference.err
    planned = run("--plan", warehouse)
    assert planned.code == 0, planned.err
    assert asked_tables(bigquery) == []
    done = run("--json", warehouse)
    assert done.code == reference.code, done.err
    run_id = done.json["run_id"]
    assert counts(warehouse) == counts(local)
    if done.code == 3:
        for place in (warehouse, local):
            (existing,) = json.loads(run_command("runs", "--json", place).out)
            decided = run_command("approve", existing["run_id"], place)
            assert decided.code == 0, decided.err
    assert counts(warehouse) == counts(local)
    assert counts(warehouse)["PUBLISHED"] == 1
    assert asked(warehouse, "SELECT DISTINCT run_id FROM current_scores") == [{"run_id": run_id}]
    again = run("--json", warehouse)
    assert (again.code, again.json["status"]) == (0, "UNCHANGED"), again.err
    shown = run_command("anomalies", run_id, warehouse)
    assert shown.code == 0
    assert "severity" in shown.out
    score = "SELECT ROUND(AVG(score), 6) AS mean, COUNT(DISTINCT ad_id) AS ads FROM current_scores"
    assert asked(warehouse, score) == asked(local, score)


def asked_tables(bigquery: BigQueryServer) -> list[str]:
    """Tables that clients have made or changed."""
    return [
        call.path
        for call in bigquery.calls
        if call.method in ("POST", "PATCH", "PUT", "DELETE") and not call.is_dry_run
        and "/queries" not in call.path and "SELECT" not in call.sql
    ]  # fmt: skip


@pytest.mark.usefixtures("bigquery")
def test_a_wrong_data_set_is_found_before_work(run: Run) -> None:
    for argv in (["--plan"], []):
        done = run("--warehouse=bigquery:test-project.nowhere", *argv)
        assert done.code == 2
        assert "there is no such data set" in done.err
        assert done.err.strip().count("\n") == 0
