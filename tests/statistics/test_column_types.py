"""Column types: each value counts, in whatever order batches come."""

import functools
import itertools

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.batch import SOURCE_ROW, Findings, Reason, with_findings
from beam_jobs.schema import Feature, FeatureType
from beam_jobs.statistics.column_types import (
    ColumnType,
    ColumnTypes,
    column_types_of,
    join,
    to_features,
)

INT, FLOAT, BYTES = FeatureType
COLUMN = st.builds(ColumnType, st.none() | st.sampled_from(FeatureType), st.booleans())
TYPES = st.dictionaries(st.sampled_from("abc"), COLUMN)


@given(TYPES, TYPES, TYPES)
def test_join_is_associative_commutative_and_idempotent(
    a: ColumnTypes, b: ColumnTypes, c: ColumnTypes
) -> None:
    assert join([a, b]) == join([b, a])
    assert join([join([a, b]), c]) == join([a, join([b, c])]) == join([a, b, c])
    assert join([a, a]) == a == join([{}, a])


def batch_of(**columns: pa.Array) -> pa.RecordBatch:
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return with_findings(batch, [])


CELLS = st.lists(
    st.none()
    | st.integers(-(2**63), 2**63 - 1).map(str)
    | st.floats(-1e9, 1e9).map(str)
    | st.sampled_from(["x", "1e3", "2026-10-01", "true"]),
    min_size=1,
    max_size=8,
)


@given(CELLS, st.lists(st.integers(0, 8), max_size=3))
def test_text_has_the_type_that_pandas_gives_it(cells: list[str | None], cuts: list[int]) -> None:
    """Of the whole column, though batches are counted one by one."""
    batch = batch_of(x=pa.array(cells, pa.string()))
    borders = [0, *sorted(min(cut, len(cells)) for cut in cuts), len(cells)]
    parts = [batch.slice(i, j - i) for i, j in itertools.pairwise(borders)]
    found = join(column_types_of(part, cells_are_text=True) for part in parts)
    present = [cell for cell in cells if cell is not None]
    if not present:
        assert found["x"].type is None
        assert to_features(found) == (Feature("x", BYTES),)
        return
    values = pd.to_numeric(pd.Series(present), errors="coerce")
    if values.isna().any():
        expected = BYTES
    else:
        expected = INT if all(_is_int(cell) for cell in present) else FLOAT
    assert found["x"] == ColumnType(expected)


def _is_int(text: str) -> bool:
    return text.lstrip("-").isdigit()


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, None]), ColumnType(INT)),
        (pa.array([True, None]), ColumnType(INT)),
        (pa.array([1.0, None]), ColumnType(FLOAT)),
        (pa.array(["1"]), ColumnType(BYTES)),
        (pa.array([b"1"]), ColumnType(BYTES)),
        (pa.array([[1], None]), ColumnType(INT, True)),
        (pa.array([[1.5], []]), ColumnType(FLOAT, True)),
        (pa.array([["1"]]), ColumnType(BYTES, True)),
        (pa.array([[], None], pa.list_(pa.string())), ColumnType(None, True)),
        (pa.nulls(2, pa.string()), ColumnType()),
    ],
)
def test_other_formats_keep_their_types(column: pa.Array, expected: ColumnType) -> None:
    assert column_types_of(batch_of(x=column), cells_are_text=False) == {"x": expected}


def test_columns_stand_in_the_order_in_which_they_appear() -> None:
    first = column_types_of(batch_of(b=pa.array([1]), a=pa.array(["x"])), cells_are_text=True)
    second = column_types_of(batch_of(c=pa.array(["1"]), b=pa.array([0.5])), cells_are_text=True)
    assert to_features(functools.reduce(lambda x, y: join([x, y]), [first, second], {})) == (
        Feature("b", FLOAT), Feature("a", BYTES), Feature("c", INT),
    )  # fmt: skip


def test_malformed_rows_and_reserved_columns_do_not_count() -> None:
    batch = batch_of(x=pa.array(["1", "x"]), **{SOURCE_ROW: pa.array([1, 2])})
    broken = Findings(Reason.MALFORMED_RECORD, np.array([1]), ["the record has 3 cells"])
    batch = with_findings(batch, [broken])
    assert column_types_of(batch, cells_are_text=True) == {"x": ColumnType(INT)}
