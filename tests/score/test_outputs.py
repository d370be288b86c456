"""The JSON type of an output follows the tensor's type, never its values."""

import json
import math
import re
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from beam_jobs.score.bind import bind
from beam_jobs.score.outputs import others_as_json
from support.models import SCORE_TENSOR, raw_signature, schema_of, tensor

PLAN = bind(
    raw_signature([tensor("bid", "float32", None)], [SCORE_TENSOR]),
    schema_of('feature { name: "bid" type: FLOAT }'),
    None,
    "score",
)


def texts_of(values: npt.NDArray[Any]) -> list[str]:
    """What stands for the output `x` in each row."""
    outputs = {"score": np.zeros(len(values)), "x": values}
    texts = others_as_json(outputs, PLAN, len(values)).to_pylist()
    return [text.removeprefix('{"x":').removesuffix("}") for text in texts]


SPECIAL = [0, 1, -0.0, 16777216, 1e10, -1e20, 1e-7, 0.1, 3.4e38, 1e-45, 5, 100, 1e15, 123456789]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
def test_floats_have_a_point_or_exponent_and_give_themselves_back(
    dtype: type, data: st.DataObject
) -> None:
    found = data.draw(arrays(dtype, st.integers(0, 20)))
    values = np.concatenate([found, np.array(SPECIAL, dtype)])
    for text, value in zip(texts_of(values), values, strict=True):
        if not np.isfinite(value):
            assert text == "null"
            continue
        assert type(json.loads(text)) is float
        back = dtype(text)
        assert back == value
        assert math.copysign(1, back) == math.copysign(1, value)
        digits = re.sub(r"e.*|[-.]", "", text).strip("0")
        shortest = re.sub(r"e.*|[-.]", "", np.format_float_scientific(value)).strip("0")
        assert len(digits) <= len(shortest)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 1], np.float32), ["0.0", "1.0"]),
        (np.array([[0, 1], [0.5, 1]], np.float32), ["[0.0,1.0]", "[0.5,1.0]"]),
        (np.array([[0], [np.nan]]), ["0.0", "null"]),
        (np.array([1, 0.5, np.inf], np.float16), ["1.0", "0.5", "null"]),
        (np.array([1, 0.5], ml_dtypes.bfloat16), ["1.0", "0.5"]),
        (np.array([1, 0.5], ml_dtypes.float8_e5m2), ["1.0", "0.5"]),
        (np.array([1, 0.5], ml_dtypes.float8_e4m3fn), ["1.0", "0.5"]),
        (np.array([7, -8], ml_dtypes.int4), ["7", "-8"]),
        (np.array([15], ml_dtypes.uint4), ["15"]),
        (np.array([-128, 127], np.int8), ["-128", "127"]),
        (np.array([2**63 - 1, -(2**63)]), ["9223372036854775807", "-9223372036854775808"]),
        (np.array([2**64 - 1], np.uint64), ["18446744073709551615"]),
        (np.array([True, False]), ["true", "false"]),
        (np.array([b"0", b"true", b"1.5", b""], object), ['"0"', '"true"', '"1.5"', '""']),
        (np.array(["é\n".encode(), b"\x00\\"], object), ['"\\u00e9\\n"', '"\\u0000\\\\"']),
        (np.array([b"a\xff", b"a\xfe"], object), ['"a\\\\xff"', '"a\\\\xfe"']),
    ],
)
def test_every_other_type_has_one_json_type(values: npt.NDArray[Any], expected: list[str]) -> None:
    assert texts_of(values) == expected
    for text in expected:
        json.loads(text)
