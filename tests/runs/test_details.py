"""`beam-jobs show RUN`: all of a run, whatever became of it."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beam_jobs import cli
from beam_jobs.batch import Reason
from beam_jobs.publish.decisions import reject
from beam_jobs.publish.publishing import fail_run, publish_run
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.details import SAMPLES, details
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import RunRow, RunStatus
from beam_jobs.runs.summary import ScoreFigures, write_summary
from support.publishing import OCTOBER, on_duckdb, write_run
from support.summaries import summary

PLAN = {
    "gate": "HOLD",
    "policy": "p1",
    "settings": {"signature": "serving_default"},
    "schema": {"uri": "/ads/schema.pbtxt"},
    "previous": {"uri": "/runs/r0/statistics.binpb"},
    "inputs": [{"uri": "planned.csv", "size": 7, "generation": "1-1"}],
}


@pytest.fixture
def make(tmp_path: Path, warehouse: RunCatalog) -> Any:
    """Publishes or holds a run whose folder has what a job writes beside its parts."""

    def publish(name: str, **options: Any) -> Any:
        run, parts, tables = write_run(str(tmp_path / "runs"), name, **options)
        run = publish_run(warehouse, run, parts, tables)
        folder = RunFolder(run.run_folder)
        folder.write(folder.plan, json.dumps(PLAN).encode())
        found = summary(reasons={Reason.OUT_OF_RANGE: 6}, score=ScoreFigures(0.5, 0.1, 0.9))
        write_summary(folder, found)
        return run

    return publish


def test_a_held_run_is_shown_whole(warehouse: RunCatalog, make: Callable[..., RunRow]) -> None:
    run = make("r1", status=RunStatus.HELD, quarantined=40)
    found = details(warehouse, "r1")
    assert found["run"] == run.to_json()
    assert found["gate"] == {"gate": "HOLD", "reasons": ["VOLUME"], "status": "HELD"}
    (anomaly,) = found["anomalies"]
    assert (anomaly["code"], anomaly["description"]) == ("r1", "device moved")
    assert [row["uri"] for row in found["inputs"]] == ["a.csv", "b.csv"]
    assert found["quarantine"]["reasons"] == {"OUT_OF_RANGE": 6}
    samples = found["quarantine"]["samples"]
    # All rows have the first two reasons; the third only the first row of each file, so that of the
    # second file is shown for its sake.
    count = [sum(reason in row["reasons"] for row in samples) for reason in samples[0]["reasons"]]
    assert count == [SAMPLES + 1, SAMPLES + 1, 2]
    assert {(row["source_file"], row["source_row"]) for row in samples[:1]} == {("a.csv", 1)}
    assert samples[0]["raw"] == b"row 1"
    assert found["versions"] == {
        "model": "/models/ads/3",
        "model_version": "3",
        "signature": "serving_default",
        "schema": "/ads/schema.pbtxt",
        "schema_fingerprint": "s1",
        "baseline": None,
        "previous": "/runs/r0/statistics.binpb",
        "previous_run_id": None,
        "policy": "p1",
        "code_version": "0.1",
    }
    assert (found["error"], found["traceback"], found["missing"]) == (None, None, [])
    reject(warehouse, "r1", "a file is cut")
    found = details(warehouse, "r1")
    assert [(each["action"], each["reason"]) for each in found["publications"]] == [
        ("REJECTED", "a file is cut")
    ]
    assert len(found["anomalies"]) == 1


@on_duckdb
def test_a_superseded_run_tells_its_decisions(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
    make("r1")
    make("r2", order=1)
    found = details(warehouse, "r1")
    assert found["run"]["status"] == "SUPERSEDED"
    assert [(each["run_id"], each["replaced_run_id"]) for each in found["publications"]] == [
        ("r1", None),
        ("r2", "r1"),
    ]
    assert (len(found["anomalies"]), len(found["inputs"])) == (1, 2)


@on_duckdb
def test_a_failed_run_tells_why_and_what_it_read(warehouse: RunCatalog, tmp_path: Path) -> None:
    run, _, _ = write_run(str(tmp_path / "runs"), "r1")
    fail_run(warehouse, dataclasses.replace(run, error="planned.csv: cut off"))
    folder = RunFolder(run.run_folder)
    folder.write(folder.plan, json.dumps(PLAN).encode())
    folder.write(folder.traceback, b"Traceback ...")
    found = details(warehouse, "r1")
    assert (found["error"], found["traceback"]) == ("planned.csv: cut off", folder.traceback)
    assert [row["uri"] for row in found["inputs"]] == ["planned.csv"]
    assert (found["anomalies"], found["quarantine"]["samples"]) == ([], [])
    assert found["missing"] == []


@pytest.mark.parametrize("damage", ["gone", "part", "table", "summary"])
@on_duckdb
def test_what_is_gone_costs_itself_and_is_named(
    warehouse: RunCatalog, make: Callable[..., RunRow], damage: Any
) -> None:
    folder = RunFolder(make("r1", status=RunStatus.HELD).run_folder)
    if damage == "gone":
        shutil.rmtree(folder.path)
        expected = folder.path
    elif damage == "part":
        shutil.rmtree(f"{folder.path}/quarantine")
        expected = "quarantine/part-"
    elif damage == "table":
        RunFolder(folder.path).write(folder.anomalies, b"PAR1")
        expected = folder.anomalies
    else:
        folder.write(folder.plan, b"{")
        expected = folder.plan
    found = details(warehouse, "r1")
    assert found["run"]["run_id"] == "r1"
    assert found["missing"]
    assert all(expected in line for line in found["missing"])
    # The warehouse still has the anomalies of a held run.
    assert len(found["anomalies"]) == (0 if damage == "table" else 1)


@on_duckdb
def test_the_verb_shows_it_to_people_and_programs(
    warehouse: RunCatalog, make: Callable[..., RunRow], capsys: pytest.CaptureFixture[str]
) -> None:
    make("r1", status=RunStatus.HELD)
    assert cli.main(["show", "r1", "--warehouse", warehouse.url]) == 0
    out = capsys.readouterr().out
    for words in (
        f"monthly {OCTOBER}  HELD  r1",
        "read 160, scored 154, quarantined 6 3.75 %",
        "held because\n  VOLUME",
        "WARN SKEW device: skew (L_INFINITY 0.2, threshold 0.1). device moved [r1, against",
        "OUT_OF_RANGE: 6",
        "a.csv, row 1: OUT_OF_RANGE price: -1, at least 0; INVALID_TYPE rows: 'x', an INT",
        "| row 1",
        "a.csv: 10 bytes, 80 records",
        "model_version: 3",
    ):
        assert words in out
    assert cli.main(["show", "r1", "--warehouse", warehouse.url, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["run"]["run_id"] == "r1"
    assert shown["quarantine"]["samples"][0]["raw"] == "row 1"
    assert cli.main(["show", "nope", "--warehouse", warehouse.url]) == 2
    assert "there is no such run" in capsys.readouterr().err


def test_anomalies_of_a_run_that_is_no_longer_in_the_warehouse_come_from_its_folder(
    warehouse: RunCatalog, make: Callable[..., RunRow], capsys: pytest.CaptureFixture[str]
) -> None:
    first = make("r1")
    make("r2", order=1)
    ask = ("anomalies", "r1", "--warehouse", warehouse.url, "--json")
    assert cli.main([*ask]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["run_id"], row["code"], row["period"]) == ("r1", "r1", OCTOBER.isoformat())
    shutil.rmtree(first.run_folder)
    assert cli.main([*ask]) == 2
    assert "run r1: is SUPERSEDED; " in capsys.readouterr().err
