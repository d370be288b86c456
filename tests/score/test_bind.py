"""Fitting a schema to a signature: what is fed, what is refused and how it is said."""

import pytest

from beam_jobs.errors import UsageError
from beam_jobs.models.signature import Signature, SignatureKind, TensorInfo
from beam_jobs.score.bind import bind
from beam_jobs.score.signature_binding import SignatureBinding
from support.models import SCORE_TENSOR, raw_signature, schema_of, tensor, with_default

SCHEMA = """
feature { name: "bid" type: FLOAT }
feature { name: "age" type: INT }
feature { name: "device" type: BYTES }
feature { name: "sizes" type: FLOAT value_count { min: 3 max: 3 } }
feature { name: "clicked" type: INT not_in_environment: "SERVING" }
feature { name: "ad_id" type: BYTES }
feature { name: "retired" type: INT lifecycle_stage: DEPRECATED }
default_environment: "TRAINING"
default_environment: "SERVING"
"""


def plan(
    *inputs: TensorInfo, schema: str = SCHEMA, label: str | None = None, **defaults: str
) -> SignatureBinding:
    return bind(
        raw_signature(inputs, [SCORE_TENSOR]), with_default(schema, **defaults), label, None
    )


def examples(name: str = "examples", _method: str = "tensorflow/serving/predict") -> Signature:
    inputs = (TensorInfo(name, "input_example_tensor:0", "string", (None,)),)
    return Signature("predict", inputs, (SCORE_TENSOR,), SignatureKind.EXAMPLES)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (tensor("bid", "int64", None), "input bid: int64 [None], but in the schema FLOAT"),
        (tensor("bid", "string", None), "input bid: string [None], but in the schema FLOAT"),
        (tensor("bid", "bool", None), "input bid: bool [None], but in the schema FLOAT"),
        (tensor("age", "string", None, 1), "input age: string [None, 1], but in the schema INT"),
        (tensor("device", "int64", None), "input device: int64 [None], but in the schema BYTES"),
        (tensor("bid", "float32", None, 2), "input bid: float32 [None, 2], but in the schema"),
        (
            tensor("sizes", "string", None, 3),
            "input sizes: string [None, 3], but in the schema FLOAT list",
        ),
        (TensorInfo("sizes", "s:0", "float32", None), "input sizes: float32 [?], but in the"),
        (TensorInfo("bid", "b:0", "float16", (None,)), "input bid: float16 [None], but in the"),
        (TensorInfo("bid", "b:0", "complex64", (None,)), "input bid: complex64 [None], but in the"),
        (tensor("bids", "float32", None), "'bids' is absent; did you mean bid?"),
        (tensor("clicked", "int64", None), "'clicked' is not expected in the environment SERVING"),
        (tensor("retired", "int64", None), "'retired' is DEPRECATED"),
        (tensor("bid", "float32", 1, 1), "input bid: float32 [1, 1] takes exactly 1 rows at a"),
        (tensor("bid", "float32"), "input bid: float32 [] has 0 dimensions"),
        (tensor("bid", "float32", None, 2, 2), "input bid: float32 [None, 2, 2] has 3 dimensions"),
        (
            tensor("sizes", "float32", None, None),
            "input sizes: float32 [None, None] does not say how many values a row has",
        ),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_an_input_that_no_feature_feeds_is_refused(wanted: TensorInfo, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        plan(tensor("age", "int64", None), wanted)
    text = str(refused.value)
    assert text.startswith("--model: signature 'serving_default' does not fit the schema: input")
    assert message in text
    assert text.endswith("the schema's features are bid FLOAT, age INT, device BYTES,"
                         " sizes FLOAT, ad_id BYTES")  # fmt: skip


def test_all_misfits_are_named_at_once() -> None:
    with pytest.raises(UsageError, match=r"input bid: .*; input colour: .*; input age: "):
        plan(
            tensor("bid", "int32", None),
            tensor("colour", "string", None),
            tensor("age", "string", None),
        )


def test_the_label_is_never_fed() -> None:
    """Also where the schema does expect it in SERVING."""
    open_schema = 'feature { name: "bid" type: FLOAT } feature { name: "clicked" type: INT }'
    wanted = tensor("bid", "float32", None), tensor("clicked", "float32", None)
    assert plan(*wanted, schema=open_schema).features == ("bid", "clicked")
    with pytest.raises(UsageError, match="'clicked' is the label, which the model never gets"):
        plan(*wanted, schema=open_schema, label="clicked")


def test_an_example_holds_what_serving_expects_and_not_the_label() -> None:
    fitted = bind(examples(), schema_of(SCHEMA), "ad_id", None)
    assert fitted.features == ("bid", "age", "device", "sizes")
    assert {binding.dtype.value for binding in fitted.inputs} == {"float32", "int64", "string"}


def test_a_text_feature_of_the_inputs_name_is_no_example() -> None:
    """Feeding serialized examples to a model of texts would give numbers, and all of them wrong."""
    schema = schema_of('feature { name: "example" type: BYTES }')
    fitted = bind(examples("example"), schema, None, None)
    assert fitted.signature.kind is SignatureKind.RAW
    assert fitted.features == ("example",)


@pytest.mark.parametrize(
    ("default", "dtype", "value"),
    [
        ("int_value: -1", "int64", -1),
        ("uint_value: 7", "int32", 7),
        ("float_value: 3", "float32", 3),
        ("int_value: 1", "bool", True),
    ],
)
def test_a_default_is_a_value_of_the_features_type(default: str, dtype: str, value: int) -> None:
    (binding,) = plan(tensor("age", dtype, None), age=default).inputs
    assert binding.default == value
    assert isinstance(binding.default, int)


def test_the_column_of_a_representation_may_have_another_name() -> None:
    schema = schema_of(SCHEMA)
    made = schema.tensor_representation_group["any"].tensor_representation["tensor of bid"]
    made.dense_tensor.column_name = "bid"
    made.dense_tensor.default_value.int_value = 2
    ragged = schema.tensor_representation_group["any"].tensor_representation["age"]
    ragged.ragged_tensor.feature_path.step.append("age")
    fitted = bind(
        raw_signature(
            [tensor("bid", "float64", None), tensor("age", "int64", None)], [SCORE_TENSOR]
        ),
        schema, None, None,
    )  # fmt: skip
    assert [binding.default for binding in fitted.inputs] == [2.0, None]


@pytest.mark.parametrize(
    ("name", "dtype", "default", "message"),
    [
        ("age", "int64", "float_value: 0.5", "default_value 0.5 of feature 'age' is no INT"),
        ("age", "int64", 'bytes_value: "7"', "default_value b'7' of feature 'age' is no INT"),
        ("age", "int64", "uint_value: 9223372036854775808", "of feature 'age' is no INT"),
        ("age", "int64", "float_value: nan", "default_value nan of feature 'age' is no INT"),
        ("bid", "float32", 'bytes_value: "x"', "default_value b'x' of feature 'bid' is no FLOAT"),
        ("device", "string", "int_value: 0", "default_value 0 of feature 'device' is no BYTES"),
        ("device", "string", r'bytes_value: "\377"', "of feature 'device' is not UTF-8"),
        ("device", "bool", 'bytes_value: "tv"', "is not a boolean ('true' or 'false')"),
        ("age", "bool", "int_value: 2", "default_value 2 of feature 'age' is not a boolean (0 or"),
        ("age", "int32", "int_value: 2147483648", "of feature 'age' is not an int32"),
    ],
)  # fmt: skip
def test_a_default_that_fits_nothing_is_refused(
    name: str, dtype: str, default: str, message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        plan(tensor(name, dtype, None), **{name: default})
    assert str(refused.value).startswith("--schema: ")
    assert message in str(refused.value)


def chosen(*outputs: TensorInfo, score: str | None = None) -> tuple[str, int | None]:
    signature = raw_signature([tensor("bid", "float32", None)], outputs)
    fitted = bind(signature, schema_of(SCHEMA), None, score)
    return fitted.score_output, fitted.score_index


CLASSES = tensor("classes", "string", None, 2)
TWO = tensor("probabilities", "float32", None, 2)
LOGITS = tensor("logits", "float32", None, 1)


@pytest.mark.parametrize(
    ("outputs", "score", "expected"),
    [
        ([CLASSES, LOGITS], None, ("logits", 0)),
        ([CLASSES, LOGITS, TWO], None, ("probabilities", 1)),
        ([LOGITS, TWO, tensor("score", "float64", None)], None, ("score", 0)),
        ([tensor("is_click", "bool", None)], None, ("is_click", 0)),
        ([TensorInfo("x", "x:0", "bfloat16", (None, 2))], None, ("x", 1)),
        ([TensorInfo("x", "x:0", "float32", None)], None, ("x", None)),
        ([tensor("x", "float32", None, None)], None, ("x", None)),
        ([tensor("x", "float32", None, None)], "x:5", ("x", 5)),
        ([LOGITS, TWO], "probabilities:0", ("probabilities", 0)),
        ([LOGITS, TWO], "logits", ("logits", 0)),
        ([tensor("x", "int64", None, 7)], "x:6", ("x", 6)),
    ],
)
def test_which_output_is_the_score(
    outputs: list[TensorInfo], score: str | None, expected: tuple[str, int | None]
) -> None:
    assert chosen(*outputs, score=score) == expected


@pytest.mark.parametrize(
    ("outputs", "score", "message"),
    [
        ([LOGITS, tensor("other", "float32", None)], None, "name the output that is the score"),
        ([CLASSES], None, "--score: name the output"),
        ([tensor("x", "float32", None, 7)], None, "7 columns; choose one, for example --score x:1"),
        ([tensor("x", "float32", None, 0)], None, "has 0 columns"),
        ([tensor("x", "float32", None, 2, 2)], None, "3 dimensions; a score is one number a row"),
        ([tensor("x", "float32")], None, "has 0 dimensions"),
        ([LOGITS], "logit",
         "no such output; there are logits: float32 [None, 1]; did you mean logits?"),
        ([LOGITS], "logits:first", "no such output"),
        ([LOGITS], "logits:-1", "no such output"),
        ([LOGITS], "logits:\u00b2", "no such output"),
        ([LOGITS], "logits:1", "output logits: float32 [None, 1] has no column 1"),
        ([LOGITS, TensorInfo("wave", "w:0", "complex64", (None,))], None,
         "gives output wave: complex64 [None]; an output must be real numbers, booleans or text"),
    ],
)  # fmt: skip
def test_a_score_that_cannot_be_is_refused(
    outputs: list[TensorInfo], score: str | None, message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        chosen(*outputs, score=score)
    assert message in str(refused.value)
