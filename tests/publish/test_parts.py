"""Rows of scores and quarantine, and the files that hold them."""

import json
import math
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.batch import (
    DEFAULT_ACTIONS,
    RAW,
    RAW_LIMIT_BYTES,
    BatchKey,
    Findings,
    Reason,
    set_column,
    with_findings,
)
from beam_jobs.errors import RunError
from beam_jobs.publish.part_files import PartWriter, quarantine_part, scores_part
from beam_jobs.publish.part_writer import RangeWriter, SourceCounts
from beam_jobs.runs.parts import PartTable
from beam_jobs.runs.run_row import RunIdentity
from beam_jobs.schema import Feature, FeatureType
from beam_jobs.warehouse.tables import arrow_schema, scores_schema
from support.publishing import FEATURES, OCTOBER, scored_batch

RUN = RunIdentity("r1", "monthly", OCTOBER, "7")


def test_scores_have_the_tables_columns_and_the_ads_own() -> None:
    batch = scored_batch(1, 3)
    part = scores_part(batch, RUN, FEATURES)
    assert part.schema == scores_schema(FEATURES)
    rows = pa.Table.from_batches([part]).to_pylist()
    assert rows[1] == {
        "run_id": "r1",
        "job": "monthly",
        "period": OCTOBER,
        "key": "a.csv-2",
        "score": 0.002,
        "outputs": None,
        "model_version": "7",
        "flags": [],
        "source_file": "a.csv",
        "source_row": 2,
        "price": 0.5,
        "rows": 2,
        "device": "mobile",
        "tags": ["x", "y"],
    }
    assert rows[0]["flags"] == ["OUT_OF_DOMAIN"]


def test_a_feature_that_clashes_with_a_column_is_renamed_and_a_missing_one_is_null() -> None:
    features = (Feature("score", FeatureType.INT), Feature("gone", FeatureType.FLOAT))
    batch = set_column(scored_batch(1, 2), "score", pa.array([5, 6]))
    rows = pa.Table.from_batches([scores_part(batch, RUN, features)]).to_pylist()
    assert [(row["score"], row["ad_score"], row["gone"]) for row in rows] == [
        (0.001, 5, None),
        (0.002, 6, None),
    ]


def test_scores_of_no_rows_keep_the_schema() -> None:
    part = scores_part(scored_batch(1, 4).slice(0, 0), RUN, FEATURES)
    assert part.num_rows == 0
    assert part.schema == scores_schema(FEATURES)


def test_quarantine_keeps_reasons_details_and_the_record() -> None:
    part = quarantine_part(scored_batch(5, 2, broken=[6]).slice(1), RUN)
    assert part.schema == arrow_schema("quarantine")
    (row,) = pa.Table.from_batches([part]).to_pylist()
    assert row["reasons"] == ["OUT_OF_RANGE", "INVALID_TYPE"]
    assert row["details"] == [
        {"reason": "OUT_OF_RANGE", "feature": "price", "detail": "-1, at least 0"},
        {"reason": "INVALID_TYPE", "feature": "rows", "detail": "'x', an INT"},
    ]
    assert (row["raw"], row["source_file"], row["source_row"]) == (b"row 6", "a.csv", 6)


@pytest.mark.parametrize("excess", [-1, 0, 1, 5000])
def test_raw_is_cut_at_the_limit(excess: Any) -> None:
    raw = b"x" * (RAW_LIMIT_BYTES + excess)
    batch = set_column(scored_batch(1, 2), RAW, pa.array([b"short", raw]))
    kept = quarantine_part(batch, RUN).column(6).to_pylist()
    assert kept == [b"short", raw[:RAW_LIMIT_BYTES]]


def test_raw_of_a_row_without_a_record_is_its_own_columns_as_json() -> None:
    batch = scored_batch(1, 2)
    batch = set_column(batch, RAW, pa.array([None, b"kept"], pa.binary()))
    batch = set_column(batch, "price", pa.array([math.nan, 1.0]))
    batch = set_column(batch, "blob", pa.array([b"\xff\x00a", b""]))
    batch = set_column(batch, "when", pa.array([OCTOBER, OCTOBER]))
    made, kept = quarantine_part(batch, RUN).column(6).to_pylist()
    assert kept == b"kept"
    assert json.loads(made) == {
        "price": "nan",
        "rows": 1,
        "device": "desktop",
        "tags": ["x"],
        "blob": "\\xff\x00a",
        "when": "2026-10-01",
    }


def test_a_part_reads_back_as_written_one_row_group_a_batch(tmp_path: Path) -> None:
    batches = [scores_part(scored_batch(1 + n * 10, 10), RUN, FEATURES) for n in range(3)]
    uri = str(tmp_path / "scores" / "part.parquet")
    writer = PartWriter(PartTable.SCORES, uri)
    for batch in batches:
        writer.write(batch)
    assert not Path(uri).exists()
    assert not list(tmp_path.glob("scores/*.parquet"))
    part = writer.close()
    assert (part.rows, part.bytes) == (30, os.path.getsize(uri))
    written = pa.Table.from_batches(batches)  # in the file, lists hold `element`, not `item`
    assert pq.read_table(uri).cast(written.schema).equals(written)
    assert pq.read_metadata(uri).num_row_groups == 3


def test_an_aborted_part_leaves_nothing(tmp_path: Path) -> None:
    writer = PartWriter(PartTable.SCORES, str(tmp_path / "part.parquet"))
    writer.write(scores_part(scored_batch(1, 10), RUN, FEATURES))
    writer.abort()
    del writer
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "scores").write_text("a file")
    with pytest.raises(RunError, match=r"scores/p.parquet: cannot be written"):
        PartWriter(PartTable.SCORES, str(tmp_path / "scores" / "p.parquet"))


_FULL = """
import resource, signal, sys
sys.path.insert(0, {kit!r})
from support.publishing import FEATURES, OCTOBER, scored_batch
from beam_jobs.errors import RunError
from beam_jobs.runs.run_row import RunIdentity
from beam_jobs.publish.part_writer import RangeWriter
from beam_jobs.batch import DEFAULT_ACTIONS, BatchKey
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run = RunIdentity("r1", "monthly", OCTOBER, "7")
writer = RangeWriter({folder!r}, run, FEATURES, DEFAULT_ACTIONS)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    for number in range(100):
        writer.write(BatchKey(0, 0, number), scored_batch(1 + number * 1000, 1000))
except RunError as error:
    print(error)
    writer.abort()
"""


def test_a_full_disk_is_one_clear_line_and_leaves_no_part(tmp_path: Path) -> None:
    script = _FULL.format(kit=str(Path(__file__).parents[1]), folder=str(tmp_path / "run"))
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "cannot be written (File too large)" in done.stdout
    assert done.stdout.count("\n") == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def _rows(parts: Any, table: Any) -> Any:
    tables = [pq.read_table(part.uri).to_pylist() for part in parts if part.table is table]
    return [row for rows in tables for row in rows]


@given(
    byte_ranges=st.lists(
        st.tuples(
            st.integers(0, 1),
            st.integers(0, 2),
            st.lists(st.tuples(st.integers(0, 9), st.sets(st.integers(0, 8))), max_size=4),
        ),
        max_size=4,
        unique_by=lambda byte_range: byte_range[:2],
    )
)
def test_every_row_is_in_exactly_one_part_and_counted(
    tmp_path_factory: pytest.TempPathFactory, byte_ranges: Any
) -> None:
    folder = tmp_path_factory.mktemp("run")
    writer = RangeWriter(str(folder), RUN, FEATURES, DEFAULT_ACTIONS)
    parts, expected, first = [], [], 1
    for file_index, byte_range, batches in byte_ranges:
        for number, (rows, broken) in enumerate(batches):
            stops = {first + place for place in broken if place < rows}
            expected += [
                (file_index, place, place in stops) for place in range(first, first + rows)
            ]
            if rows:
                batch = scored_batch(first, rows, f"{file_index}", sorted(stops))
                parts += writer.write(BatchKey(file_index, byte_range, number), batch)
            first += rows
    parts += writer.close()
    got = [(int(r["source_file"]), r["source_row"], False) for r in _rows(parts, PartTable.SCORES)]
    got += [
        (int(r["source_file"]), r["source_row"], True) for r in _rows(parts, PartTable.QUARANTINE)
    ]
    assert sorted(got) == sorted(expected)
    assert {str(path) for path in folder.rglob("*") if path.is_file()} == {p.uri for p in parts}
    for file_index, counts in writer.counts.items():
        stopped = sum(1 for row in expected if row[0] == file_index and row[2])
        total = sum(1 for row in expected if row[0] == file_index)
        assert (counts.read, counts.scored, counts.quarantined) == (total, total - stopped, stopped)
        wanted = {Reason.OUT_OF_RANGE: stopped, Reason.INVALID_TYPE: stopped} if stopped else {}
        assert {r: n for r, n in counts.reasons if r is not Reason.OUT_OF_DOMAIN} == wanted


def test_a_part_is_closed_when_it_is_large_and_when_the_byte_range_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RangeWriter, "MAX_ROWS", 20)
    writer = RangeWriter(str(tmp_path), RUN, FEATURES, DEFAULT_ACTIONS)
    for number in range(3):
        writer.write(BatchKey(0, 0, number), scored_batch(1 + 10 * number, 10))
    writer.write(BatchKey(0, 1, 0), scored_batch(31, 10))
    writer.close()
    assert sorted(os.listdir(tmp_path / "scores")) == [
        "part-00000-00000-000000.parquet",
        "part-00000-00000-000002.parquet",
        "part-00000-00001-000000.parquet",
    ]
    monkeypatch.setattr(RangeWriter, "MAX_BYTES", 1)
    assert len(writer.write(BatchKey(5, 0, 0), scored_batch(1, 10))) == 1


def test_counts_add_up_reason_by_reason() -> None:
    left = SourceCounts(0, 3, 1, 2, ((Reason.NOT_FINITE, 2),), ((Reason.OUT_OF_DOMAIN, 1),))
    right = SourceCounts(0, 4, 3, 1, ((Reason.INVALID_TYPE, 1), (Reason.NOT_FINITE, 1)))
    assert left + right == SourceCounts(
        0,
        7,
        4,
        3,
        ((Reason.INVALID_TYPE, 1), (Reason.NOT_FINITE, 3)),
        ((Reason.OUT_OF_DOMAIN, 1),),
    )


def test_a_row_with_one_reason_twice_counts_once(tmp_path: Path) -> None:
    found = Findings(Reason.NOT_FINITE, np.array([1, 1, 2]), ["price: nan", "x: inf", "price: nan"])
    batch = with_findings(scored_batch(1, 4), [found])
    writer = RangeWriter(str(tmp_path), RUN, FEATURES, DEFAULT_ACTIONS)
    writer.write(BatchKey(0, 0, 0), batch)
    writer.close()
    assert dict(writer.counts[0].reasons) == {Reason.NOT_FINITE: 2}
    assert dict(writer.counts[0].flags) == {Reason.OUT_OF_DOMAIN: 1}
