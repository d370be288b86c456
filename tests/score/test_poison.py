"""Rows that make a model fail are found exactly, with calls in proportion to their number."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.batch import DEFAULT_ACTIONS, ROWS_PER_BATCH, SCORE
from beam_jobs.errors import RunError
from beam_jobs.score.bind import bind
from beam_jobs.score.poison import WHOLE, Failed, find_failing
from beam_jobs.score.scorer import WHOLE_BATCHES, Scorer
from support.models import (
    SCORE_TENSOR,
    batch_of,
    details,
    raw_signature,
    reasons,
    schema_of,
    tensor,
)

ROWS = ROWS_PER_BATCH


class Calls:
    """Fails for pieces that hold a poison row; counts, and remembers what it took."""

    def __init__(self, poison: npt.NDArray[Any]) -> None:
        self.poison = poison
        self.count = 0
        self.taken = np.zeros(len(poison), int)

    def __call__(self, first: int, last: int) -> str | None:
        self.count += 1
        if self.poison[first:last].any():
            return f"row {first + int(np.argmax(self.poison[first:last]))}"
        self.taken[first:last] += 1
        return None


def search(poison: npt.NDArray[Any]) -> tuple[Calls, Failed]:
    calls = Calls(poison)
    return calls, find_failing(calls, [(0, len(poison))])


def check(poison: npt.NDArray[Any]) -> Calls:
    """Every row was taken once, or failed alone."""
    calls, found = search(poison)
    assert found.untried == []
    assert sorted(found.rows) == np.flatnonzero(poison).tolist()
    assert found.rows == {row: f"row {row}" for row in found.rows}
    np.testing.assert_array_equal(calls.taken, ~poison)
    return calls


@given(st.lists(st.booleans(), min_size=1, max_size=WHOLE))
def test_exactly_the_rows_that_fail_are_found(poison: list[bool]) -> None:
    check(np.array(poison))


@pytest.mark.parametrize("count", [1, 2, 5, 40, 300])
def test_few_poison_rows_cost_two_calls_a_halving(count: int) -> None:
    poison = np.zeros(ROWS, bool)
    poison[np.random.default_rng(count).permutation(ROWS)[:count]] = True
    # The constant: rows that are tried alone where the first eight pieces all fail.
    assert check(poison).count <= 2 * count * (math.log2(ROWS / count) + 2) + 17


@pytest.mark.parametrize("share", [0.02, 0.1, 0.4, 0.7, 0.95])
def test_many_poison_rows_cost_hardly_more_than_a_call_a_row(share: float) -> None:
    """Halving alone takes two calls a row; below a share of 0.38 groups are cheaper than rows."""
    poison = np.random.default_rng(7).random(8192) < share
    calls = check(poison).count
    assert calls <= 8192 + 15 + WHOLE
    if share < 0.38:
        entropy = -share * math.log2(share) - (1 - share) * math.log2(1 - share)
        assert calls <= 1.7 * 8192 * entropy + 15 + WHOLE


def test_poison_rows_that_recur_are_no_trap() -> None:
    check(np.arange(4096) % 2 == 0)
    check(np.arange(4096) % 16 != 0)
    check(np.arange(4096) // 128 % 2 == 0)


def test_a_batch_that_fails_as_a_whole_is_not_tried_row_by_row() -> None:
    calls, found = search(np.ones(ROWS, bool))
    assert calls.count == 1 + 2 + 4 + 8 + WHOLE
    assert len(found.rows) == WHOLE
    assert sorted([*found.rows, *found.untried]) == list(range(ROWS))


def test_a_part_of_a_batch_that_fails_as_a_whole_costs_no_more() -> None:
    calls, found = search(np.arange(4096) < 2048)
    assert sorted([*found.rows, *found.untried]) == list(range(2048))
    assert calls.count <= 2 * 15 + WHOLE
    np.testing.assert_array_equal(calls.taken, np.arange(4096) >= 2048)


SCHEMA = schema_of('feature { name: "bid" type: FLOAT }')


class Model:
    """Fails for negative bids."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        self.calls += 1
        if (inputs["bid"] < 0).any():
            raise ValueError("a bid below 0")
        return {"score": inputs["bid"] * 2}


def scorer_of(model: Model) -> Scorer:
    signature = raw_signature([tensor("bid", "float64", None)], [SCORE_TENSOR])
    return Scorer(model, bind(signature, SCHEMA, None, None), DEFAULT_ACTIONS, name="models/ads/3")


def batch(value: float, rows: int = 5_000) -> Any:
    return batch_of(SCHEMA, bid=np.full(rows, value))


def test_a_model_that_fails_on_everything_ends_the_run_early() -> None:
    model = Model()
    scorer = scorer_of(model)
    for _ in range(WHOLE_BATCHES - 1):
        assert scorer.score(batch(-1)).num_rows == 5_000
    with pytest.raises(RunError) as failed:
        scorer.score(batch(-1))
    assert str(failed.value) == (
        f"model models/ads/3: has failed on every row of {WHOLE_BATCHES} batches, and has scored"
        " none: a bid below 0"
    )
    assert model.calls <= WHOLE_BATCHES * (15 + WHOLE)


def test_batches_that_fail_beside_others_that_do_not_are_quarantined() -> None:
    """A file that the model cannot score costs itself, and few calls."""
    model = Model()
    scorer = scorer_of(model)
    assert scorer.score(batch(1)).to_pydict()[SCORE] == [2.0] * 5_000
    for _ in range(WHOLE_BATCHES + 1):
        found = scorer.score(batch(-1)).to_pydict()
        assert reasons(found) == [["MODEL_ERROR"]] * 5_000
        told = {text for row in range(5_000) for text in details(found, row)}
        assert told == {
            "the model failed: a bid below 0",
            f"the model failed on each of {WHOLE} rows of the batch that were tried alone, so this"
            " one was not: a bid below 0",
        }
    assert model.calls <= 1 + (WHOLE_BATCHES + 1) * (15 + WHOLE)


def test_small_batches_that_fail_are_tried_to_their_end() -> None:
    """Of a few requests all may be poison: the run decides, not a batch."""
    scorer = scorer_of(Model())
    for _ in range(2 * WHOLE_BATCHES):
        found = scorer.score(batch(-1, WHOLE)).to_pydict()
        assert reasons(found) == [["MODEL_ERROR"]] * WHOLE
        assert {details(found, row)[0] for row in range(WHOLE)} == {
            "the model failed: a bid below 0"
        }
