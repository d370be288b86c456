"""The Open Bandit Dataset: random policy as training data, Thompson sampling as a month."""

import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from support.commands import run_command

REAL = Path(__file__).parents[3] / "shared/real/open_bandit"
ROWS = 10_000

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not REAL.exists(), reason="the data set is not beside the repository"),
]


class Model(tf.Module):  # type: ignore[misc]
    """Position decides."""

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec([None], tf.int64, "position"),
            tf.TensorSpec([None], tf.float32, "propensity_score"),
        ]
    )
    def serve(self, position: tf.Tensor, propensity_score: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": tf.sigmoid(tf.cast(position, tf.float32) - 4.0 + propensity_score)}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("bandit")
    model = Model()
    tf.saved_model.save(model, str(folder / "model"), {"serving_default": model.serve})
    build = [
        "baseline", f"--data={REAL}/random_all.csv.gz", f"--out={folder}/baseline",
        "--label=click", "--key=Unnamed: 0",
    ]  # fmt: skip
    assert run_command(*build).code == 0
    schema = folder / "baseline/schema.pbtxt"
    text = schema.read_text()
    before, after = text.split('name: "item_id"', 1)
    # What the data scientist knows and data cannot tell: an item's number is a category.
    feature, rest = after.split("\n}\n", 1)
    feature = feature.replace("jensen_shannon_divergence", "infinity_norm")
    schema.write_text(
        f'{before}name: "item_id"{feature}\n  int_domain {{ is_categorical: true }}\n}}\n{rest}'
    )
    assert run_command(*build, f"--model={folder}/model").code == 0
    done = run_command(
        "monthly", "--month=2019-11", f"--ads={REAL}/bts_all.csv.gz", f"--model={folder}/model",
        f"--schema={schema}", f"--baseline={folder}/baseline/statistics.binpb",
        f"--runs={folder}/runs", f"--warehouse=duckdb:{folder}/w.duckdb",
        "--label=click", "--key=Unnamed: 0", "--json",
    )  # fmt: skip
    assert done.code in (0, 3), done.err
    summary = Path(done.json["run_folder"]) / "summary.json"
    found: dict[str, Any] = done.json | {
        "summary": json.loads(summary.read_text()),
        "folder": folder,
    }
    return found


def test_all_rows_end_in_one_of_the_two_tables(result: dict[str, Any]) -> None:
    rows = result["rows"]
    assert rows["read"] == ROWS == rows["scored"] + rows["quarantined"]


def test_the_skew_of_item_id_is_what_tfdv_measures(result: dict[str, Any]) -> None:
    found = run_command(
        "query", "SELECT skew FROM feature_statistics WHERE feature = 'item_id' AND slice = 'all'",
        "--json", f"--warehouse=duckdb:{result['folder']}/w.duckdb",
    )  # fmt: skip
    assert json.loads(found.out)[0]["skew"] == pytest.approx(0.0992, abs=1e-9)
