"""What the audit finds in a run's results before they are published."""

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_jobs.batch import KEY, SCORE, Findings, Reason, set_column, with_findings
from beam_jobs.errors import AuditError
from beam_jobs.publish.part_files import PartWriter, scores_part
from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.parts import PartTable
from beam_jobs.runs.run_row import RunIdentity, RunStatus
from support.publishing import FEATURES, OCTOBER, month_state, on_duckdb, scored_batch, write_run


def _refused(warehouse: RunCatalog, written: Any, message: str) -> None:
    publish_run(warehouse, *write_run(os.path.dirname(written[0].run_folder) + "/x", "before"))
    before = month_state(warehouse)
    with pytest.raises(AuditError, match=message):
        publish_run(warehouse, *written)
    assert month_state(warehouse) == before


def test_a_lost_part_is_found(warehouse: RunCatalog, tmp_path: Path) -> None:
    run, parts, tables = write_run(str(tmp_path / "runs"), "r1")
    _refused(
        warehouse,
        (run, parts[1:], tables),
        r"a.csv: 80 read, but 77 scored \+ 0 quarantined = 77"
        if parts[0].table is PartTable.QUARANTINE
        else r"a.csv: 80 read, but 0 scored \+ 3 quarantined = 3; scores: 77 rows staged, 77 in the"
        r" parts, 154 in the run; 160 read, but 77 \+ 6 staged",
    )


@on_duckdb
def test_a_part_listed_twice_is_found(warehouse: RunCatalog, tmp_path: Path) -> None:
    run, parts, tables = write_run(str(tmp_path / "runs"), "r1")
    _refused(warehouse, (run, [*parts, parts[0]], tables), "is listed twice")


@on_duckdb
def test_a_part_written_twice_under_two_names_is_found(
    warehouse: RunCatalog, tmp_path: Path
) -> None:
    run, parts, tables = write_run(str(tmp_path / "runs"), "r1")
    scores = next(part for part in parts if part.table is PartTable.SCORES)
    copy = dataclasses.replace(scores, uri=scores.uri.replace("part-", "part-9"))
    shutil.copy(scores.uri, copy.uri)
    _refused(
        warehouse,
        (run, [*parts, copy], tables),
        r"a.csv: 80 read, but 154 scored \+ 3 quarantined = 157, from 80 different records",
    )


def _with_scores(tmp_path: Path, name: str, batch: Any, run_id: str | None = None) -> Any:
    """A run whose first scores part holds these rows instead."""
    run, parts, tables = write_run(str(tmp_path / "runs"), name)
    at = next(i for i, part in enumerate(parts) if part.table is PartTable.SCORES)
    writer = PartWriter(PartTable.SCORES, parts[at].uri)
    identity = RunIdentity(run_id or name, "monthly", OCTOBER, "3")
    writer.write(scores_part(batch, identity, FEATURES))
    parts[at] = writer.close()
    return run, parts, tables


@on_duckdb
def test_one_record_lost_and_another_doubled_is_found(
    warehouse: RunCatalog, tmp_path: Path
) -> None:
    batch = scored_batch(4, 76)
    doubled = pa.concat_tables([pa.Table.from_batches([b]) for b in (batch, batch.slice(0, 1))])
    keys = pa.array([str(i) for i in range(77)])
    doubled = doubled.combine_chunks().to_batches()[0]
    written = _with_scores(tmp_path, "r1", set_column(doubled, KEY, keys))
    _refused(warehouse, written, r"80 read, but 77 scored \+ 3 quarantined = 80, from 79 different")


def test_a_key_twice_is_found_unless_the_row_says_so(warehouse: RunCatalog, tmp_path: Path) -> None:
    batch = scored_batch(4, 77)
    keys = pa.array(["same", "same", *(str(i) for i in range(75))])
    batch = set_column(batch, KEY, keys)
    _refused(warehouse, _with_scores(tmp_path, "r1", batch), "key 'same' appears 2 times in scores")
    found = Findings(Reason.DUPLICATE_KEY, pa.array([1]).to_numpy(), ["key: same"])
    flagged = _with_scores(tmp_path, "r2", with_findings(batch, [found]))
    assert publish_run(warehouse, *flagged).status is RunStatus.PUBLISHED


@on_duckdb
def test_rows_without_a_key_are_no_duplicates(warehouse: RunCatalog, tmp_path: Path) -> None:
    batch = set_column(scored_batch(4, 77), KEY, pa.nulls(77, pa.string()))
    written = _with_scores(tmp_path, "r1", batch)
    assert publish_run(warehouse, *written).status is RunStatus.PUBLISHED


@on_duckdb
def test_a_row_without_a_score_is_found(warehouse: RunCatalog, tmp_path: Path) -> None:
    batch = set_column(scored_batch(4, 77), SCORE, pa.array([None, *([0.5] * 76)], pa.float64()))
    _refused(warehouse, _with_scores(tmp_path, "r1", batch), "1 rows of scores without a score")


def test_rows_of_another_run_are_found(warehouse: RunCatalog, tmp_path: Path) -> None:
    written = _with_scores(tmp_path, "r1", scored_batch(4, 77), run_id="other")
    _refused(warehouse, written, "77 rows of scores of another run or period")


def test_an_input_that_the_reader_counted_otherwise_is_found(
    warehouse: RunCatalog, tmp_path: Path
) -> None:
    run, parts, tables = write_run(str(tmp_path / "runs"), "r1")
    rows = [{**row, "rows": row["rows"] + 1} for row in tables["inputs"].to_pylist()]
    tables["inputs"] = pa.Table.from_pylist(rows, schema=tables["inputs"].schema)
    _refused(warehouse, (run, parts, tables), r"a.csv: 81 read.*b.csv: 81 read")


@on_duckdb
def test_a_held_run_is_audited_too(warehouse: RunCatalog, tmp_path: Path) -> None:
    run, parts, tables = write_run(str(tmp_path / "runs"), "r1", status=RunStatus.HELD)
    _refused(warehouse, (run, parts[1:], tables), "does not add up")
