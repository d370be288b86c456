"""The command line with models that do not fit: exit code 2, one line, nothing made."""

from pathlib import Path
from typing import Any

import pytest
from tensorflow.core.protobuf import saved_model_pb2

from beam_jobs.cli import main

SCHEMA = """
feature { name: "bid" type: FLOAT } feature { name: "device" type: BYTES }
feature { name: "clicked" type: INT }
"""
FLOAT, STRING, INT64 = 1, 7, 9


def write_model(
    folder: Path, inputs: dict[str, tuple[int, list[int]]], outputs: dict[str, list[int]]
) -> None:
    saved = saved_model_pb2.SavedModel()
    graph = saved.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    signature = graph.signature_def["serving_default"]
    for name, (dtype, sizes) in inputs.items():
        signature.inputs[name].dtype = dtype
        for size in sizes:
            signature.inputs[name].tensor_shape.dim.add(size=size)
    for name, sizes in outputs.items():
        signature.outputs[name].dtype = FLOAT
        for size in sizes:
            signature.outputs[name].tensor_shape.dim.add(size=size)
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Plans a month with the model in `model`; gives the exit code."""
    (tmp_path / "schema.pbtxt").write_text(SCHEMA)
    (tmp_path / "ads.csv").write_text("bid,device,clicked\n0.5,tv,1\n")
    monkeypatch.chdir(tmp_path)
    flags = "--month 2026-10 --ads ads.csv --schema schema.pbtxt --runs runs --label clicked"
    warehouse = "--warehouse duckdb:ads.duckdb"

    def run(*more: str) -> int:
        return main(["monthly", *flags.split(), *warehouse.split(), "--plan", *more])

    return run


def test_a_model_that_fits_is_planned(plan: Any, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(Path("model"), {"bid": (FLOAT, [-1]), "device": (STRING, [-1, 1])}, {"p": [-1, 2]})
    assert plan("--model", "model") == 0
    assert "signature serving_default" in capsys.readouterr().out
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("inputs", "outputs", "more", "message"),
    [
        (
            {"bid": (INT64, [-1]), "clicked": (INT64, [-1])}, {"p": [-1]}, [],
            "input bid: int64 [None], but in the schema FLOAT; input clicked: int64 [None], but in"
            " the schema 'clicked' is the label",
        ),
        ({"bid": (FLOAT, [-1])}, {"p": [-1, 3]}, [], "for example --score p:1"),
        ({"bid": (FLOAT, [-1])}, {"p": [-1]}, ["--score", "q"], "--score q: no such output"),
        (
            {"bid": (FLOAT, [-1])}, {"p": [-1]}, ["--signature", "predict"],
            "--signature predict: not in",
        ),
    ],
)  # fmt: skip
def test_a_model_that_does_not_fit_is_refused(
    plan: Any,
    capsys: pytest.CaptureFixture[str],
    inputs: dict[str, Any],
    outputs: dict[str, Any],
    more: list[str],
    message: str,
) -> None:
    write_model(Path("model"), inputs, outputs)
    assert plan("--model", "model", *more) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert len(told.err.strip().splitlines()) == 1
    assert told.out == ""
    assert sorted(path.name for path in Path().iterdir()) == ["ads.csv", "model", "schema.pbtxt"]
