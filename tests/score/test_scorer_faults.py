"""Rows and models that go wrong, with models made of numpy: no TensorFlow graph in between."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.batch import (
    DEFAULT_ACTIONS,
    OUTPUTS,
    ROWS_PER_BATCH,
    SCORE,
    Action,
    Findings,
    Reason,
    with_findings,
)
from beam_jobs.errors import RunError
from beam_jobs.models.signature import TensorInfo
from beam_jobs.score.bind import bind
from beam_jobs.score.scorer import Scorer
from beam_jobs.score.signature_binding import SignatureBinding
from support.models import (
    SCORE_TENSOR,
    batch_of,
    details,
    raw_signature,
    reasons,
    schema_of,
    tensor,
)

SCHEMA = schema_of('feature { name: "bid" type: FLOAT }')
Arrays = Mapping[str, npt.NDArray[Any]]


def plan(*outputs: TensorInfo) -> SignatureBinding:
    signature = raw_signature([tensor("bid", "float64", None)], outputs or (SCORE_TENSOR,))
    return bind(signature, SCHEMA, None, "score")


OUT_OF_MEMORY = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


class Fragile:
    """Doubles its input; fails for negative values; remembers how many rows it was given."""

    def __init__(self, memory: int = ROWS_PER_BATCH, error: Exception = OUT_OF_MEMORY) -> None:
        self.memory, self.error = memory, error
        self.sizes: list[int] = []

    def __call__(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        bid = inputs["bid"]
        self.sizes.append(len(bid))
        if len(bid) > self.memory:
            raise self.error
        if (bid < 0).any():
            raise ValueError(f"a bid below 0: {bid[bid < 0][0]}")
        return {"score": bid * 2, "rank": np.stack([bid, -bid], 1)}


@given(poison=st.lists(st.booleans(), max_size=70), max_rows=st.integers(1, 80))
def test_exactly_the_rows_that_fail_are_quarantined(poison: list[bool], max_rows: int) -> None:
    bid = np.where(poison, -1.0, np.arange(len(poison))) if poison else np.zeros(0)
    model = Fragile()
    batch = batch_of(SCHEMA, bid=bid)
    found = Scorer(model, plan(), DEFAULT_ACTIONS, max_rows).score(batch).to_pydict()
    assert reasons(found) == [["MODEL_ERROR"] if bad else [] for bad in poison]
    expected = [None if bad else 2.0 * row for row, bad in enumerate(poison)]
    assert found[SCORE] == expected
    assert [text is None for text in found[OUTPUTS]] == poison
    for row in np.flatnonzero(poison).tolist():
        assert details(found, row) == ["the model failed: a bid below 0: -1.0"]
    assert max(model.sizes, default=0) <= max_rows


def test_one_poison_row_costs_two_calls_a_halving() -> None:
    model = Fragile()
    bid = np.ones(4096)
    bid[1234] = -1
    Scorer(model, plan(), DEFAULT_ACTIONS).score(batch_of(SCHEMA, bid=bid))
    assert len(model.sizes) == 1 + 2 * 12
    assert model.sizes[0] == 4096


@pytest.mark.parametrize("error", [OUT_OF_MEMORY, MemoryError(), pa.ArrowMemoryError()], ids=repr)
def test_out_of_memory_halves_the_batch_for_good(error: Exception) -> None:
    model = Fragile(300, error)
    scorer = Scorer(model, plan(), DEFAULT_ACTIONS)
    bid = np.arange(1000.0)
    for _ in range(2):
        found = scorer.score(batch_of(SCHEMA, bid=bid)).to_pydict()
        assert reasons(found) == [[]] * 1000
        np.testing.assert_array_equal(found[SCORE], bid * 2)
    # 1000 and 500 are too many once; from then on 250 at a time, also in the next batch.
    assert model.sizes == [1000, 500] + [250] * 8
    assert scorer.max_rows == 250


def test_a_row_that_alone_needs_too_much_memory_is_quarantined() -> None:
    scorer = Scorer(Fragile(memory=0), plan(), DEFAULT_ACTIONS)
    found = scorer.score(batch_of(SCHEMA, bid=[1.0, 2.0])).to_pydict()
    assert reasons(found) == [["MODEL_ERROR"]] * 2
    assert details(found, 0) == ["the model failed: OOM when allocating tensor"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_an_error_of_the_model(value: float) -> None:
    def predict(inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return {
            "score": np.where(inputs["bid"] == 3, value, inputs["bid"]).astype(np.float32),
            "other": inputs["bid"],
        }

    found = Scorer(predict, plan(), DEFAULT_ACTIONS).score(batch_of(SCHEMA, bid=[1.0, 3.0, 5.0]))
    rows = found.to_pydict()
    assert rows[SCORE] == [1.0, None, 5.0]
    assert rows[OUTPUTS] == ['{"other":1.0}', None, '{"other":5.0}']
    assert reasons(rows) == [[], ["MODEL_ERROR"], []]
    assert details(rows, 1) == [f"the score is {value}"]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"score": np.zeros(2)}, r"output 'score' of shape \[2\] for 3 rows"),
        ({"score": np.float32(1)}, r"output 'score' of shape \[\] for 3 rows"),
        ({"score": np.zeros(3), "other": np.zeros((1, 3))}, r"output 'other' of shape \[1, 3\]"),
        ({"score": np.zeros((3, 1, 1))}, r"has shape \[3, 1, 1\], so no column 0"),
    ],
)
def test_a_model_that_does_not_answer_each_row_fails_the_run(
    outputs: dict[str, npt.NDArray[Any]], message: str
) -> None:
    """Rows could not be told apart, so no row of it can be trusted; bisection would hide it."""
    scorer = Scorer(lambda _: outputs, plan(), DEFAULT_ACTIONS)
    with pytest.raises(RunError, match=message):
        scorer.score(batch_of(SCHEMA, bid=[1.0, 2.0, 3.0]))


@pytest.mark.parametrize(("width", "column"), [(1, 0), (2, 1), (3, None), (0, None)])
def test_an_answer_of_unforeseen_width(width: int, column: int | None) -> None:
    answer = np.arange(2.0 * width).reshape(2, width)
    scorer = Scorer(
        lambda _: {"score": answer}, plan(tensor("score", "float32", None, None)), DEFAULT_ACTIONS
    )
    batch = batch_of(SCHEMA, bid=[1.0, 2.0])
    if column is None:
        with pytest.raises(RunError, match=rf"shape \[2, {width}\].*choose one with --score"):
            scorer.score(batch)
    else:
        assert scorer.score(batch).to_pydict()[SCORE] == answer[:, column].tolist()


def test_only_rows_that_the_actions_let_through_are_given_to_the_model() -> None:
    batch = batch_of(SCHEMA, bid=[-1.0, 2.0, 3.0])
    batch = with_findings(
        batch,
        [
            Findings(Reason.OUT_OF_RANGE, np.array([0]), ["bid: -1.0 is below the minimum 0"]),
            Findings(Reason.OUT_OF_DOMAIN, np.array([1]), ["bid: another domain"]),
        ],
    )
    model = Fragile()
    found = Scorer(model, plan(), DEFAULT_ACTIONS).score(batch).to_pydict()
    assert model.sizes == [2]
    assert found[SCORE] == [None, 4.0, 6.0]
    assert reasons(found) == [["OUT_OF_RANGE"], ["OUT_OF_DOMAIN"], []]
    let_through = {**DEFAULT_ACTIONS, Reason.OUT_OF_RANGE: Action.FLAG}
    found = Scorer(Fragile(), plan(), let_through).score(batch).to_pydict()
    assert reasons(found)[0] == ["OUT_OF_RANGE", "MODEL_ERROR"]


def test_a_batch_of_which_no_row_is_scored_is_not_given_to_the_model() -> None:
    model = Fragile()
    found = Scorer(model, plan(), DEFAULT_ACTIONS).score(batch_of(SCHEMA, bid=[None, None]))
    assert model.sizes == []
    assert found.column(found.schema.get_field_index(SCORE)).null_count == 2
    assert reasons(found.to_pydict()) == [["MISSING_REQUIRED"]] * 2


def test_the_message_of_a_failed_row_begins_with_what_failed() -> None:
    def predict(_: Arrays) -> dict[str, npt.NDArray[Any]]:
        raise tf.errors.InvalidArgumentError(
            None,
            None,
            "Graph execution error:\n\nDetected at node a/Assert defined at (most recent call"
            ' last):\n  File "train.py", line 3, in serve\n\n  File "x.py", line 9, in y\n\n'
            "assertion failed: [bid < 0] [x (bid:0) = ] [-1]\n\t [[{{node a/Assert}}]]"
            " [Op:__inference_signature_wrapper_serve_297]",
        )

    found = Scorer(predict, plan(), DEFAULT_ACTIONS).score(batch_of(SCHEMA, bid=[1.0]))
    expected = "the model failed: assertion failed: [bid < 0] [x (bid:0) = ] [-1]"
    assert details(found.to_pydict(), 0) == [expected]
