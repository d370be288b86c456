"""A runner that loses or doubles anything anywhere is stopped before anything is published."""

from pathlib import Path

import lossy_kit
import pytest
from conftest import Run
from lossy_kit import DOUBLES, LOSES, Fault, Place

from beam_jobs.publish.warehouse import open_warehouse
from beam_jobs.read import spans

pytestmark = pytest.mark.integration

RUNNER = "--runner=lossy_kit.LossyRunner"
FILES = Place("SplitFiles/Files/Map(decode)")
GUESSED_SPANS = Place("SplitFiles/Guess spans/FlatMap(_candidates)", "guessed")
SCANS = Place("SplitFiles/Scan")
SPANS = Place("SplitFiles/Spread spans/RemoveRandomKeys")
SPANS_OF_THE_READER = Place("Spread spans again/RemoveRandomKeys")
KEY_FILES = Place("FindDuplicateKeys/Read keys")
DUPLICATES = Place("FindDuplicateKeys/Find duplicates")
BATCHES = Place("ReadSpans/Read/FlatMap(_read)")
READS = Place("ReadSpans/Read/FlatMap(_read)", "rows")
SCORED_BATCHES = Place("Count rows")
PARTS = Place("WriteParts/Write/ParDo(_WriteParts)")
COUNTS = Place("WriteParts/Write/ParDo(_WriteParts)", "counts")
MEASURED_BATCHES = Place("ComputeStatistics/To TFDV")
STATISTICS = Place("ComputeStatistics/Name data sets")
END = Place("Conclude/Plan/Map(decode)")


@pytest.fixture(scope="module")
def ads(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The flag for a few rows of the demo's files."""
    folder = tmp_path_factory.mktemp("ads")
    for file in (demo / "ads/2026-10").glob("*.csv"):
        (folder / file.name).write_bytes(b"".join(file.read_bytes().splitlines(True)[:150]))
    return f"--ads={folder}/*.csv"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(FILES, LOSES), "was read to row 0, which is not its end"),
        (Fault(GUESSED_SPANS, LOSES, element=5), "of its spans only or more than once 0, 1, 2"),
        (Fault(SCANS, DOUBLES, element=1), "of its spans only or more than once"),
        (Fault(SPANS, LOSES, element=3), "the runner lost or doubled a span"),
        (Fault(SPANS, DOUBLES), "the runner lost or doubled a span"),
        (Fault(SPANS_OF_THE_READER, LOSES, element=5), "the runner lost or doubled a span"),
        (Fault(KEY_FILES, LOSES), "the runner lost or doubled a span"),
        (Fault(DUPLICATES, LOSES), "keys that stand twice: 0 arrived where one must"),
        (Fault(BATCHES, LOSES, element=4), "does not add up"),
        (Fault(BATCHES, DOUBLES), "does not add up"),
        (Fault(READS, LOSES, element=2), "the runner lost or doubled a span"),
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
    monthly: Run,
    ads: str,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    message: str,
) -> None:
    monkeypatch.setattr(spans, "_LEAST_SPAN_BYTES", 1_500)  # the CSV files have six spans each
    monkeypatch.setattr(lossy_kit.state, "fault", fault)
    done = monthly("--json", ads, RUNNER, month="2026-10")
    assert lossy_kit.state.seen > fault.element, "the fault did not happen"
    assert (done.code, done.json["status"]) == (1, "FAILED"), done.err
    error = done.err.splitlines()[-1]
    assert error.startswith("beam-jobs: error: ")
    assert message in error
    assert "Traceback" not in done.err
    warehouse = open_warehouse(f"duckdb:{tmp_path}/ads.duckdb")
    assert [run.status.value for run in warehouse.runs()] == ["FAILED"]
    assert warehouse.query("SELECT * FROM scores").rows == []


def test_a_fault_without_effect_changes_nothing(
    monthly: Run, ads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The faulty step itself is no reason to fail."""
    monkeypatch.setattr(lossy_kit.state, "fault", Fault(BATCHES, times=1))
    done = monthly("--json", ads, RUNNER, month="2026-10")
    assert (done.code, done.json["status"]) == (3, "HELD"), done.err
