"""Columns that come and go, tables of earlier versions, and what the views say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.errors import UsageError
from beam_jobs.publish.decisions import rollback
from beam_jobs.publish.publishing import check_columns, publish_run
from beam_jobs.runs.catalog import RunCatalog, open_catalog
from beam_jobs.runs.run_row import RunRow, RunStatus
from beam_jobs.schema import Feature, FeatureType
from beam_jobs.warehouse.tables import scores_schema
from support.publishing import (
    FEATURES,
    OCTOBER,
    WHOLE_MONTH,
    ask,
    month_state,
    write_run,
)

COLUMNS = "SELECT price, `rows`, device, tags FROM current_scores WHERE `rows` = 5"


def _rows(warehouse: RunCatalog, table: Any) -> Any:
    return {row[1:] for row in ask(warehouse, WHOLE_MONTH).rows if row[0] == table}


def _statuses(warehouse: RunCatalog) -> Any:
    return {run.run_id: run.status.value for run in warehouse.runs()}


def _publish(warehouse: RunCatalog, tmp_path: Path, name: str, features: Any, order: int) -> Any:
    written = write_run(str(tmp_path / "runs"), name, features=features, order=order)
    check_columns(warehouse, scores_schema(features))
    return publish_run(warehouse, *written)


def test_columns_come_and_go_with_the_schema(warehouse: RunCatalog, tmp_path: Path) -> None:
    _publish(warehouse, tmp_path, "r1", FEATURES[:2], 0)
    _publish(warehouse, tmp_path, "r2", FEATURES[1:], 1)
    rows = ask(warehouse, COLUMNS)
    assert rows.rows == [(None, 5, "desktop", ["x", "y"])] * 2
    assert rollback(warehouse, "monthly", OCTOBER).run_id == "r1"
    # BigQuery keeps a missing array as an empty one.
    found = [(*row[:3], row[3] or None) for row in ask(warehouse, COLUMNS).rows]
    assert found == [(1.25, 5, None, None)] * 2


def test_a_column_of_another_type_is_refused_with_both_types(
    warehouse: RunCatalog, tmp_path: Path
) -> None:
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


def test_any_columns_fit_a_warehouse_that_does_not_exist(warehouse: RunCatalog) -> None:
    check_columns(warehouse, scores_schema(FEATURES))
    assert warehouse.engine.columns() == {}


def test_views_tell_an_analyst_what_is_current(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
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


def test_a_table_of_an_earlier_version_is_refused_with_the_way_out(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
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


def test_after_a_table_was_set_aside_a_new_one_is_made(tmp_path: Path) -> None:
    warehouse = open_catalog(f"duckdb:{tmp_path}/ads.duckdb")
    run = write_run(str(tmp_path / "runs"), "r1")
    publish_run(warehouse, *run)
    with warehouse.engine.writing() as session:
        session.define(["ALTER TABLE quarantine RENAME TO quarantine_before"])
    publish_run(warehouse, *run)
    finding = ask(warehouse, "SELECT DISTINCT d.feature FROM quarantine, UNNEST(details) AS d")
    assert set(finding.rows) == {("price",), ("rows",), ("device",)}
