"""Columns -> tensors: a value arrives unchanged, or its row is quarantined; never altered."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.score.bind import bind
from beam_jobs.score.inputs import check_inputs, to_arrays
from beam_jobs.score.signature_binding import SignatureBinding
from support.models import SCORE_TENSOR, batch_of, raw_signature, schema_of, tensor, with_default

SCHEMA = """
feature { name: "whole" type: INT } feature { name: "real" type: FLOAT }
feature { name: "word" type: BYTES }
feature { name: "wholes" type: INT value_count { min: 0 } }
feature { name: "reals" type: FLOAT value_count { min: 0 } }
feature { name: "words" type: BYTES value_count { min: 0 } }
"""
NUMPY: dict[str, Any] = {
    "int32": np.int32,
    "int64": np.int64,
    "float32": np.float32,
    "float64": np.float64,
}


def plan_of(name: str, dtype: str, *width: int, **defaults: str) -> SignatureBinding:
    signature = raw_signature([tensor(name, dtype, None, *width)], [SCORE_TENSOR])
    return bind(signature, with_default(SCHEMA, **defaults), None, None)


def found_in(batch: pa.RecordBatch, plan: SignatureBinding) -> dict[int, set[str]]:
    rows: dict[int, set[str]] = {}
    for findings in check_inputs(batch, plan):
        assert len(findings.rows) == len(findings.details)
        for row in findings.rows.tolist():
            rows.setdefault(row, set()).add(findings.reason.value)
    return rows


def fits(value: float | int | None, dtype: str) -> bool:
    """Whether a cast keeps the value, as far as the type's precision allows."""
    if value is None:
        return False
    if not np.isfinite(value):
        return dtype.startswith("float")
    with np.errstate(over="ignore"):
        cast = NUMPY[dtype](value) if dtype.startswith("float") else value
    limits = np.iinfo(NUMPY[dtype]) if dtype.startswith("int") else None
    return limits.min <= value <= limits.max if limits else bool(np.isfinite(cast))


WHOLE = st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-(2**31) - 2, 2**31 + 2)
REAL = st.none() | st.floats().filter(
    # Between the largest float32 and what rounds to it, a cast gives the former.
    lambda x: not 3.4028234e38 < abs(x) < 3.4028236e38
)


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
@given(values=st.lists(WHOLE, max_size=20))
def test_whole_numbers(values: list[int | None], dtype: str) -> None:
    check_scalars("whole", values, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(values=st.lists(REAL, max_size=20))
def test_real_numbers(values: list[float | None], dtype: str) -> None:
    check_scalars("real", values, dtype)


def check_scalars(name: str, values: list[Any], dtype: str) -> None:
    plan = plan_of(name, dtype)
    batch = batch_of(schema_of(SCHEMA), **{name: values})
    good = [fits(value, dtype) for value in values]
    found = found_in(batch, plan)
    assert set(found) == {row for row, is_good in enumerate(good) if not is_good}
    for row, reasons in found.items():
        assert reasons == {"MISSING_REQUIRED" if values[row] is None else "OUT_OF_RANGE"}
    given = to_arrays(batch.filter(pa.array(good, pa.bool_())), plan)[name]
    expected = np.array([v for v, is_good in zip(values, good, strict=True) if is_good])
    assert given.dtype == NUMPY[dtype]
    np.testing.assert_array_equal(given, expected.astype(NUMPY[dtype]))


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
@given(rows=st.lists(st.none() | st.lists(WHOLE.filter(lambda x: x is not None), max_size=3)))
def test_lists_of_whole_numbers(rows: list[list[int] | None], dtype: str) -> None:
    plan = plan_of("wholes", dtype, 2)
    batch = batch_of(schema_of(SCHEMA), wholes=[None, [0, 0], *rows]).slice(1)
    rows = [[0, 0], *rows]
    found = found_in(batch, plan)
    for row, values in enumerate(rows):
        expected = set()
        if values is None:
            expected.add("MISSING_REQUIRED")
        else:
            if len(values) != 2:
                expected.add("INVALID_VALUE_COUNT")
            if not all(fits(value, dtype) for value in values):
                expected.add("OUT_OF_RANGE")
        assert found.get(row, set()) == expected
    good = [row not in found for row in range(len(rows))]
    given = to_arrays(batch.filter(pa.array(good)), plan)["wholes"]
    expected_rows = [values for values, is_good in zip(rows, good, strict=True) if is_good]
    np.testing.assert_array_equal(given, np.array(expected_rows, np.int64).astype(NUMPY[dtype]))


@pytest.mark.parametrize(
    ("name", "values", "bad"),
    [
        ("whole", [0, 1, 2, -1], {2, 3}),
        ("word", ["true", "false", "True", "1", ""], {2, 3, 4}),
        ("wholes", [[0, 1], [1, 2], [1, 1]], {1}),
        ("words", [["true", "false"], ["true", "yes"]], {1}),
    ],
)
def test_what_means_neither_true_nor_false(name: str, values: list[Any], bad: set[int]) -> None:
    width = [2] if isinstance(values[0], list) else []
    plan = plan_of(name, "bool", *width)
    batch = batch_of(schema_of(SCHEMA), **{name: values})
    assert found_in(batch, plan) == {row: {"INVALID_TYPE"} for row in bad}
    mask = pa.array([row not in bad for row in range(len(values))])
    given = to_arrays(batch.filter(mask), plan)[name]
    kept = [value for row, value in enumerate(values) if row not in bad]
    expected = np.vectorize(lambda value: value in (1, "true"))(np.array(kept))
    np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize(
    ("name", "dtype", "width", "default", "values", "expected"),
    [
        ("whole", "float32", [], "int_value: 7", [None, 1], [7, 1]),
        ("whole", "bool", [1], "int_value: 1", [None, 0], [[True], [False]]),
        ("real", "float64", [1], "float_value: 0.5", [None, 2.0], [[0.5], [2.0]]),
        ("word", "string", [], 'bytes_value: "\u00e9"', [None, "a"], ["\u00e9".encode(), b"a"]),
        ("word", "bool", [], 'bytes_value: "true"', [None, "false"], [True, False]),
        ("wholes", "int32", [2], "int_value: -1", [None, [1, 2]], [[-1, -1], [1, 2]]),
        ("words", "string", [2], 'bytes_value: "x"', [["a", "b"], None],
         [[b"a", b"b"], [b"x", b"x"]]),
    ],
)  # fmt: skip
def test_the_schemas_default_stands_for_a_missing_value(
    name: str, dtype: str, width: list[int], default: str, values: list[Any], expected: list[Any]
) -> None:
    plan = plan_of(name, dtype, *width, **{name: default})
    batch = batch_of(schema_of(SCHEMA), **{name: values})
    assert found_in(batch, plan) == {}
    assert to_arrays(batch, plan)[name].tolist() == expected


def test_a_column_that_no_input_has_is_missing_in_every_row() -> None:
    batch = batch_of(schema_of(SCHEMA), whole=[1, 2])
    assert found_in(batch, plan_of("real", "float32")) == {
        row: {"MISSING_REQUIRED"} for row in (0, 1)
    }
    filled = to_arrays(batch, plan_of("real", "float32", real="float_value: 2"))
    assert filled["real"].tolist() == [2.0, 2.0]


def test_a_detail_names_the_feature_the_value_and_what_the_model_takes() -> None:
    batch = batch_of(schema_of(SCHEMA), wholes=[[1, 2], [2**31, 2**40]])
    (found,) = [f for f in check_inputs(batch, plan_of("wholes", "int32", 2)) if len(f.rows)]
    assert found.rows.tolist() == [1, 1]
    assert found.feature == "wholes"
    assert found.details == [
        "2147483648 is beyond int32, which the model takes",
        "1099511627776 is beyond int32, which the model takes",
    ]
