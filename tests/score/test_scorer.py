"""Scoring: as the SavedModel called directly; poison rows alone; defaults; misfits."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.batch import (
    DEFAULT_ACTIONS,
    FINDINGS,
    OUTPUTS,
    SCORE,
    Action,
    Reason,
    split,
    with_findings,
)
from beam_jobs.errors import UsageError
from beam_jobs.models.loader import load_model
from beam_jobs.models.registry import resolve_model
from beam_jobs.models.signature import read_signature
from beam_jobs.score.bind import bind
from beam_jobs.score.scorer import Scorer
from beam_jobs.score.signature_binding import SignatureBinding

SCHEMA = text_format.Parse(
    """
    feature { name: "bid" type: FLOAT } feature { name: "age" type: INT }
    feature { name: "device" type: BYTES }
    tensor_representation_group { key: "" value {
      tensor_representation { key: "device" value { dense_tensor {
        column_name: "device" default_value { bytes_value: "none" } } } } } }
    """,
    schema_pb2.Schema(),
)


class Model(tf.Module):  # type: ignore[misc]
    """Fails for negative bids, as an assertion inside a graph does."""

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec([None, 1], tf.float32, "bid"),
            tf.TensorSpec([None], tf.float32, "age"),
            tf.TensorSpec([None], tf.string, "device"),
        ]
    )
    def serve(self, bid: tf.Tensor, age: tf.Tensor, device: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.assert_greater_equal(bid, 0.0, "bid < 0")]):
            length = tf.cast(tf.strings.length(device), tf.float32)
            score = tf.sigmoid(bid[:, 0] + age / 100 - length)
        return {"score": score, "parts": tf.stack([age, length], 1), "device": device}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    module = Model()
    tf.saved_model.save(module, str(folder), {"serving_default": module.serve})
    return folder


def plan_of(
    model: Path, schema: schema_pb2.Schema = SCHEMA, score: str | None = None
) -> SignatureBinding:
    return bind(read_signature(resolve_model(str(model)), "serving_default"), schema, None, score)


def batch_of(bid: list[Any], age: list[Any], device: list[Any]) -> pa.RecordBatch:
    columns = [pa.array(bid, pa.float64()), pa.array(age, pa.int64()), pa.array(device)]
    return with_findings(pa.RecordBatch.from_arrays(columns, names=["bid", "age", "device"]), [])


def scored(model: Path, batch: pa.RecordBatch) -> dict[str, list[Any]]:
    plan = plan_of(model)
    predict = load_model(resolve_model(str(model)), plan.signature)
    found: dict[str, list[Any]] = Scorer(predict, plan, DEFAULT_ACTIONS).score(batch).to_pydict()
    return found


def test_scores_are_those_of_a_direct_call(model: Path) -> None:
    random = np.random.default_rng(3)
    bid, age = random.random(1000), random.integers(0, 99, 1000)
    device = random.choice(["mobile", "tv", "\u00e9"], 1000)
    found = scored(model, batch_of(list(bid), list(age), list(device)))
    direct = tf.saved_model.load(str(model)).signatures["serving_default"](
        bid=tf.constant(bid[:, None], tf.float32),
        age=tf.constant(age, tf.float32),
        device=tf.constant([text.encode() for text in device]),
    )
    np.testing.assert_array_equal(found[SCORE], direct["score"].numpy().astype(float))
    import json

    outputs = [json.loads(text) for text in found[OUTPUTS]]
    assert [o["device"] for o in outputs] == list(device)
    np.testing.assert_allclose([o["parts"] for o in outputs], direct["parts"], rtol=1e-6)


def test_rows_that_make_the_model_fail_are_found_alone(model: Path) -> None:
    bid = [1.0] * 100
    for row in (0, 41, 42, 99):
        bid[row] = -1.0
    found = scored(model, batch_of(bid, [30] * 100, ["tv"] * 100))
    failed = [row for row, findings in enumerate(found[FINDINGS]) if findings]
    assert failed == [0, 41, 42, 99]
    assert all(found[FINDINGS][row][0]["reason"] == "MODEL_ERROR" for row in failed)
    assert [row for row, score in enumerate(found[SCORE]) if score is None] == failed


def test_missing_values_take_the_default_or_quarantine(model: Path) -> None:
    found = scored(model, batch_of([1.0, None], [30, 30], [None, "tv"]))
    same = scored(model, batch_of([1.0], [30], ["none"]))
    assert found[SCORE][0] == same[SCORE][0]
    assert found[SCORE][1] is None
    assert [f["reason"] for f in found[FINDINGS][1]] == ["MISSING_REQUIRED"]


def test_a_row_without_a_score_is_quarantined_whatever_the_policy_says(model: Path) -> None:
    plan = plan_of(model)
    flagging = dict(DEFAULT_ACTIONS) | {Reason.MISSING_REQUIRED: Action.FLAG}
    scorer = Scorer(load_model(resolve_model(str(model)), plan.signature), plan, flagging)
    batch = scorer.score(batch_of([1.0, None, 2.0], [30, 30, 30], ["tv", "tv", "tv"]))
    scored_rows, quarantined = split(batch, flagging)
    assert scored_rows.column("bid").to_pylist() == [1.0, 2.0]
    assert quarantined.column("bid").to_pylist() == [None]


def test_what_does_not_fit_is_refused_with_both_sides(model: Path) -> None:
    schema = text_format.Parse(
        'feature { name: "bid" type: BYTES } feature { name: "device" type: BYTES }',
        schema_pb2.Schema(),
    )
    with pytest.raises(UsageError) as refused:
        plan_of(model, schema)
    text = str(refused.value)
    assert "input bid: float32 [None, 1], but in the schema BYTES" in text
    assert "input age: float32 [None], but in the schema 'age' is absent" in text


@pytest.mark.parametrize(
    ("score", "message"),
    [("clicks", "no such output"), ("parts", "has 2 columns|"), ("device", "is text"),
     ("parts:2", "has no column 2")],
)  # fmt: skip
def test_the_score_must_be_a_number_of_the_model(model: Path, score: str, message: str) -> None:
    if score == "parts":
        assert plan_of(model, score=score).score_index == 1
        return
    with pytest.raises(UsageError, match=message):
        plan_of(model, score=score)


def test_versions_and_aliases(model: Path, tmp_path: Path) -> None:
    for version in ("2", "10"):
        (tmp_path / "ads" / version).mkdir(parents=True)
        for file in model.rglob("*"):
            target = tmp_path / "ads" / version / file.relative_to(model)
            if file.is_dir():
                target.mkdir(exist_ok=True)
            else:
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(file.read_bytes())
    ads = str(tmp_path / "ads")
    assert resolve_model(ads).version == "10"
    (tmp_path / "ads/aliases.json").write_text('{"champion": "2", "challenger": "10"}')
    assert resolve_model(ads).version == "2"
    assert resolve_model(ads + "@challenger").version == "10"
    with pytest.raises(UsageError, match=r"no alias 'chalenger'.*did you mean challenger"):
        resolve_model(ads + "@chalenger")
