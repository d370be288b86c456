"""Distances: hand-computed, as TFDV measures them, and where TFDV's own are fragile."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import statistics_pb2

from beam_jobs.statistics.distances import (
    abs_difference,
    category_divergence,
    jensen_shannon,
    linf,
)
from beam_jobs.statistics.files import FeatureStats
from beam_jobs.statistics.tfdv import tfdv


def numbers(values: npt.NDArray[Any]) -> FeatureStats:
    options = tfdv.StatsOptions(num_quantiles_histogram_buckets=100)
    frame = pd.DataFrame({"x": np.asarray(values, np.float32)})
    statistics = tfdv.generate_statistics_from_dataframe(frame, options)
    return statistics.datasets[0].features[0]


def categories(counts: dict[str, int]) -> FeatureStats:
    stats = statistics_pb2.FeatureNameStatistics()
    for label, count in counts.items():
        stats.string_stats.rank_histogram.buckets.add(label=label, sample_count=count)
    return stats


def test_linf_by_hand() -> None:
    found = linf(categories({"a": 3, "b": 1}), categories({"a": 1, "c": 1}))
    assert found is not None
    assert (found.value, found.where) == (0.5, "c")
    assert linf(categories({}), categories({"a": 1})) is None


def texts(values: Sequence[str], rank_buckets: int) -> FeatureStats:
    options = tfdv.StatsOptions(num_rank_histogram_buckets=rank_buckets)
    statistics = tfdv.generate_statistics_from_dataframe(pd.DataFrame({"x": values}), options)
    return statistics.datasets[0].features[0]


@pytest.mark.parametrize("buckets", [(10, 3_000), (1_000, 3_000), (150, 1_000), (200, 150)])
def test_counts_of_a_sketch_make_no_distance_of_equal_rows(
    buckets: tuple[int, int],
) -> None:
    """TFDV counts more values than it can hold by a sketch, which depends on how many it holds."""
    random = np.random.default_rng(5)
    values = [f"v{n}" for n in random.integers(2_500, size=8_000)]
    some, more = (texts(values, count) for count in buckets)
    for there, back in ((some, more), (more, some)):
        found = category_divergence(there, back)
        assert found is not None
        assert found.value == pytest.approx(0, abs=1e-9)
        for largest in (linf(there, back), abs_difference(there, back)):
            assert largest is not None
            assert largest.value <= 1 / 128


def test_a_change_is_seen_through_a_sketch() -> None:
    random = np.random.default_rng(6)
    tail = [f"v{n}" for n in random.integers(2_500, size=6_000)]
    before, after = ([*tail, *["a"] * a, *["b"] * (2_000 - a)] for a in (1_500, 500))
    exact = category_divergence(texts(after, 9_000), texts(before, 9_000))
    found = category_divergence(texts(after, 1_000), texts(before, 500))
    assert exact is not None
    assert found is not None
    assert found.value > found.noise
    assert found.value == pytest.approx(exact.value, rel=0.1)


COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 1000), min_size=1)


@given(COUNTS, COUNTS)
def test_linf_is_a_distance(a: dict[str, int], b: dict[str, int]) -> None:
    there, back = linf(categories(a), categories(b)), linf(categories(b), categories(a))
    same = linf(categories(a), categories(a))
    assert there is not None
    assert back is not None
    assert same is not None
    assert 0 <= there.value <= 1
    assert there.value == back.value
    assert same.value == 0


def test_one_outlier_decides_nothing() -> None:
    random = np.random.default_rng(1)
    a, b = random.normal(size=(2, 20_000))
    plain = jensen_shannon(numbers(a), numbers(b))
    spoiled = jensen_shannon(numbers(a), numbers(np.append(b, 1e6)))
    assert plain is not None
    assert spoiled is not None
    assert plain.value < plain.noise
    assert spoiled.value < spoiled.noise


def test_an_outlier_on_both_sides_hides_no_shift() -> None:
    random = np.random.default_rng(2)
    a = np.append(random.normal(0, 1, 20_000), 1e6)
    b = np.append(random.normal(0.5, 1, 20_000), 1e6)
    found = jensen_shannon(numbers(a), numbers(b))
    assert found is not None
    # 0.0437 is the exact divergence of the two normal distributions, found by integration.
    assert abs(found.value - 0.0437) < 3 * found.noise
    assert found.value > 10 * found.noise


def test_disjoint_numbers_are_as_far_as_can_be() -> None:
    found = jensen_shannon(numbers(np.arange(100.0)), numbers(np.arange(200.0, 300.0)))
    assert found is not None
    assert found.value == pytest.approx(1, abs=0.05)


@given(st.integers(0, 2**32), st.sampled_from([200, 5_000]))
@settings(max_examples=10)
def test_samples_of_one_distribution_stay_below_the_noise(seed: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.gamma(2, size=(2, rows))
    found = jensen_shannon(numbers(a), numbers(b))
    assert found is not None
    # 99.9 % is the promise; the margin covers what interpolating between quantiles adds.
    assert found.value < 1.5 * found.noise
