"""What a run is compared with, and what is said of that which is not compared."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.config.verbs import MonthlyConfig
from beam_jobs.errors import UsageError
from beam_jobs.models.registry import ModelLocation
from beam_jobs.plan.checks import checks_off
from beam_jobs.plan.monthly import find_previous
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import RUN_COLUMNS, RunRow, RunStatus
from beam_jobs.statistics.files import ScoredBy, Statistics

OCTOBER = datetime.date(2026, 10, 1)
MODEL = ModelLocation("models/ads/4", "4", "ffff")
SCHEMA = schema_pb2.Schema()
SCHEMA.feature.add(name="device", type=schema_pb2.BYTES).string_domain.value.extend(
    ["a", "b", "c", "d", "e"]
)


def statistics(*features: str, slices: tuple[str, ...] = ()) -> Statistics:
    made = Statistics()
    for name in ("all", *slices):
        dataset = made.datasets.add(name=name, num_examples=1)
        for feature in features:
            dataset.features.add().path.step.append(feature)
    return made


def off(made: Statistics, *slices: str) -> list[str]:
    return checks_off(made, "the baseline", SCHEMA, slices, MODEL)


def test_a_baseline_without_the_score_is_told() -> None:
    (note,) = off(statistics("device"))
    assert note.startswith("the baseline has no statistics of the score")
    assert off(statistics("device", "score")) == []


def test_slices_that_a_reference_lacks_are_told() -> None:
    (note,) = off(statistics("score"), "device")
    assert note.startswith("the baseline has no slice device=a, device=b, device=c and 2 more")
    (note,) = off(statistics("score", slices=tuple(f"device={v}" for v in "abcd")), "device")
    assert note.startswith("the baseline has no slice device=e:")


def test_scores_of_another_model_are_told() -> None:
    made = statistics("score")
    ScoredBy("4", "ffff").mark(made, "score")
    assert off(Statistics.FromString(made.SerializeToString())) == []
    other = statistics("score")
    ScoredBy("3", "eeee").mark(other, "score")
    (note,) = off(other)
    assert note.startswith("the baseline was scored by model version 3, this run by version 4")


class Runs(RunCatalog):
    """A warehouse of these runs."""

    def __init__(self, runs: list[RunRow]) -> None:
        self.found = runs

    @property
    def url(self) -> str:
        return "duckdb:ads.duckdb"

    def _runs(
        self, _bounds: Sequence[str], parameters: Mapping[str, Any], _order: str, _limit: int = 0
    ) -> list[RunRow]:
        found = self.found
        for name, value in parameters.items():
            found = [run for run in found if getattr(run, name) == value]
        return found


def run(tmp_path: Path, name: str, month: int, status: RunStatus, job: str = "monthly") -> RunRow:
    values: dict[str, Any] = dict.fromkeys(RUN_COLUMNS)
    now = datetime.datetime.now(datetime.UTC)
    values |= {"run_id": name, "job": job, "period": datetime.date(2026, month, 1),
               "status": status, "rows_read": 100, "started_at": now,
               "finished_at": now, "run_folder": str(tmp_path / name)}  # fmt: skip
    row = RunRow.from_record(values)
    folder = RunFolder(row.run_folder)
    Path(row.run_folder).mkdir()
    folder.write(folder.statistics, statistics("score").SerializeToString())
    return row


def config(**settings: str) -> MonthlyConfig:
    return MonthlyConfig(
        warehouse="duckdb:w", model="m", schema="s", runs="r", month="2026-10", ads=("a",),
        **settings,  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_month_that_was_skipped_and_the_runs_that_may_be_named_are_told(
    tmp_path: Path,
) -> None:
    august = run(tmp_path, "aug", 8, RunStatus.PUBLISHED)
    september = run(tmp_path, "sep", 9, RunStatus.HELD)
    queue = run(tmp_path, "queue", 9, RunStatus.PUBLISHED, job="requests")
    (note,) = find_previous(config(), Runs([]), OCTOBER).notes
    assert note == "no published run of 2026-09: drift is not measured"
    found = find_previous(config(), Runs([august, september, queue]), OCTOBER)
    assert (found.reference, found.run) == (None, None)
    (note,) = found.notes
    assert "no published run of 2026-09: drift is not measured" in note
    assert "run sep of it is HELD" in note
    assert "the latest published month is 2026-08 (--previous-run aug)" in note


def test_a_run_may_be_named_to_measure_drift_against(tmp_path: Path) -> None:
    september = run(tmp_path, "sep", 9, RunStatus.HELD)
    failed = run(tmp_path, "bad", 9, RunStatus.FAILED)
    queue = run(tmp_path, "queue", 9, RunStatus.PUBLISHED, job="requests")
    warehouse = Runs([september, failed, queue])
    found = find_previous(config(previous_run="sep"), warehouse, OCTOBER)
    assert found.run == september
    assert found.reference is not None
    assert found.statistics is not None
    assert (found.reference.run_id, found.notes) == ("sep", ())
    for name, message in (
        ("bad", "has failed"), ("queue", "is of the job requests"), ("none", "no such run"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=f"--previous-run.*{message}"):
            find_previous(config(previous_run=name), warehouse, OCTOBER)
    with pytest.raises(UsageError, match="one of them"):
        find_previous(config(previous_run="sep", previous="x"), warehouse, OCTOBER)
    Path(RunFolder(september.run_folder).statistics).unlink()
    (note,) = find_previous(config(previous_run="sep"), warehouse, OCTOBER).notes
    assert "of run sep is gone: drift is not measured" in note
