"""Which input takes a row's image, and what is said where none can."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs.batch import DEFAULT_ACTIONS, IMAGE_TENSOR, ROWS_PER_BATCH, SCORE, with_findings
from beam_jobs.errors import UsageError
from beam_jobs.images.tensor_options import ImageTensorOptions, Scaling
from beam_jobs.models.loader import load_model
from beam_jobs.models.registry import resolve_model
from beam_jobs.models.signature import Signature, SignatureKind, TensorInfo, read_signature
from beam_jobs.score.bind import bind
from beam_jobs.score.scorer import Scorer
from beam_jobs.score.signature_binding import CALL_BYTES, ModelImages, SignatureBinding, Source
from support.models import SCORE_TENSOR, raw_signature, reasons, save, schema_of, tensor

SCHEMA = """
feature { name: "bid" type: FLOAT }
feature { name: "device" type: BYTES }
feature { name: "banner" type: BYTES image_domain {} }
feature { name: "image_width" type: INT }
"""
IMAGES = ModelImages("banner", ImageTensorOptions(), "models/ads/image.json")
SCALED = ModelImages("banner", ImageTensorOptions(scaling=Scaling.UNIT), "image.json")
BID = tensor("bid", "float32", None)
PIXELS = tensor("anything", "uint8", None, 6, 8, 3)


def plan(
    *inputs: TensorInfo, images: ModelImages | None = IMAGES, schema: str = SCHEMA
) -> SignatureBinding:
    return bind(raw_signature(inputs, [SCORE_TENSOR]), schema_of(schema), None, None, images)


def sources(found: SignatureBinding) -> dict[str, Source]:
    return {
        binding.name: binding.source
        for binding in found.inputs
        if binding.source is not Source.VALUE
    }


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([PIXELS], {"anything": Source.PIXELS}),
        ([tensor("x", "float32", None, None, 8, 1)], {"x": Source.PIXELS}),
        ([tensor("banner", "string", None)], {"banner": Source.ENCODED}),
        ([tensor("banner", "string", None, 1), tensor("device", "string", None)],
         {"banner": Source.ENCODED}),
        ([tensor("picture", "string", None), tensor("device", "string", None)],
         {"picture": Source.ENCODED}),
        ([TensorInfo("picture", "p:0", "string", None)], {"picture": Source.ENCODED}),
        ([tensor("image_width", "int64", None)], {}),
    ],
)  # fmt: skip
def test_an_input_takes_the_image(inputs: list[TensorInfo], expected: dict[str, Source]) -> None:
    images = ModelImages("banner", ImageTensorOptions(height=6), "image.json")
    if inputs == [PIXELS]:
        images = IMAGES
    found = plan(BID, *inputs, images=images)
    assert sources(found) == expected
    assert found.takes_encoded == (Source.ENCODED in expected.values())
    assert (found.pixels is not None) == (Source.PIXELS in expected.values())
    assert ("image_hash" in found.features) == bool(expected)
    assert {"bid", *(["banner"] if expected else [])} <= set(found.features)


@pytest.mark.parametrize(
    ("inputs", "images", "message"),
    [
        ([PIXELS], None, "takes an image, input anything: uint8 [None, 6, 8, 3]; say where"),
        ([tensor("banner", "string", None)], None, "takes an image, input banner: string [None]"),
        ([PIXELS, tensor("banner", "string", None)], IMAGES, "takes 2 images: anything: uint8"),
        ([tensor("a", "string", None), tensor("b", "string", None)], IMAGES, "'a' is absent"),
        ([tensor("p", "string", None)], None, "'p' is absent"),
        ([tensor("p", "string", None, 2)], IMAGES, "takes several texts a row"),
        ([tensor("p", "string", 1)], IMAGES, "takes exactly 1 rows at a time"),
        ([tensor("p", "uint8", 1, 6, 8, 3)], IMAGES, "takes exactly 1 rows at a time"),
        ([tensor("p", "uint8", None, 6, 8, 2)], IMAGES, "images need [n, h, w, 1, 3 or 4]"),
        ([tensor("p", "float64", None, 6, 8, 3)], IMAGES, "has type float64; images need uint8"),
        ([tensor("p", "uint8", None, None, 8, 3)], IMAGES, "leaves the height open"),
        ([PIXELS], SCALED, "is uint8"),
        ([PIXELS], ModelImages("none", ImageTensorOptions(), "j"), "'none', which names images"),
        ([tensor("bid", "uint8", None)], IMAGES, "input bid: uint8 [None], but in the schema"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    inputs: list[TensorInfo], images: ModelImages | None, message: str
) -> None:
    with pytest.raises(UsageError) as raised:
        plan(*inputs, images=images)
    assert message in str(raised.value)


def test_examples_hold_the_bytes_or_nothing() -> None:
    inputs = (TensorInfo("examples", "examples:0", "string", (None,)),)
    signature = Signature("predict", inputs, (SCORE_TENSOR,), SignatureKind.EXAMPLES)
    found = bind(signature, schema_of(SCHEMA), None, None, IMAGES)
    assert sources(found) == {"banner": Source.ENCODED}
    without = bind(signature, schema_of(SCHEMA), None, None)
    assert "banner" not in without.features
    assert sources(without) == {}


def test_a_model_is_given_few_rows_where_images_make_them_heavy() -> None:
    assert plan(BID).max_rows == ROWS_PER_BATCH
    assert plan(PIXELS).max_rows == ROWS_PER_BATCH
    large = plan(tensor("p", "float32", None, 224, 224, 3))
    assert large.max_rows == CALL_BYTES // (224 * 224 * 3 * 4)
    assert plan(tensor("p", "float32", None, 9_000, 9_000, 3)).max_rows == 1
    assert plan(tensor("banner", "string", None)).max_rows == 128


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import tensorflow as tf

    def serve(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": tf.cast(tf.reduce_max(pixels, [1, 2, 3]), tf.float32)}

    folder = tmp_path_factory.mktemp("model") / "m"
    return save(folder, serve, [tf.TensorSpec([None, 2, 2, 1], tf.uint8, "pixels")])


def test_a_row_without_an_image_is_not_given_to_a_model_that_takes_one(echo: Any) -> None:
    signature = read_signature(resolve_model(str(echo)), "serving_default")
    found = bind(signature, schema_of(SCHEMA), None, None, IMAGES)
    scorer = Scorer(load_model(resolve_model(str(echo)), signature), found, DEFAULT_ACTIONS)
    scorer.max_rows = 2
    pixels = [bytes([0, n, 0, 0]) for n in range(7)]
    column = pa.array([*pixels[:3], None, *pixels[3:]], pa.binary(4))
    names = pa.array([f"{n}.jpg" for n in range(8)])
    batch = pa.RecordBatch.from_arrays([names, column], names=["banner", IMAGE_TENSOR])
    # A slice, as a stage may give it: the pixels are the column's own memory.
    scored = scorer.score(with_findings(batch.slice(1), [])).to_pydict()
    assert scored[SCORE] == [1.0, 2.0, None, 3.0, 4.0, 5.0, 6.0]
    assert reasons(scored) == [[], [], ["MISSING_REQUIRED"], [], [], [], []]
    assert IMAGE_TENSOR not in scored
    assert np.all(np.array(scored["banner"]) == np.array(names.to_pylist()[1:]))
