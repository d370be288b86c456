"""A model that fails on every row: the run says so, publishes nothing and loses no request."""

from pathlib import Path

import pytest
import tensorflow as tf

from support.commands import run_command
from support.queues import SCHEMA, ask, good, put, queue_flags

pytestmark = pytest.mark.integration


def make_model(folder: Path, *, is_broken: bool) -> None:
    """A version; the broken one fails whatever it is given."""

    def serve(bid: tf.Tensor) -> dict[str, tf.Tensor]:
        limit = -1.0 if is_broken else 1000.0
        with tf.control_dependencies([tf.debugging.assert_less(bid, limit, "no such table")]):
            return {"score": bid / 100}

    module = tf.Module()
    spec = [tf.TensorSpec([None], tf.float32, "bid")]
    module.serve = tf.function(serve, input_signature=spec)
    tf.saved_model.save(module, str(folder), {"serving_default": module.serve})


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("setup")
    (folder / "schema.pbtxt").write_text(SCHEMA)
    make_model(folder / "model/1", is_broken=False)
    make_model(folder / "model/2", is_broken=True)
    return folder


def test_a_month_fails_and_names_the_models_message(setup: Path, tmp_path: Path) -> None:
    rows = "".join(f"{row % 90}.5,tv\n" for row in range(1_000))
    (tmp_path / "ads.csv").write_text(f"bid,device\n{rows}")
    done = run_command(
        "monthly", "--month=2026-10", f"--ads={tmp_path}/ads.csv", f"--model={setup}/model",
        f"--schema={setup}/schema.pbtxt", f"--runs={tmp_path}/runs", "--json",
        f"--warehouse=duckdb:{tmp_path}/ads.duckdb",
    )  # fmt: skip
    assert done.code == 1
    assert f"model {setup}/model/2: gave none of 1,000 rows a score: the model failed" in done.err
    assert "no such table" in done.err
    assert done.json["status"] == "FAILED"
    (note,) = [note for note in done.json["notes"] if "aliases.json" in note]
    assert "there is no aliases.json, so version 2 is taken, the highest" in note
    assert ask(tmp_path, "SELECT status FROM runs") == [("FAILED",)]
    assert ask(tmp_path, "SELECT COUNT(*) FROM scores") == [(0,)]


@pytest.mark.parametrize(("rows", "code", "status"), [(2, 3, "HELD"), (200, 1, "FAILED")])
def test_no_request_is_lost(setup: Path, tmp_path: Path, rows: int, code: int, status: str) -> None:
    """Few may all be poison: somebody has to look. Many wait for a model that works."""
    put(tmp_path, "one.jsonl", good("one", rows))
    done = run_command("requests", *queue_flags(setup, tmp_path, "--json"))
    assert (done.code, done.json["status"]) == (code, status), done.err
    assert not (tmp_path / "responses/one.jsonl").exists()
    mended = f"--model={setup}/model/1"
    again = ["--force"] if status == "HELD" else []
    done = run_command("requests", *queue_flags(setup, tmp_path, mended, "--json", *again))
    assert (done.code, done.json["status"]) == (0, "PUBLISHED"), done.err
    assert done.json["rows"] == {"read": rows, "scored": rows, "quarantined": 0}
    assert (tmp_path / "responses/one.jsonl").exists()
