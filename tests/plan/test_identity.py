"""The run id changes with each thing that decides the result, and with nothing else."""

import dataclasses
import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.protobuf import saved_model_pb2

from beam_jobs import storage
from beam_jobs.config.verbs import DataConfig, Gate, MonthlyConfig
from beam_jobs.images import listing
from beam_jobs.images.limits import ImageLimits
from beam_jobs.images.spec import ImageSpec
from beam_jobs.models.registry import ModelLocation
from beam_jobs.monitoring.policy import Policy, Thresholds
from beam_jobs.plan import identity, plan_monthly
from beam_jobs.plan.identity import decided_by, run_id_of
from beam_jobs.plan.plan import Plan, Reference
from beam_jobs.plan.results_version import RESULTS_VERSION
from beam_jobs.runs.run_row import Job, RunRow, RunStatus

DAY = datetime.date(2026, 10, 1)
NOW = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
RUN = RunRow(
    run_id="0" * 16, job="monthly", period=DAY, status=RunStatus.PUBLISHED, started_at=NOW,
    finished_at=NOW, rows_read=7, rows_scored=7, rows_quarantined=0, model="m", model_version="1",
    schema_fingerprint="s", baseline=None, previous_run_id=None, code_version="1", run_folder="r",
)  # fmt: skip
BASE: dict[str, Any] = {
    "job": Job.MONTHLY,
    "period": DAY,
    "inputs": (storage.FileInfo("a.csv", 3, "3-1"), storage.FileInfo("b.csv", 4, "4-1")),
    "model": ModelLocation("models/ads/3", "3", "f3"),
    "schema": "abc",
    "baseline": Reference("baseline", "b1"),
    "previous": Reference("previous", "p1", "run"),
    "previous_run": RUN,
    "policy": Policy(),
    "gate": Gate.HOLD,
    "data": DataConfig(),
    "images": ImageSpec("banner", "images", ImageLimits(), 30, fingerprint="i1"),
    "responses": None,
}
OTHERS: dict[str, list[Any]] = {
    "job": [Job.REQUESTS],
    "period": [datetime.date(2026, 11, 1)],
    "inputs": [
        BASE["inputs"][:1],
        (*BASE["inputs"], storage.FileInfo("c.csv", 1, "1-1")),
        (storage.FileInfo("a.csv", 3, "3-2"), BASE["inputs"][1]),
        (storage.FileInfo("z.csv", 3, "3-1"), BASE["inputs"][1]),
    ],
    "model": [ModelLocation("models/ads/3", "3", "f4"), ModelLocation("models/ads/4", "4", "f3")],
    "schema": ["abd"],
    "baseline": [None, Reference("baseline", "b2")],
    "previous": [None, Reference("previous", "p2", "run"), Reference("previous", "p1", "other")],
    "previous_run": [
        None,
        dataclasses.replace(RUN, run_id="1" * 16),
        dataclasses.replace(RUN, rows_read=8),
    ],
    "policy": [
        Policy(features={"bid": 0.5}),
        *(
            Policy(thresholds=dataclasses.replace(Thresholds(), **{field.name: 0.4321}))
            for field in dataclasses.fields(Thresholds)
        ),
    ],
    "gate": [Gate.PUBLISH, Gate.HOLD_ALWAYS],
    "data": [
        dataclasses.replace(DataConfig(), **{field.name: value})  # type: ignore[arg-type]
        for field in dataclasses.fields(DataConfig)
        for value in [77 if field.name in ("image_max_bytes", "image_max_pixels", "image_timeout")
                      else ("x",) if field.name == "slice" else "x"]
    ],
    "images": [None, dataclasses.replace(BASE["images"], fingerprint="i2")],
    "responses": ["responses"],
}  # fmt: skip
CHANGES = [(name, value) for name, values in OTHERS.items() for value in values]


def test_nothing_that_decides_is_forgotten() -> None:
    assert set(OTHERS) == set(BASE)


@given(st.lists(st.sampled_from(range(len(CHANGES))), max_size=4, unique=True))
def test_the_id_is_another_exactly_where_something_differs(changed: list[int]) -> None:
    made = BASE | dict(CHANGES[place] for place in changed)
    again = dict(reversed(made.items()))
    assert run_id_of(decided_by(**made)) == run_id_of(decided_by(**again))
    same = run_id_of(decided_by(**made)) == run_id_of(decided_by(**BASE))
    assert same == (not changed)


def test_what_does_not_decide_does_not_count() -> None:
    moved = BASE | {
        "model": dataclasses.replace(BASE["model"], path="elsewhere/3", choice="the highest"),
        "baseline": Reference("elsewhere", "b1"),
        "previous": Reference("elsewhere", "p1", "run"),
    }
    assert run_id_of(decided_by(**moved)) == run_id_of(decided_by(**BASE))


def test_a_raised_results_version_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    before = run_id_of(decided_by(**BASE))
    monkeypatch.setattr(identity, "RESULTS_VERSION", RESULTS_VERSION + 1)
    assert run_id_of(decided_by(**BASE)) != before


SCHEMA = """
feature { name: "bid" type: FLOAT } feature { name: "banner" type: BYTES image_domain {} }
"""


def write_model(folder: Path, output: str = "score") -> None:
    saved = saved_model_pb2.SavedModel()
    graph = saved.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    signature = graph.signature_def["serving_default"]
    for infos, name in ((signature.inputs, "bid"), (signature.outputs, output)):
        infos[name].dtype = 1
        infos[name].tensor_shape.dim.add(size=-1)
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    """Plans a month of `ads.csv` with `images/` and `models/1`."""
    (tmp_path / "schema.pbtxt").write_text(SCHEMA)
    (tmp_path / "ads.csv").write_text("bid,banner\n0.5,a.png\n")
    (tmp_path / "images/deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png"):
        (tmp_path / "images" / name).write_bytes(b"12345")
        os.utime(tmp_path / "images" / name, ns=(1, 1))
    write_model(tmp_path / "models/1")
    monkeypatch.chdir(tmp_path)

    def run(**more: Any) -> Plan:
        flags: dict[str, Any] = {
            "month": "2026-10", "ads": ("ads.csv",), "model": "models", "schema": "schema.pbtxt",
            "runs": "runs", "warehouse": "duckdb:w.duckdb", "images": "images", "json": False,
        }  # fmt: skip
        return plan_monthly(MonthlyConfig(**flags | more))

    return run


def replaced() -> None:
    """Another banner of the same size under the old name."""
    Path("images/deep/b.png").write_bytes(b"54321")
    os.utime("images/deep/b.png", ns=(2, 2))


@pytest.mark.parametrize(
    "change",
    [
        replaced,
        lambda: Path("images/a.png").write_bytes(b"1234"),
        lambda: Path("images/c.png").write_bytes(b""),
        lambda: Path("images/a.png").unlink(),
        lambda: Path("images/a.png").rename("images/A.png"),
        lambda: Path("models/1/image.json").write_text('{"fit": "pad"}'),
        lambda: write_model(Path("models/2")),
        lambda: Path("schema.pbtxt").write_text(SCHEMA + 'feature { name: "x" type: INT }'),
        lambda: Path("ads.csv").write_text("bid,banner\n1.5,a.png\n"),
    ],
)
def test_a_changed_file_makes_another_run(
    plan: Callable[..., Plan], change: Callable[[], Any]
) -> None:
    before = plan()
    assert plan().run_id == before.run_id
    assert plan(runs="elsewhere", warehouse="duckdb:other.duckdb").run_id == before.run_id
    change()
    assert plan().run_id != before.run_id


def test_the_plan_tells_what_decided(plan: Callable[..., Plan]) -> None:
    made = plan().to_json()
    assert made["results_version"] == RESULTS_VERSION
    assert len(made["images"]["fingerprint"]) == 16


def test_a_version_that_was_copied_there_is_in_the_notes(plan: Callable[..., Plan]) -> None:
    assert not any("aliases.json" in note for note in plan().notes)
    write_model(Path("models/2"))
    made = plan()
    (note,) = [note for note in made.notes if "aliases.json" in note]
    assert "so version 2 is taken, the highest, there since 20" in note
    assert note in made.to_json()["notes"]


def test_images_that_are_too_many_to_list_are_told(
    plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    listed = storage.list_files

    def list_files(folder: str, limit: int | None = None) -> list[storage.FileInfo]:
        asked.append(limit)
        return listed(folder, limit)

    monkeypatch.setattr(storage, "list_files", list_files)
    monkeypatch.setattr(listing, "MOST_IMAGES", 2)
    assert not any("--images" in note for note in plan().notes)
    Path("images/c.png").write_bytes(b"x")
    before = plan()
    (note,) = [note for note in before.notes if "--images" in note]
    assert "so the run's id does not tell which they are; after replacing some" in note
    assert before.images is not None
    assert before.images.fingerprint is None
    replaced()
    assert plan().run_id == before.run_id
    assert asked.count(3) == 3


def test_images_of_cloud_storage_are_told_by_their_generations(gcs: Any) -> None:
    for name in ("a.png", "deep/b.png"):
        gcs.put(gcs.uri(f"images/{name}"), b"12345")
    before = listing.fingerprint_of(gcs.uri("images"))
    assert listing.fingerprint_of(gcs.uri("images")) == before
    gcs.put(gcs.uri("images/a.png"), b"54321")
    assert listing.fingerprint_of(gcs.uri("images")) != before
