"""A runner that drops or duplicates anything anywhere is stopped before anything is published."""

from pathlib import Path

import pytest

from beam_jobs.read import splitting
from beam_jobs.runs.catalog import open_catalog
from support import lossy_runner
from support.commands import run_command
from support.lossy_runner import DOUBLES, LOSES, Fault, Place
from support.queues import good, make_setup, put, queue_flags

pytestmark = pytest.mark.integration

RUNNER = "--runner=support.lossy_runner.LossyRunner"
FILES = Place("SplitFiles/Files")
GUESSED_RANGES = Place("SplitFiles/Guess byte ranges/FlatMap(_candidates)", "guessed")
SCANS = Place("SplitFiles/Scan")
RANGES = Place("SplitFiles/Spread byte ranges/RemoveRandomKeys")
RANGES_OF_THE_READER = Place("Spread byte ranges again/RemoveRandomKeys")
KEY_FILES = Place("FindDuplicateKeys/Read keys")
DUPLICATES = Place("FindDuplicateKeys/Find duplicates")
BATCHES = Place("ReadRanges/Read/FlatMap(_read)")
READS = Place("ReadRanges/Read/FlatMap(_read)", "rows")
SCORED_BATCHES = Place("Count rows")
PARTS = Place("WriteParts/Write/ParDo(_WriteParts)")
COUNTS = Place("WriteParts/Write/ParDo(_WriteParts)", "counts")
MEASURED_BATCHES = Place("ComputeStatistics/To TFDV")
STATISTICS = Place("ComputeStatistics/Name data sets")
GROUPS = Place("Spread groups again/RemoveRandomKeys")
SCANNED_IDS = Place("ScanIds/Scan ids")
UNREADABLE = Place("FindUnreadable/Find unreadable")
ANSWERS = Place("WriteAnswers/Write answers")
END = Place("Finalize/Plan/Map(decode)")


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model, its schema, and a month of two files."""
    folder = tmp_path_factory.mktemp("setup")
    make_setup(folder)
    for name in ("a", "b"):
        lines = [f"{row['id']},{row['bid']},{row['device']}\n" for row in good(name, 100)]
        (folder / f"{name}.csv").write_text("id,bid,device\n" + "".join(lines))
    return folder


@pytest.fixture
def command(setup: Path, tmp_path: Path) -> list[str]:
    return [
        "monthly",
        "--json",
        "--month=2026-10",
        f"--ads={setup}/*.csv",
        f"--model={setup}/model",
        f"--schema={setup}/schema.pbtxt",
        f"--runs={tmp_path}/runs",
        f"--warehouse=duckdb:{tmp_path}/ads.duckdb",
        "--key=id",
        RUNNER,
    ]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(FILES, LOSES), "was read to row 0, which is not its end"),
        (
            Fault(GUESSED_RANGES, LOSES, element=5),
            "of its byte ranges only or more than once 0, 1, 2",
        ),
        (Fault(SCANS, DOUBLES, element=1), "of its byte ranges only or more than once"),
        (Fault(RANGES, LOSES, element=3), "the runner dropped or duplicated a byte range"),
        (Fault(RANGES, DOUBLES), "the runner dropped or duplicated a byte range"),
        (
            Fault(RANGES_OF_THE_READER, LOSES, element=5),
            "the runner dropped or duplicated a byte range",
        ),
        (Fault(KEY_FILES, LOSES), "the runner dropped or duplicated a byte range"),
        (Fault(DUPLICATES, LOSES), "keys that appear twice: 0 arrived where one must"),
        (Fault(BATCHES, LOSES, element=4), "does not add up"),
        (Fault(BATCHES, DOUBLES), "does not add up"),
        (Fault(READS, LOSES, element=2), "the runner dropped or duplicated a byte range"),
        (Fault(SCORED_BATCHES, LOSES, element=1), "does not add up"),
        (Fault(PARTS, LOSES, element=1), "does not add up"),
        (Fault(PARTS, DOUBLES), "is listed twice"),
        (Fault(COUNTS, LOSES), "rows, but"),
        (Fault(MEASURED_BATCHES, LOSES), "the statistics cover"),
        (Fault(MEASURED_BATCHES, DOUBLES), "the statistics cover"),
        (Fault(STATISTICS, LOSES), "statistics: 0 arrived where one must"),
        (Fault(END, LOSES), "the runner says that it is done, but it never came to its end"),
    ],
)
def test_a_runner_that_loses_or_doubles_is_stopped(
    tmp_path: Path,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    message: str,
) -> None:
    monkeypatch.setattr(splitting, "_LEAST_RANGE_BYTES", 250)  # each file has six byte ranges
    monkeypatch.setattr(lossy_runner.state, "fault", fault)
    done = run_command(*command)
    assert lossy_runner.state.seen > fault.element, "the fault did not happen"
    assert (done.code, done.json["status"]) == (1, "FAILED"), done.err
    error = done.err.splitlines()[-1]
    assert error.startswith("beam-jobs: error: ")
    assert message in error
    assert "Traceback" not in done.err
    warehouse = open_catalog(f"duckdb:{tmp_path}/ads.duckdb")
    assert [run.status.value for run in warehouse.runs()] == ["FAILED"]
    assert warehouse.query("SELECT * FROM scores").rows == []


def test_answers_that_are_lost_or_doubled_are_never_given(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(tmp_path, "a.jsonl", good("a", 20))
    command = ["requests", *queue_flags(setup, tmp_path, "--json", RUNNER)]
    for fault, message in (
        (Fault(ANSWERS, LOSES), f"{file.uri}: the answers do not follow each other"),
        (Fault(ANSWERS, DOUBLES), f"{file.uri}: the answers do not follow each other"),
        (Fault(GROUPS, LOSES), f"{file.uri}: was read to row 0, which is not its end"),
        (Fault(SCANNED_IDS, LOSES), "of 1 groups of request files the ids of [] arrived"),
        (Fault(SCANNED_IDS, DOUBLES), "of 1 groups of request files the ids of [0, 0] arrived"),
        (Fault(UNREADABLE, LOSES), "files left out: 0 arrived where one must"),
        (Fault(UNREADABLE, DOUBLES), "files left out: 2 arrived where one must"),
    ):
        monkeypatch.setattr(lossy_runner.state, "fault", fault)
        done = run_command(*command)
        assert lossy_runner.state.seen > 0, "the fault did not happen"
        assert (done.code, done.json["status"]) == (1, "FAILED"), done.err
        assert message in done.err.splitlines()[-1]
        assert not list(tmp_path.glob("responses/*"))
        warehouse = open_catalog(f"duckdb:{tmp_path}/ads.duckdb")
        assert [run.status.value for run in warehouse.runs()] == ["FAILED"]


def test_a_fault_without_effect_changes_nothing(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The faulty step itself is no reason to fail."""
    monkeypatch.setattr(lossy_runner.state, "fault", Fault(BATCHES, times=1))
    done = run_command(*command)
    assert (done.code, done.json["status"]) == (0, "PUBLISHED"), done.err
