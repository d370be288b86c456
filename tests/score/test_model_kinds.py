"""Every kind of model that a user exports scores as when it is called directly, bit for bit."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import tensorflow as tf

from beam_jobs.batch import OUTPUTS, SCORE
from beam_jobs.errors import RunError
from beam_jobs.models.loader import load_model
from beam_jobs.models.registry import resolve_model
from beam_jobs.models.signature import DType, SignatureKind
from beam_jobs.schema import Feature, FeatureType
from beam_jobs.score.inputs import to_examples
from beam_jobs.score.signature_binding import InputBinding
from support.exports import estimator_exports
from support.models import (
    batch_of,
    details,
    plan_of,
    reasons,
    save,
    schema_of,
    score_with,
    with_default,
)

v1 = tf.compat.v1


def direct(
    model: Path, name: str = "serving_default", **inputs: Any
) -> dict[str, npt.NDArray[Any]]:
    """The signature called as TensorFlow 2 would call it."""
    loaded = tf.saved_model.load(str(model))
    return {k: v.numpy() for k, v in loaded.signatures[name](**inputs).items()}


DENSE = """
feature { name: "whole" type: INT value_count { min: 1 max: 1 } }
feature { name: "real" type: FLOAT value_count { min: 1 max: 1 } }
feature { name: "flag" type: INT }
feature { name: "says" type: BYTES }
feature { name: "word" type: BYTES }
feature { name: "three" type: FLOAT value_count { min: 3 max: 3 } }
feature { name: "four" type: INT shape { dim { size: 4 } } }
feature { name: "two" type: BYTES value_count { min: 2 max: 2 } }
"""
VALUES: Mapping[str, list[Any]] = {
    "whole": [0, -7, 2**31 - 1, -(2**31), 5],
    "real": [0.0, 0.1, -1e30, 3.4e38, 1e-40],
    "flag": [0, 1, 1, 0, 1],
    "says": ["true", "false", "true", "true", "false"],
    "word": ["", "a", "\u00e9t\u00e9", "x" * 500, "a"],
    "three": [[0.0, 1.0, 2.0], [0.1, 0.2, 0.3], [-1.0, 0.0, 1e30], [5.0, 5.0, 5.0], [1.0, 2.0, 3]],
    "four": [[1, 2, 3, 4], [0, 0, 0, 0], [-1, 2**31 - 1, 0, 7], [4, 3, 2, 1], [9, 9, 9, 9]],
    "two": [["a", "b"], ["", "\u00e9"], ["c", "c"], ["d", ""], ["a", "a"]],
}  # fmt: skip
FITS = [
    *[("whole", dtype) for dtype in (tf.int32, tf.int64, tf.float32, tf.float64)],
    *[("real", dtype) for dtype in (tf.float32, tf.float64)],
    ("flag", tf.bool), ("says", tf.bool), ("word", tf.string),
    *[("three", dtype) for dtype in (tf.float32, tf.float64)],
    *[("four", dtype) for dtype in (tf.int32, tf.int64, tf.float32)],
    ("two", tf.string),
]  # fmt: skip


@pytest.mark.parametrize("flat", [True, False], ids=["flat", "column"])
@pytest.mark.parametrize(("feature", "dtype"), FITS, ids=lambda x: getattr(x, "name", x))
def test_a_raw_tensor_arrives_as_it_is_in_the_data(
    tmp_path: Path, feature: str, dtype: tf.DType, flat: bool
) -> None:
    """The model gives back what it was given, so that each value is compared, not a sum."""
    values = VALUES[feature]
    is_list = isinstance(values[0], list)
    width = len(values[0]) if is_list else 1
    shape = [None] if flat and not is_list else [None, width]

    def echo(tensor: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = tf.shape(tensor)[0]
        return {"score": tf.ones([rows]), "same": tf.reshape(tensor, [rows, width])}

    model = save(tmp_path / "model", echo, [tf.TensorSpec(shape, dtype, feature)])
    schema = schema_of(DENSE)
    plan = plan_of(model, schema, score="score")
    assert [(f.name, f.shape) for f in plan.inputs] == [(feature, tuple(shape[1:]))]
    found = score_with(model, plan, batch_of(schema, **{feature: values}))
    assert reasons(found) == [[]] * len(values)
    assert found[SCORE] == [1.0] * len(values)
    told = [json.loads(text)["same"] for text in found[OUTPUTS]]
    if feature == "says":
        values = [value == "true" for value in values]
    if dtype in (tf.float32, tf.float64):
        exact = np.array(values, np.float64).astype(dtype.as_numpy_dtype)
        np.testing.assert_array_equal(np.array(told, dtype.as_numpy_dtype), exact)
    else:
        assert told == values


def test_texts_feed_a_bool_by_the_schemas_own_words(tmp_path: Path) -> None:
    model = save(
        tmp_path / "model",
        lambda video: {"score": tf.cast(video, tf.float32)},
        [tf.TensorSpec([None], tf.bool, "video")],
    )
    schema = schema_of(
        'feature { name: "video" type: BYTES bool_domain { true_value: "ja" false_value: "nein" } }'
    )
    found = score_with(model, plan_of(model, schema), batch_of(schema, video=["ja", "nein", "si"]))
    assert found[SCORE] == [1.0, 0.0, None]
    assert reasons(found)[2] == ["INVALID_TYPE"]
    assert details(found, 2) == ["video: 'si' is no boolean, which the model takes"]


AD = """
feature { name: "bid" type: FLOAT } feature { name: "age" type: INT }
feature { name: "device" type: BYTES } feature { name: "sizes" type: FLOAT value_count { min: 0 } }
"""


@pytest.fixture(scope="module")
def estimator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return estimator_exports(tmp_path_factory.mktemp("estimator") / "1")


def some_ads(rows: int) -> dict[str, list[Any]]:
    random = np.random.default_rng(11)
    return {
        "bid": [None if row % 7 == 3 else float(x) for row, x in enumerate(random.random(rows))],
        "age": random.integers(18, 90, rows).tolist(),
        "device": random.choice(["mobile", "tv", "\u00e9"], rows).tolist(),
        "sizes": [random.random(row % 4).tolist() or None for row in range(rows)],
    }


def examples_of(ads: Mapping[str, list[Any]]) -> list[bytes]:
    """tf.Example by hand, with TensorFlow's own messages."""
    examples = []
    for row in range(len(ads["age"])):
        example = tf.train.Example()
        for name, values in ads.items():
            value = values[row]
            if value is None:
                continue
            feature = example.features.feature[name]
            if name == "device":
                feature.bytes_list.value.append(value.encode())
            elif name == "age":
                feature.int64_list.value.append(value)
            else:
                feature.float_list.value.extend(np.ravel(value))
        examples.append(example.SerializeToString())
    return examples


@pytest.mark.parametrize(
    ("signature", "output", "index"),
    [
        ("serving_default", "scores", 1),
        ("regression", "outputs", 0),
        ("predict", "probabilities", 1),
    ],
)
def test_an_estimator_is_given_examples(
    estimator: Path, signature: str, output: str, index: int
) -> None:
    schema, ads = schema_of(AD), some_ads(200)
    plan = plan_of(estimator, schema, signature=signature)
    assert plan.signature.kind is SignatureKind.EXAMPLES
    assert (plan.score_output, plan.score_index) == (output, index)
    found = score_with(estimator, plan, batch_of(schema, **ads))
    taken = plan.signature.inputs[0].name
    expected = direct(estimator, signature, **{taken: tf.constant(examples_of(ads))})
    np.testing.assert_array_equal(found[SCORE], expected[output][:, index].astype(float))
    assert reasons(found) == [[]] * 200


def test_other_outputs_of_an_estimator_are_kept(estimator: Path) -> None:
    schema, ads = schema_of(AD), some_ads(3)
    plan = plan_of(estimator, schema, signature="predict", score="logistic")
    found = score_with(estimator, plan, batch_of(schema, **ads))
    for score, text in zip(found[SCORE], found[OUTPUTS], strict=True):
        others = json.loads(text)
        assert others["classes"] == "1"
        assert np.float32(others["probabilities"][1]) == np.float32(score)
        assert "logistic" not in others


def test_what_an_example_lacks_is_the_models_to_judge(estimator: Path) -> None:
    """`age` has no default in the model: the row fails alone; in the schema, it is filled in."""
    ads = some_ads(9)
    ads["age"][4] = None
    schema = schema_of(AD)
    found = score_with(estimator, plan_of(estimator, schema), batch_of(schema, **ads))
    assert reasons(found) == [[]] * 4 + [["MODEL_ERROR"]] + [[]] * 4
    assert "age" in details(found, 4)[0]
    filled = with_default(AD, age="int_value: 40")
    ads_filled = {**ads, "age": [40 if age is None else age for age in ads["age"]]}
    found = score_with(estimator, plan_of(estimator, filled), batch_of(filled, **ads))
    same = score_with(estimator, plan_of(estimator, schema), batch_of(schema, **ads_filled))
    assert found[SCORE] == same[SCORE]
    assert None not in found[SCORE]


def test_examples_hold_each_value_also_of_a_slice_of_a_batch() -> None:
    """Bisection and the limit of rows give slices, whose lists begin in the middle."""
    schema, ads = schema_of(AD), some_ads(40)
    types = {"bid": "FLOAT", "age": "INT", "device": "BYTES", "sizes": "FLOAT"}
    dtypes = {"FLOAT": DType.FLOAT32, "INT": DType.INT64, "BYTES": DType.STRING}
    inputs = [
        InputBinding(
            name, Feature(name, FeatureType(kind), name == "sizes"), dtypes[kind], (), None, False
        )
        for name, kind in types.items()
    ]
    batch: pa.RecordBatch = batch_of(schema, **ads).slice(13, 17)
    ours = [tf.train.Example.FromString(text) for text in to_examples(batch, inputs)]
    theirs = [tf.train.Example.FromString(text) for text in examples_of(ads)[13:30]]
    for mine, their in zip(ours, theirs, strict=True):
        present = {k for k, v in mine.features.feature.items() if v.WhichOneof("kind")}
        assert present == set(their.features.feature)
        for name in present:
            assert mine.features.feature[name] == their.features.feature[name]


def test_a_simple_save_of_a_session(tmp_path: Path) -> None:
    """With what old graphs have: reference variables and tables."""
    folder = tmp_path / "model"
    with tf.Graph().as_default(), v1.Session() as session:
        bid = v1.placeholder(tf.float64, [None], "bid_of_the_ad")
        device = v1.placeholder(tf.string, [None, 1])
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(["tv", "mobile"], [0.25, 0.5]), -1.0
        )
        weight = v1.get_variable("weight", initializer=2.0, use_resource=False)
        score = tf.cast(bid, tf.float32) * weight + table.lookup(device)[:, 0]
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        v1.saved_model.simple_save(
            session,
            str(folder),
            {"bid": bid, "device": device},
            {"score": score},
            legacy_init_op=v1.tables_initializer(),
        )
    schema = schema_of(AD)
    batch = batch_of(schema, bid=[1.0, 0.1, 3.0], device=["tv", "radio", "mobile"])
    found = score_with(folder, plan_of(folder, schema), batch)
    expected = np.array([1.0, 0.1, 3.0], np.float32) * np.float32(2) + np.array(
        [0.25, -1, 0.5], np.float32
    )
    np.testing.assert_array_equal(found[SCORE], expected.astype(float))


def test_a_model_that_only_the_loader_of_tensorflow_1_opens(tmp_path: Path) -> None:
    """As `experimental_export_all_saved_models` of an Estimator: training and serving graphs."""
    folder = tmp_path / "model"
    with tf.Graph().as_default(), v1.Session() as session:
        bid = v1.placeholder(tf.float32, [None, 1], "bid")
        device = v1.placeholder(tf.string, [None], "device")
        weight = v1.get_variable("weight", initializer=3.0)
        outputs = {"score": (bid * weight)[:, 0], "device": device, "bid": bid}
        session.run(v1.global_variables_initializer())
        serving = v1.saved_model.predict_signature_def({"bid": bid, "device": device}, outputs)
        training = v1.saved_model.predict_signature_def({"bid": bid}, {"loss": weight})
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["train"], {"serving_default": training})
        builder.add_meta_graph(["serve", "tpu"], {"serving_default": training})
        builder.add_meta_graph(["serve"], {"serving_default": serving})
        builder.save()
    with pytest.raises(ValueError, match="tags"):
        tf.saved_model.load(str(folder))

    schema = schema_of(AD)
    plan = plan_of(folder, schema, score="score")
    found = score_with(folder, plan, batch_of(schema, bid=[0.1, 2.0], device=["tv", "\u00e9"]))
    with tf.Graph().as_default(), v1.Session() as session:
        v1.saved_model.load(session, ["serve"], str(folder))
        binding = {"bid:0": [[0.1], [2.0]], "device:0": ["tv", "\u00e9"]}
        (expected,) = session.run([plan.signature.outputs[2].tensor], binding)
    np.testing.assert_array_equal(found[SCORE], expected.astype(float))
    others = [json.loads(text) for text in found[OUTPUTS]]
    assert others == [{"bid": 0.1, "device": "tv"}, {"bid": 2, "device": "\u00e9"}]


def test_a_signature_other_than_the_default(tmp_path: Path) -> None:
    spec = [tf.TensorSpec([None], tf.float32, "bid")]
    module = tf.Module()
    module.half = tf.function(lambda bid: {"score": bid / 2}, input_signature=spec)
    module.twice = tf.function(lambda bid: {"score": bid * 2}, input_signature=spec)
    folder = str(tmp_path / "model")
    tf.saved_model.save(module, folder, {"serving_default": module.half, "twice": module.twice})
    schema = schema_of(AD)
    batch = batch_of(schema, bid=[1.5])
    for name, expected in (("serving_default", 0.75), ("twice", 3.0)):
        plan = plan_of(folder, schema, signature=name)
        assert score_with(folder, plan, batch)[SCORE] == [expected]


def test_outputs_of_every_type_are_kept(tmp_path: Path) -> None:
    def serve(bid: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = tf.shape(bid)[0]
        return {
            "score": bid,
            "half": tf.cast(bid, tf.float16),
            "brain": tf.cast(bid, tf.bfloat16),
            "small": tf.cast(bid, tf.uint8),
            "is_high": bid > 1,
            "grid": tf.reshape(tf.tile(bid, [4]), [rows, 2, 2]),
            "none": tf.zeros([rows, 0]),
            "odd": bid / (bid - bid),
            "text": tf.strings.join([tf.as_string(tf.cast(bid, tf.int32)), '"\n']),
        }

    model = save(tmp_path / "model", serve, [tf.TensorSpec([None], tf.float32, "bid")])
    schema = schema_of(AD)
    found = score_with(model, plan_of(model, schema), batch_of(schema, bid=[1.5]))
    assert json.loads(found[OUTPUTS][0]) == {
        "half": 1.5, "brain": 1.5, "small": 1, "is_high": True, "grid": [1.5] * 4, "none": [],
        "odd": None, "text": '1"\n',
    }  # fmt: skip


@pytest.mark.parametrize("width", [1, 2])
def test_a_score_of_unknown_width_is_the_positive_class(tmp_path: Path, width: int) -> None:
    """The signature does not tell, so the model's answer does: of two classes the second."""

    def serve(bid: tf.Tensor) -> dict[str, tf.Tensor]:
        classes = tf.stack([1 - bid, bid], 1)[:, -width:]
        return {"score": v1.placeholder_with_default(classes, [None, None])}

    folder = save(tmp_path / "model", serve, [tf.TensorSpec([None], tf.float32, "bid")])
    schema = schema_of(AD)
    plan = plan_of(folder, schema)
    assert plan.score_index is None
    assert score_with(folder, plan, batch_of(schema, bid=[0.25]))[SCORE] == [0.25]


def test_a_model_that_cannot_be_loaded_is_an_error_of_the_run(tmp_path: Path) -> None:
    model = save(
        tmp_path / "model",
        lambda bid: {"score": bid},
        [tf.TensorSpec([None], tf.float32, "bid")],
    )
    plan = plan_of(model, schema_of(AD))
    for file in (model / "variables").iterdir():
        file.unlink()
    with pytest.raises(RunError, match=f"model {model}: cannot be loaded: .*TensorFlow 1: "):
        load_model(resolve_model(str(model)), plan.signature)
