"""Publish, hold, approve, roll back; and what the audit finds."""

import dataclasses
import datetime
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.errors import AuditError, UsageError
from beam_jobs.publish.decisions import approve, rollback
from beam_jobs.publish.publishing import fail_run, publish_run
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.parts import PartTable
from beam_jobs.runs.run_row import RunRow, RunStatus
from support.publishing import (
    OCTOBER,
    WHOLE_MONTH,
    ask,
    expected_rows,
    month_state,
    on_duckdb,
    write_run,
)

SEPTEMBER = datetime.date(2026, 9, 1)


def _rows(warehouse: RunCatalog, table: Any) -> Any:
    return {row[1:] for row in ask(warehouse, WHOLE_MONTH).rows if row[0] == table}


def _statuses(warehouse: RunCatalog) -> Any:
    return {run.run_id: run.status.value for run in warehouse.runs()}


def test_a_published_run_is_the_month_in_every_table(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
    run = make("r1")
    assert run.status is RunStatus.PUBLISHED
    assert set(ask(warehouse, WHOLE_MONTH).rows) == {*expected_rows(run), ("runs", "r1", 1)}
    assert warehouse.runs() == [run]
    assert warehouse.latest_published("monthly", OCTOBER) == run


def test_published_rows_are_those_of_the_parts(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
    run = make("r1")
    folder = RunFolder(run.run_folder)
    parts = [
        pq.read_table(os.path.join(folder.parts(PartTable.SCORES), name))
        for name in os.listdir(folder.parts(PartTable.SCORES))
    ]
    written = sorted(pa.concat_tables(parts).to_pylist(), key=lambda row: row["key"])
    found = ask(warehouse, "SELECT * FROM current_scores ORDER BY key").records()
    assert found == written
    quarantined = ask(warehouse, "SELECT reasons, raw FROM quarantine ORDER BY raw, source_file")
    assert quarantined.rows[0] == (["OUT_OF_RANGE", "INVALID_TYPE", "OUT_OF_DOMAIN"], b"row 1")


def test_another_run_of_the_month_replaces_it_and_leaves_other_months(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
    other = make("s1", period=SEPTEMBER)
    make("r1", rows=50)
    second = make("r2")
    assert set(ask(warehouse, WHOLE_MONTH).rows) == {
        *expected_rows(second),
        *expected_rows(other),
        *((("runs", name, 1)) for name in ("r1", "r2", "s1")),
    }
    assert _statuses(warehouse) == {"s1": "PUBLISHED", "r1": "SUPERSEDED", "r2": "PUBLISHED"}


def test_publishing_again_changes_nothing(
    warehouse: RunCatalog, make: Callable[..., RunRow], tmp_path: Path
) -> None:
    make("r0")
    make("r1")
    before = month_state(warehouse)
    for _ in range(2):
        publish_run(warehouse, *write_run(str(tmp_path / "runs"), "r1", order=1))
        assert month_state(warehouse) == before


def test_a_run_with_no_scored_row_or_no_quarantined_row_is_published(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
    assert make("r1", quarantined=0).rows_quarantined == 0
    everything = make("r2", rows=2, quarantined=100)
    assert everything.rows_scored == 0
    assert _rows(warehouse, "scores") == set()
    assert _rows(warehouse, "quarantine") == {("r2", 8)}


def test_a_held_run_shows_its_anomalies_and_leaves_the_month(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
    make("r1")
    held = make("r2", status=RunStatus.HELD)
    assert held.status is RunStatus.HELD
    assert _rows(warehouse, "scores") == {("r1", 154)}
    assert _rows(warehouse, "quarantine") == {("r1", 6)}
    assert _rows(warehouse, "anomalies") == {("r1", 1), ("r2", 1)}
    assert ask(warehouse, "SELECT run_id FROM current_anomalies").rows == [("r1",)]
    run, anomalies = warehouse.anomalies()
    assert (run, [anomaly["code"] for anomaly in anomalies]) == (held, ["r2"])
    assert run is not None
    assert run.hold_reasons == ("VOLUME",)


def test_a_held_run_waits_through_later_publications_and_can_be_approved(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
    make("r1")
    make("held", status=RunStatus.HELD)
    make("r2")
    assert _rows(warehouse, "anomalies") == {("held", 1), ("r2", 1)}
    approved = approve(warehouse, "held")
    assert approved.status is RunStatus.PUBLISHED
    assert approved.hold_reasons == ("VOLUME",)
    assert set(ask(warehouse, WHOLE_MONTH).rows) >= expected_rows(approved)
    assert _rows(warehouse, "anomalies") == {("held", 1)}
    assert _statuses(warehouse) == {"r1": "SUPERSEDED", "r2": "SUPERSEDED", "held": "PUBLISHED"}
    before = month_state(warehouse)
    assert approve(warehouse, "held") == approved
    assert month_state(warehouse) == before


@on_duckdb
def test_an_approval_stands_when_the_same_run_is_computed_again(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
    make("r1", status=RunStatus.HELD)
    approve(warehouse, "r1")
    assert make("r1", status=RunStatus.HELD).status is RunStatus.PUBLISHED
    assert _statuses(warehouse) == {"r1": "PUBLISHED"}


@on_duckdb
def test_approve_and_rollback_work_from_another_folder(
    warehouse: RunCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    publish_run(warehouse, *write_run("runs", "r1", status=RunStatus.HELD))
    monkeypatch.chdir("/")
    assert approve(warehouse, "r1").status is RunStatus.PUBLISHED


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope", "there is no such run"),
        ("r", "2 runs begin so"),
        ("a'b", "not a run id"),
        ("r1", "is superseded, not held; `beam-jobs rollback --month 2026-10 --to r1`"),
        ("failed", "failed, so there is nothing to approve"),
    ],
)
@on_duckdb
def test_what_cannot_be_approved_is_said(
    warehouse: RunCatalog, make: Callable[..., RunRow], name: str, message: str
) -> None:
    make("r1")
    latest = make("r2")
    fail_run(warehouse, dataclasses.replace(latest, run_id="failed"))
    with pytest.raises(UsageError, match=message):
        approve(warehouse, name)


@on_duckdb
def test_a_run_is_found_by_the_beginning_of_its_id(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
    make("abc1", status=RunStatus.HELD)
    make("abc")
    assert warehouse.find_run("abc").run_id == "abc"
    assert approve(warehouse, "abc1").run_id == "abc1"
    assert warehouse.find_run("abc1").status is RunStatus.PUBLISHED


@pytest.mark.parametrize("damage", ["gone", "part", "manifest", "content", "not_json", "table"])
@on_duckdb
def test_a_damaged_folder_cannot_be_approved_and_nothing_changes(
    warehouse: RunCatalog, make: Callable[..., RunRow], damage: Any
) -> None:
    make("r1")
    held = make("held", status=RunStatus.HELD)
    folder = RunFolder(held.run_folder)
    part = sorted(os.listdir(folder.parts(PartTable.SCORES)))[0]
    uri = os.path.join(folder.parts(PartTable.SCORES), part)
    message = part
    if damage == "gone":
        shutil.rmtree(folder.path)
        message = "does not exist"
    elif damage == "part":
        os.remove(uri)
        message = f"{part} is missing"
    elif damage == "manifest":
        os.remove(folder.manifest)
        message = "holds no manifest.json"
    elif damage == "not_json":
        folder.write(folder.manifest, b"{")
        message = "manifest.json cannot be read"
    elif damage == "table":
        os.remove(folder.anomalies)
        message = "anomalies.parquet is missing"
    else:
        pq.write_table(pq.read_table(uri).slice(1), uri)
        message = rf"{part} has 76 rows in \d+ bytes, written were 77 rows"
    before = month_state(warehouse)
    with pytest.raises((UsageError, AuditError), match=message):
        approve(warehouse, "held")
    assert month_state(warehouse) == before


def test_rollback_goes_back_run_by_run_and_forward_by_name(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
    runs = [make(name, rows=rows) for name, rows in (("r1", 10), ("r2", 20), ("r3", 30))]
    for expected in (runs[1], runs[0]):
        back = rollback(warehouse, "monthly", OCTOBER)
        assert back.run_id == expected.run_id
        assert set(ask(warehouse, WHOLE_MONTH).rows) >= expected_rows(expected)
        assert _rows(warehouse, "scores") == {(expected.run_id, expected.rows_scored)}
    with pytest.raises(UsageError, match=r"no run was published before r1; .*: r3, r2"):
        rollback(warehouse, "monthly", OCTOBER)
    assert rollback(warehouse, "monthly", OCTOBER, to="r3").run_id == "r3"
    assert _statuses(warehouse) == {"r1": "SUPERSEDED", "r2": "SUPERSEDED", "r3": "PUBLISHED"}
    before = month_state(warehouse)
    rollback(warehouse, "monthly", OCTOBER, to="r3")
    assert month_state(warehouse) == before


@on_duckdb
def test_rollback_skips_a_run_that_was_rolled_back_before(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
    for name in ("r1", "r2", "bad"):
        make(name)
    assert rollback(warehouse, "monthly", OCTOBER).run_id == "r2"
    make("r4")
    assert rollback(warehouse, "monthly", OCTOBER).run_id == "r2"


@pytest.mark.parametrize(
    ("to", "message"),
    [
        (None, "no run was published before r1; there is no other run"),
        ("s1", "--to s1: is a run of monthly 2026-09, not of monthly 2026-10"),
        ("held", "--to held: is HELD and was never published"),
        ("nope", "there is no such run"),
    ],
)
@on_duckdb
def test_what_cannot_be_rolled_back_to_is_said(
    warehouse: RunCatalog, make: Callable[..., RunRow], to: Any, message: str
) -> None:
    make("s1", period=SEPTEMBER)
    make("r1")
    make("held", status=RunStatus.HELD)
    with pytest.raises(UsageError, match=message):
        rollback(warehouse, "monthly", OCTOBER, to)


def test_rollback_of_a_month_without_a_run_is_said(warehouse: RunCatalog) -> None:
    with pytest.raises(UsageError, match="monthly 2026-10: nothing is published"):
        rollback(warehouse, "monthly", OCTOBER)


def test_a_failed_run_leaves_a_line_but_hides_no_earlier_outcome(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
    published = make("r1")
    fail_run(warehouse, published)
    fail_run(warehouse, dataclasses.replace(published, run_id="r2"))
    fail_run(warehouse, dataclasses.replace(published, run_id="r2", rows_read=1))
    assert _statuses(warehouse) == {"r1": "PUBLISHED", "r2": "FAILED"}
    assert warehouse.find_run("r2").rows_read == 1
    assert warehouse.latest_run() == published
    make("r2")
    assert _statuses(warehouse) == {"r1": "SUPERSEDED", "r2": "PUBLISHED"}


@on_duckdb
def test_the_first_run_may_fail(warehouse: RunCatalog, tmp_path: Path) -> None:
    run, _, _ = write_run(str(tmp_path / "runs"), "r1")
    fail_run(warehouse, run)
    assert _statuses(warehouse) == {"r1": "FAILED"}
    assert ask(warehouse, "SELECT * FROM current_scores").rows == []


# --- columns that come and go


# --- views
