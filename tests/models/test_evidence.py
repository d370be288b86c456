"""What a graph says of its texts and classes, with models that TensorFlow exports."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from beam_jobs.batch import SCORE
from beam_jobs.errors import UsageError
from beam_jobs.images.tensor_options import ImageTensorOptions
from beam_jobs.models import graph
from beam_jobs.models.evidence import ParsedFeature, Use
from beam_jobs.models.registry import resolve_model
from beam_jobs.models.signature import Signature, SignatureKind, read_signature
from beam_jobs.schema import FeatureType
from beam_jobs.score.bind import bind
from beam_jobs.score.signature_binding import ModelImages, Source
from support.exports import estimator_exports
from support.models import batch_of, plan_of, save, schema_of, score_with

v1 = tf.compat.v1

PARSING = {
    "bid": tf.io.FixedLenFeature([], tf.float32),
    "age": tf.io.FixedLenFeature([1], tf.int64, 7),
    "sizes": tf.io.FixedLenFeature([3], tf.float32, [0.0, 0.0, 0.0]),
    "tags": tf.io.VarLenFeature(tf.string),
}
PARSED = {
    ParsedFeature("bid", FeatureType.FLOAT, 1, True),
    ParsedFeature("age", FeatureType.INT, 1, False),
    ParsedFeature("sizes", FeatureType.FLOAT, 3, False),
    ParsedFeature("tags", FeatureType.BYTES, None, False),
}
LOOSE = {
    "bid": tf.io.RaggedFeature(tf.float32),
    "ids": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
    "tags": tf.io.VarLenFeature(tf.string),
}
PARSED_LOOSE = {
    ParsedFeature("bid", FeatureType.FLOAT, None, False),
    ParsedFeature("ids", FeatureType.INT, None, False),
    ParsedFeature("tags", FeatureType.BYTES, None, False),
}


def score_of(ads: dict[str, Any]) -> dict[str, tf.Tensor]:
    bid = ads["bid"]
    return {"score": tf.reshape(bid.flat_values if hasattr(bid, "flat_values") else bid, [-1])}


def parsed_at_once(texts: tf.Tensor) -> dict[str, Any]:
    return score_of(tf.io.parse_example(texts, PARSING))


def parsed_loosely(texts: tf.Tensor) -> dict[str, Any]:
    return score_of(tf.io.parse_example(texts, LOOSE))


def parsed_one_by_one(texts: tf.Tensor) -> dict[str, Any]:
    one = lambda text: tf.io.parse_single_example(text, PARSING)["bid"]  # noqa: E731
    return {"score": tf.map_fn(one, texts, fn_output_signature=tf.float32)}


def parsed_in_a_branch(texts: tf.Tensor) -> dict[str, Any]:
    inner = tf.function(lambda t: tf.io.parse_example(tf.identity(t), PARSING)["bid"])
    flat = tf.reshape(texts, [-1])
    return {"score": tf.cond(tf.size(flat) > 0, lambda: inner(flat), lambda: tf.zeros([0]))}


def decoded_first(texts: tf.Tensor) -> dict[str, Any]:
    return score_of(tf.io.parse_example(tf.io.decode_base64(texts), PARSING))


def parsed_as_message(texts: tf.Tensor) -> dict[str, Any]:
    found = tf.io.decode_proto(texts, "tensorflow.Example", ["features"], [tf.string])
    return {"score": tf.cast(tf.strings.length(found.values[0][:, 0]), tf.float32)}


def looked_up(texts: tf.Tensor) -> dict[str, Any]:
    return {"score": tf.cast(tf.strings.lower(texts) == "tv", tf.float32)}


def hashed(texts: tf.Tensor) -> dict[str, Any]:
    return {"score": tf.cast(tf.strings.to_hash_bucket_fast(texts, 9), tf.float32)}


def seen(texts: tf.Tensor) -> dict[str, Any]:
    def light(text: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.cast(tf.io.decode_jpeg(text), tf.float32))

    return {"score": tf.map_fn(light, texts, fn_output_signature=tf.float32)}


def model_of(
    folder: Path,
    function: Callable[..., Any],
    name: str = "inputs",
    shape: tuple[Any, ...] = (None,),
) -> Signature:
    model = save(folder / "model", function, [tf.TensorSpec(shape, tf.string, name)])
    return read_signature(resolve_model(str(model)), "serving_default")


@pytest.mark.parametrize("name", ["examples", "title"])
@pytest.mark.parametrize(
    ("function", "use", "parsed"),
    [
        (parsed_at_once, Use.EXAMPLE, PARSED),
        (parsed_loosely, Use.EXAMPLE, PARSED_LOOSE),
        (parsed_one_by_one, Use.EXAMPLE, PARSED),
        (parsed_in_a_branch, Use.EXAMPLE, PARSED),
        (parsed_as_message, Use.EXAMPLE, None),
        (decoded_first, Use.DECODED, None),
        (looked_up, Use.WORDS, None),
        (hashed, Use.TEXT, None),
        (seen, Use.IMAGE, None),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_the_graph_tells_what_a_text_is_whatever_its_name(
    tmp_path: Path, function: Callable[..., Any], use: Use, parsed: set[Any] | None, name: str
) -> None:
    signature = model_of(tmp_path, function, name)
    assert signature.evidence.use_of(name).use is use
    found = signature.evidence.parsed
    assert (found if found is None else set(found)) == parsed
    assert (signature.kind is SignatureKind.EXAMPLES) == (use is Use.EXAMPLE)


@pytest.mark.parametrize(
    ("name", "kind"), [("examples", SignatureKind.EXAMPLES), ("title", SignatureKind.RAW)]
)
def test_of_a_graph_too_large_to_walk_the_name_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: SignatureKind
) -> None:
    monkeypatch.setattr(graph, "MOST_TENSORS", 1)
    signature = model_of(tmp_path, parsed_in_a_branch, name)
    assert signature.evidence.use_of(name).use is Use.UNKNOWN
    assert signature.evidence.parsed is None
    assert signature.kind is kind


def test_an_estimators_graph_tells_what_it_parses(tmp_path: Path) -> None:
    model = estimator_exports(tmp_path / "1")
    for name in ("serving_default", "regression", "predict"):
        evidence = read_signature(resolve_model(str(model)), name).evidence
        assert evidence.parsed is not None
        assert {(p.name, p.type.value, p.count, p.is_required) for p in evidence.parsed} == {
            ("bid", "FLOAT", 1, False),
            ("age", "INT", 1, True),
            ("device", "BYTES", 1, False),
            ("sizes", "FLOAT", None, False),
        }


def test_a_parsed_text_among_other_inputs_is_refused(tmp_path: Path) -> None:
    def serve(examples: tf.Tensor, bid: tf.Tensor) -> dict[str, Any]:
        return {"score": tf.io.parse_example(examples, PARSING)["bid"] + bid}

    specs = [
        tf.TensorSpec([None], tf.string, "examples"),
        tf.TensorSpec([None], tf.float32, "bid"),
    ]
    model = save(tmp_path / "model", serve, specs)
    with pytest.raises(UsageError, match=r"input examples: .* is parsed as tf.Example \(ParseExam"):
        plan_of(model, schema_of(SCHEMA))


def test_what_is_parsed_as_a_sequence_is_refused(tmp_path: Path) -> None:
    def serve(texts: tf.Tensor) -> dict[str, Any]:
        bid = {"bid": tf.io.FixedLenFeature([], tf.float32)}
        return {"score": tf.io.parse_sequence_example(texts, bid)[0]["bid"]}

    with pytest.raises(UsageError, match=r"input examples: .* is parsed by ParseSequenceExample"):
        model_of(tmp_path, serve, "examples")


def test_a_method_of_examples_without_parsing_is_refused(tmp_path: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        texts = v1.placeholder(tf.string, [None], "inputs")
        score = tf.cast(tf.strings.length(texts), tf.float32)
        info = v1.saved_model.build_tensor_info
        signature = v1.saved_model.build_signature_def(
            {"inputs": info(texts)}, {"scores": info(score)}, "tensorflow/serving/classify"
        )
        builder = v1.saved_model.Builder(str(tmp_path / "model"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    with pytest.raises(UsageError, match=r"serving/classify means tf.Examples, but the graph does"):
        read_signature(resolve_model(str(tmp_path / "model")), "serving_default")


SCHEMA = """
feature { name: "ad_id" type: BYTES } feature { name: "title" type: BYTES }
feature { name: "bid" type: FLOAT }
"""


def text_model(folder: Path) -> Path:
    """As from TF Hub or Keras: one input of texts called `inputs`."""
    layer = keras.layers.TextVectorization(vocabulary=["free", "shoes"], output_mode="multi_hot")
    model = keras.Sequential([keras.Input((), dtype="string"), layer, keras.layers.Dense(1)])
    model.layers[-1].set_weights([np.array([[0.0], [1.0], [1.0]]), np.zeros(1)])
    module = tf.Module()
    module.model = model
    spec = [tf.TensorSpec([None], tf.string, "inputs")]
    module.serve = tf.function(lambda inputs: {"score": model(inputs)[:, 0]}, input_signature=spec)
    tf.saved_model.save(module, str(folder), {"serving_default": module.serve})
    return folder


def fitted(model: Path, schema: str, *, key: str | None = "ad_id", images: bool = False) -> Any:
    signature = read_signature(resolve_model(str(model)), "serving_default")
    of_model = ModelImages("banner", ImageTensorOptions(), "image.json") if images else None
    return bind(signature, schema_of(schema), None, None, of_model, key)


def test_a_model_of_texts_gets_the_only_text(tmp_path: Path) -> None:
    model = text_model(tmp_path / "model")
    plan = fitted(model, SCHEMA)
    assert plan.features == ("title",)
    assert plan.notes == (
        "input inputs: string [None] takes title, the only text of the schema that it can mean",
    )
    batch = batch_of(schema_of(SCHEMA), title=["free shoes", "shoes", "insurance"])
    assert score_with(model, plan, batch)[SCORE] == [2.0, 1.0, 0.0]


def test_a_model_of_texts_gets_the_feature_of_its_inputs_name(tmp_path: Path) -> None:
    schema = SCHEMA + 'feature { name: "inputs" type: BYTES }'
    assert fitted(text_model(tmp_path / "model"), schema).features == ("inputs",)


@pytest.mark.parametrize(
    ("more", "key", "texts"),
    [
        ("", None, "ad_id, title"),
        ('feature { name: "device" type: BYTES }', "ad_id", "title, device"),
    ],
)
def test_of_several_texts_one_must_be_named(
    tmp_path: Path, more: str, key: str | None, texts: str
) -> None:
    with pytest.raises(UsageError) as refused:
        fitted(text_model(tmp_path / "model"), SCHEMA + more, key=key)
    text = str(refused.value)
    assert "input inputs: string [None], but in the schema 'inputs' is absent" in text
    assert "takes it as a text: it is no tf.Example" in text
    assert f"export it under the name of the text that it takes, of {texts}" in text


@pytest.mark.parametrize("function", [looked_up, decoded_first])
def test_a_text_of_another_name_is_not_guessed(
    tmp_path: Path, function: Callable[..., Any]
) -> None:
    signature = model_of(tmp_path, function, "colour" if function is looked_up else "examples")
    with pytest.raises(UsageError, match=r"is absent.*; export it under the name of the text"):
        bind(signature, schema_of(SCHEMA), None, None, None, "ad_id")


IMAGES = SCHEMA + 'feature { name: "banner" type: BYTES image_domain {} }'


def test_words_are_no_image_and_images_are_no_words(tmp_path: Path) -> None:
    """With --images the only text without a feature is the image, if the graph does not deny it."""
    words = fitted(text_model(tmp_path / "words"), IMAGES, images=True)
    assert [(binding.feature.name, binding.source) for binding in words.inputs] == [
        ("title", Source.VALUE)
    ]
    image = save(tmp_path / "image", seen, [tf.TensorSpec([None], tf.string, "title")])
    plan = fitted(image, IMAGES, images=True)
    assert [(binding.feature.name, binding.source) for binding in plan.inputs] == [
        ("banner", Source.ENCODED)
    ]
    with pytest.raises(UsageError, match=r"takes an image, input title: .*; say where images lie"):
        fitted(image, IMAGES)
    named = save(tmp_path / "named", looked_up, [tf.TensorSpec([None], tf.string, "banner")])
    with pytest.raises(UsageError, match=r"uses input banner: .* as a text \(StringLower\), but"):
        fitted(named, IMAGES, images=True)


def example_plan(folder: Path, parsing: dict[str, Any], schema: str, **more: str | None) -> Any:
    def serve(examples: tf.Tensor) -> dict[str, Any]:
        ads = tf.io.parse_example(examples, parsing)
        values = [v.values if hasattr(v, "values") else v for v in ads.values()]
        with tf.control_dependencies(values):
            return {"score": tf.zeros([tf.size(examples)])}

    signature = model_of(folder, serve, "examples")
    return bind(signature, schema_of(schema), more.get("label"), None)


FIXED = tf.io.FixedLenFeature


@pytest.mark.parametrize(
    ("parsing", "schema", "message"),
    [
        ({"bid": FIXED([], tf.float32, 0.0)}, 'name: "bid" type: INT',
         "feature bid is INT in the schema, but the model parses it as float32 (FLOAT)"),
        ({"bid": tf.io.VarLenFeature(tf.int64)}, 'name: "bid" type: BYTES',
         "feature bid is BYTES in the schema, but the model parses it as int64 (INT)"),
        ({"bid": FIXED([], tf.string)}, 'name: "bid" type: FLOAT',
         "feature bid is FLOAT in the schema, but the model parses it as string (BYTES)"),
        ({"bids": FIXED([], tf.float32)}, 'name: "bid" type: FLOAT',
         "the model requires bids (float32), but in the schema 'bids' is absent; did you mean"),
        ({"bid": FIXED([], tf.float32)}, 'name: "bid" type: FLOAT lifecycle_stage: DEPRECATED',
         "but in the schema 'bid' is DEPRECATED"),
        ({"clicked": FIXED([], tf.int64)}, 'name: "clicked" type: INT',
         "but in the schema 'clicked' is the label, which the model never gets"),
        ({"banner": FIXED([], tf.string)}, 'name: "banner" type: BYTES image_domain {}',
         "but in the schema 'banner' names an image; say where images lie with --images"),
        ({"sizes": FIXED([3], tf.float32)}, 'name: "sizes" type: FLOAT',
         "feature sizes has 1 values a row in the schema, but the model parses exactly 3"),
        ({"sizes": FIXED([], tf.float32)},
         'name: "sizes" type: FLOAT value_count { min: 2 max: 4 }',
         "feature sizes has 2 to 4 values a row in the schema, but the model parses exactly 1"),
        ({"sizes": FIXED([2, 2], tf.float32)},
         'name: "sizes" type: FLOAT shape { dim { size: 3 } }',
         "feature sizes has 3 values a row in the schema, but the model parses exactly 4"),
    ],
)  # fmt: skip
def test_what_fails_in_every_row_is_refused(
    tmp_path: Path, parsing: dict[str, Any], schema: str, message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        example_plan(tmp_path, parsing, f"feature {{ {schema} }}", label="clicked")
    text = str(refused.value)
    assert text.startswith("--model: signature 'serving_default' would fail on every row: ")
    assert message in text


def test_an_example_holds_what_the_model_parses(tmp_path: Path) -> None:
    parsing = {"bid": FIXED([], tf.float32), "titles": FIXED([], tf.string, "")}
    parsing["sizes"] = FIXED([2], tf.float32)
    sizes = 'feature { name: "sizes" type: FLOAT value_count { min: 0 } }'
    plan = example_plan(tmp_path, parsing, SCHEMA + sizes)
    assert plan.features == ("bid", "sizes")
    assert plan.notes == (
        "the model parses features that the schema lacks, and takes its own defaults: in the"
        " schema 'titles' is absent; did you mean title?",
    )
