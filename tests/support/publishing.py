"""Runs for the tests of publishing: small, real, made of the production code's own parts."""

import datetime
import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs.batch import (
    DEFAULT_ACTIONS,
    KEY,
    RAW,
    SCORE,
    SOURCE_FILE,
    SOURCE_ROW,
    BatchKey,
    Findings,
    Reason,
    with_findings,
)
from beam_jobs.publish.part_writer import RangeWriter, SourceCounts
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.parts import Part
from beam_jobs.runs.run_row import RunIdentity, RunRow, RunStatus
from beam_jobs.schema import Feature, FeatureType
from beam_jobs.warehouse import ddl
from beam_jobs.warehouse.engine import QueryResult
from beam_jobs.warehouse.tables import arrow_schema

FEATURES = (
    Feature("price", FeatureType.FLOAT),
    Feature("rows", FeatureType.INT),
    Feature("device", FeatureType.BYTES),
    Feature("tags", FeatureType.BYTES, is_list=True),
)
OCTOBER = datetime.date(2026, 10, 1)
START = datetime.datetime(2026, 11, 2, 6, tzinfo=datetime.UTC)

on_duckdb = pytest.mark.parametrize("url", ["duckdb"], indirect=True)
"""For tests of what Python makes of answers. That both kinds of warehouse give the same ones is
what the tests without this mark hold: each statement runs on both."""


def scored_batch(
    first: int, rows: int, source: str = "a.csv", broken: Sequence[int] = (), base: float = 0.0
) -> pa.RecordBatch:
    """Rows `first` (from 1) and on; those whose place is in `broken` fail two checks."""
    places = np.arange(first, first + rows)
    values = {
        "price": pa.array(places / 4),
        "rows": pa.array(places),
        "device": pa.array(["mobile", "desktop"][place % 2] for place in places),
        "tags": pa.array([["x", "y"][: place % 3] for place in places], pa.list_(pa.string())),
        KEY: pa.array([f"{source}-{place}" for place in places]),
        SOURCE_FILE: pa.array([source] * rows),
        SOURCE_ROW: pa.array(places),
        RAW: pa.array([f"row {place}".encode() for place in places], pa.binary()),
        SCORE: pa.array(base + places / 1000.0),
    }
    batch = pa.RecordBatch.from_arrays(list(values.values()), names=list(values))
    at = np.array([place - first for place in broken if first <= place < first + rows], np.int64)
    return with_findings(
        batch,
        [
            Findings(Reason.OUT_OF_RANGE, at, ["-1, at least 0"] * len(at), "price"),
            Findings(Reason.INVALID_TYPE, at, ["'x', an INT"] * len(at), "rows"),
            Findings(Reason.OUT_OF_DOMAIN, np.array([0]), ["'tv', one of 2"], "device"),
        ],
    )


def write_run(
    runs: str,
    name: str,
    period: datetime.date = OCTOBER,
    status: RunStatus = RunStatus.PUBLISHED,
    rows: int = 40,
    quarantined: int = 3,
    features: Sequence[Feature] = FEATURES,
    order: int = 0,
    job: str = "monthly",
) -> tuple[RunRow, list[Part], dict[str, pa.Table]]:
    """What a pipeline hands to `publish_run`: two files, scores that tell the run."""
    folder = RunFolder.of(runs, job, period, name)
    identity = RunIdentity(name, job, period, "3")
    writer = RangeWriter(folder.path, identity, features, DEFAULT_ACTIONS)
    base = int(hashlib.sha256(name.encode()).hexdigest()[:6], 16)
    parts: list[Part] = []
    for index, source in enumerate(("a.csv", "b.csv")):
        for number in range(2):
            broken = range(1, quarantined + 1)
            batch = scored_batch(1 + number * rows, rows, source, broken, base)
            parts += writer.write(BatchKey(index, 0, number), batch)
    parts += writer.close()
    run = run_row(name, folder.path, writer.counts, period, status, order, job)
    return run, parts, run_tables(name, writer.counts)


def run_row(
    name: str,
    folder: str,
    counts: dict[int, SourceCounts],
    period: datetime.date = OCTOBER,
    status: RunStatus = RunStatus.PUBLISHED,
    order: int = 0,
    job: str = "monthly",
) -> RunRow:
    return RunRow(
        run_id=name,
        job=job,
        period=period,
        status=status,
        started_at=START + datetime.timedelta(hours=order),
        finished_at=START + datetime.timedelta(hours=order, minutes=5),
        rows_read=sum(count.read for count in counts.values()),
        rows_scored=sum(count.scored for count in counts.values()),
        rows_quarantined=sum(count.quarantined for count in counts.values()),
        model="/models/ads/3",
        model_version="3",
        schema_fingerprint="s1",
        baseline=None,
        previous_run_id=None,
        code_version="0.1",
        run_folder=folder,
        hold_reasons=("VOLUME",) if status is RunStatus.HELD else (),
    )


def run_tables(name: str, counts: dict[int, SourceCounts]) -> dict[str, pa.Table]:
    anomaly = {
        "slice": "all",
        "feature": "device",
        "kind": "SKEW",
        "code": name,
        "severity": "WARN",
        "measure": "L_INFINITY",
        "value": 0.2,
        "threshold": 0.1,
        "short_description": "skew",
        "description": "device moved",
        "reference": "baseline",
    }
    statistics = {
        "slice": "all",
        "feature": "device",
        "type": "BYTES",
        "rows": sum(count.read for count in counts.values()),
        "missing": 4,
        "zeros": None,
        "mean": None,
        "std_dev": None,
        "min": None,
        "max": None,
        "quantiles": [],
        "distinct": 2,
        "top_values": [{"value": "mobile", "count": 80.0}],
        "skew": 0.2,
        "drift": None,
    }
    inputs = [
        {
            "uri": ("a.csv", "b.csv")[index],
            "generation": "1-1",
            "bytes": 10,
            "rows": counts[index].read,
        }
        for index in sorted(counts)
    ]
    rows = {"anomalies": [anomaly], "feature_statistics": [statistics], "inputs": inputs}
    return {
        table: pa.Table.from_pylist(lines, schema=pa.schema(list(arrow_schema(table))[3:]))
        for table, lines in rows.items()
    }


MONTH_TABLES = ("scores", "quarantine", "anomalies", "feature_statistics", "inputs")

WHOLE_MONTH = " UNION ALL ".join(
    f"SELECT '{table}' AS t, run_id, count(*) AS n FROM {table} GROUP BY run_id"
    for table in (*MONTH_TABLES, "runs")
)


_STATE = f"""
{WHOLE_MONTH}
UNION ALL SELECT concat(action, ' for ', coalesce(replaced_run_id, 'none')), run_id, count(*)
FROM publications GROUP BY action, replaced_run_id, run_id
UNION ALL SELECT status, run_id, 1 FROM runs
UNION ALL SELECT 'sum', run_id, CAST(round(sum(score * 1000)) AS INT64) FROM scores GROUP BY run_id
"""


def month_state(warehouse: RunCatalog) -> set[tuple[str, str, int]]:
    """Everything a reader can tell of the warehouse: rows by table and run, statuses, scores."""
    if "runs" not in warehouse.engine.columns():
        return set()
    return set(ask(warehouse, _STATE).rows)


def ask(warehouse: RunCatalog, sql: str) -> QueryResult:
    """The answer to GoogleSQL, whatever the warehouse's own dialect is."""
    if warehouse.url.startswith("duckdb:"):
        (sql,) = ddl.for_duckdb(sql)
    return warehouse.query(sql)


def expected_rows(run: RunRow) -> set[tuple[str, str, int]]:
    """What WHOLE_MONTH says of a published run of `write_run`."""
    counts = (run.rows_scored, run.rows_quarantined, 1, 1, 2)
    return {
        (table, run.run_id, count)
        for table, count in zip(MONTH_TABLES, counts, strict=True)
        if count
    }
