"""Publish, hold, approve, roll back; and what the audit finds."""

import dataclasses
import datetime
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.errors import AuditError, UsageError
from beam_jobs.publish.decisions import approve, rollback
from beam_jobs.publish.publishing import check_columns, fail_run, publish_run
from beam_jobs.runs.catalog import open_catalog
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.parts import PartTable
from beam_jobs.runs.run_row import RunStatus
from beam_jobs.schema import Feature, FeatureType
from beam_jobs.warehouse.tables import scores_schema
from support.publishing import (
    FEATURES,
    OCTOBER,
    WHOLE_MONTH,
    ask,
    expected_rows,
    month_state,
    on_duckdb,
    write_run,
)

SEPTEMBER = datetime.date(2026, 9, 1)


@pytest.fixture
def make(tmp_path, warehouse):
    """Writes and publishes a run; later ones start later."""
    count = iter(range(100))

    def publish(name, **options):
        return publish_run(
            warehouse, *write_run(str(tmp_path / "runs"), name, order=next(count), **options)
        )

    return publish


def _rows(warehouse, table):
    return {row[1:] for row in ask(warehouse, WHOLE_MONTH).rows if row[0] == table}


def _statuses(warehouse):
    return {run.run_id: run.status.value for run in warehouse.runs()}


def test_a_published_run_is_the_month_in_every_table(warehouse, make):
    run = make("r1")
    assert run.status is RunStatus.PUBLISHED
    assert set(ask(warehouse, WHOLE_MONTH).rows) == {*expected_rows(run), ("runs", "r1", 1)}
    assert warehouse.runs() == [run]
    assert warehouse.latest_published("monthly", OCTOBER) == run


def test_published_rows_are_those_of_the_parts(warehouse, make):
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


def test_another_run_of_the_month_replaces_it_and_leaves_other_months(warehouse, make):
    other = make("s1", period=SEPTEMBER)
    make("r1", rows=50)
    second = make("r2")
    assert set(ask(warehouse, WHOLE_MONTH).rows) == {
        *expected_rows(second),
        *expected_rows(other),
        *((("runs", name, 1)) for name in ("r1", "r2", "s1")),
    }
    assert _statuses(warehouse) == {"s1": "PUBLISHED", "r1": "SUPERSEDED", "r2": "PUBLISHED"}


def test_publishing_again_changes_nothing(warehouse, make, tmp_path):
    make("r0")
    make("r1")
    before = month_state(warehouse)
    for _ in range(2):
        publish_run(warehouse, *write_run(str(tmp_path / "runs"), "r1", order=1))
        assert month_state(warehouse) == before


def test_a_run_with_no_scored_row_or_no_quarantined_row_is_published(warehouse, make):
    assert make("r1", quarantined=0).rows_quarantined == 0
    everything = make("r2", rows=2, quarantined=100)
    assert everything.rows_scored == 0
    assert _rows(warehouse, "scores") == set()
    assert _rows(warehouse, "quarantine") == {("r2", 8)}


def test_a_held_run_shows_its_anomalies_and_leaves_the_month(warehouse, make):
    make("r1")
    held = make("r2", status=RunStatus.HELD)
    assert held.status is RunStatus.HELD
    assert _rows(warehouse, "scores") == {("r1", 154)}
    assert _rows(warehouse, "quarantine") == {("r1", 6)}
    assert _rows(warehouse, "anomalies") == {("r1", 1), ("r2", 1)}
    assert ask(warehouse, "SELECT run_id FROM current_anomalies").rows == [("r1",)]
    run, anomalies = warehouse.anomalies()
    assert (run, [anomaly["code"] for anomaly in anomalies]) == (held, ["r2"])
    assert run.hold_reasons == ("VOLUME",)


def test_a_held_run_waits_through_later_publications_and_can_be_approved(warehouse, make):
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
def test_an_approval_stands_when_the_same_run_is_computed_again(warehouse, make):
    make("r1", status=RunStatus.HELD)
    approve(warehouse, "r1")
    assert make("r1", status=RunStatus.HELD).status is RunStatus.PUBLISHED
    assert _statuses(warehouse) == {"r1": "PUBLISHED"}


@on_duckdb
def test_approve_and_rollback_work_from_another_folder(warehouse, tmp_path, monkeypatch):
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
def test_what_cannot_be_approved_is_said(warehouse, make, name, message):
    make("r1")
    latest = make("r2")
    fail_run(warehouse, dataclasses.replace(latest, run_id="failed"))
    with pytest.raises(UsageError, match=message):
        approve(warehouse, name)


@on_duckdb
def test_a_run_is_found_by_the_beginning_of_its_id(warehouse, make):
    make("abc1", status=RunStatus.HELD)
    make("abc")
    assert warehouse.find_run("abc").run_id == "abc"
    assert approve(warehouse, "abc1").run_id == "abc1"
    assert warehouse.find_run("abc1").status is RunStatus.PUBLISHED


@pytest.mark.parametrize("damage", ["gone", "part", "manifest", "content", "not_json", "table"])
@on_duckdb
def test_a_damaged_folder_cannot_be_approved_and_nothing_changes(warehouse, make, damage):
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


def test_rollback_goes_back_run_by_run_and_forward_by_name(warehouse, make):
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
def test_rollback_skips_a_run_that_was_rolled_back_before(warehouse, make):
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
def test_what_cannot_be_rolled_back_to_is_said(warehouse, make, to, message):
    make("s1", period=SEPTEMBER)
    make("r1")
    make("held", status=RunStatus.HELD)
    with pytest.raises(UsageError, match=message):
        rollback(warehouse, "monthly", OCTOBER, to)


def test_rollback_of_a_month_without_a_run_is_said(warehouse):
    with pytest.raises(UsageError, match="monthly 2026-10: nothing is published"):
        rollback(warehouse, "monthly", OCTOBER)


def test_a_failed_run_leaves_a_line_but_hides_no_earlier_outcome(warehouse, make):
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
def test_the_first_run_may_fail(warehouse, tmp_path):
    run, _, _ = write_run(str(tmp_path / "runs"), "r1")
    fail_run(warehouse, run)
    assert _statuses(warehouse) == {"r1": "FAILED"}
    assert ask(warehouse, "SELECT * FROM current_scores").rows == []


# --- columns that come and go


COLUMNS = "SELECT price, `rows`, device, tags FROM current_scores WHERE `rows` = 5"


def _publish(warehouse, tmp_path, name, features, order):
    written = write_run(str(tmp_path / "runs"), name, features=features, order=order)
    check_columns(warehouse, scores_schema(features))
    return publish_run(warehouse, *written)


def test_columns_come_and_go_with_the_schema(warehouse, tmp_path):
    _publish(warehouse, tmp_path, "r1", FEATURES[:2], 0)
    _publish(warehouse, tmp_path, "r2", FEATURES[1:], 1)
    rows = ask(warehouse, COLUMNS)
    assert rows.rows == [(None, 5, "desktop", ["x", "y"])] * 2
    assert rollback(warehouse, "monthly", OCTOBER).run_id == "r1"
    # BigQuery keeps a missing array as an empty one.
    rows = [(*row[:3], row[3] or None) for row in ask(warehouse, COLUMNS).rows]
    assert rows == [(1.25, 5, None, None)] * 2


def test_a_column_of_another_type_is_refused_with_both_types(warehouse, tmp_path):
    _publish(warehouse, tmp_path, "r1", FEATURES, 0)
    before = month_state(warehouse)
    changed = (Feature("PRICE", FeatureType.INT), *FEATURES[1:])
    message = "column scores.PRICE is FLOAT64 there, and INT64 in this run"
    with pytest.raises(UsageError, match=message):
        check_columns(warehouse, scores_schema(changed))
    with pytest.raises(UsageError, match=r"scores\.tags is ARRAY<STRING> there, and STRING"):
        check_columns(warehouse, scores_schema([Feature("tags", FeatureType.BYTES)]))
    with pytest.raises(UsageError, match=message):
        publish_run(warehouse, *write_run(str(tmp_path / "runs"), "r2", features=changed))
    assert month_state(warehouse) == before


def test_any_columns_fit_a_warehouse_that_does_not_exist(warehouse):
    check_columns(warehouse, scores_schema(FEATURES))
    assert warehouse.engine.columns() == {}


# --- views


def test_views_tell_an_analyst_what_is_current(warehouse, make):
    make("r0")
    make("r1")
    make("held", status=RunStatus.HELD)
    assert ask(warehouse, "SELECT DISTINCT run_id FROM current_scores").rows == [("r1",)]
    (drift,) = ask(warehouse, "SELECT * FROM drift_history").records()
    assert (drift["run_id"], drift["feature"], drift["skew"]) == ("r1", "device", 0.2)
    assert (drift["missing_share"], drift["anomalies"], drift["severity"]) == (0.025, 1, "WARN")
    history = ask(
        warehouse,
        "SELECT run_id, is_current, quarantined_share, anomalies_warn, anomalies_hold"
        " FROM run_history ORDER BY started_at",
    )
    assert history.rows == [
        ("r0", False, 6 / 160, 0, 0),
        ("r1", True, 6 / 160, 1, 0),
        ("held", False, 6 / 160, 1, 0),
    ]
    summary = ask(
        warehouse,
        "SELECT source_file, reason, `rows`, share_of_rows_read, first_source_row, example"
        " FROM quarantine_summary ORDER BY source_file, reason",
    )
    lines = (
        ("INVALID_TYPE", 3, 3 / 160, 1, "INVALID_TYPE rows: 'x', an INT"),
        ("OUT_OF_DOMAIN", 1, 1 / 160, 1, "OUT_OF_DOMAIN device: 'tv', one of 2"),
        ("OUT_OF_RANGE", 3, 3 / 160, 1, "OUT_OF_RANGE price: -1, at least 0"),
    )
    assert summary.rows == [(file, *line) for file in ("a.csv", "b.csv") for line in lines]


def test_a_table_of_an_earlier_version_is_refused_with_the_way_out(warehouse, make):
    with warehouse.engine.writing() as session:
        session.define(["CREATE TABLE quarantine (run_id STRING, details ARRAY<STRING>)"])
    with pytest.raises(UsageError) as told:
        make("r1")
    assert str(told.value) == (
        f"--warehouse {warehouse.url}: column quarantine.details is ARRAY<STRING> there, and"
        " ARRAY<STRUCT<`reason` STRING, `feature` STRING, `detail` STRING>> in this run; an"
        " earlier version of beam-jobs made the table: set it aside with `ALTER TABLE quarantine"
        " RENAME TO quarantine_before` and run again, which makes a new one, or use another"
        " warehouse"
    )


def test_after_a_table_was_set_aside_a_new_one_is_made(tmp_path):
    warehouse = open_catalog(f"duckdb:{tmp_path}/ads.duckdb")
    run = write_run(str(tmp_path / "runs"), "r1")
    publish_run(warehouse, *run)
    with warehouse.engine.writing() as session:
        session.define(["ALTER TABLE quarantine RENAME TO quarantine_before"])
    publish_run(warehouse, *run)
    finding = ask(warehouse, "SELECT DISTINCT d.feature FROM quarantine, UNNEST(details) AS d")
    assert set(finding.rows) == {("price",), ("rows",), ("device",)}
