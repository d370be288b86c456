"""Distances of numbers from histograms with any number of buckets, against the rows themselves."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from tensorflow_metadata.proto.v0 import statistics_pb2

from beam_jobs.statistics.distances import Distance, jensen_shannon, linf, why_not_comparable
from beam_jobs.statistics.files import FeatureStats
from beam_jobs.statistics.histograms import missing_share
from beam_jobs.statistics.tfdv import tfdv

ROWS = 4_000
THRESHOLD = 0.03


def stats_of(values: npt.NDArray[Any], buckets: int, **options: object) -> FeatureStats:
    """As TFDV makes them; 10 buckets are its default."""
    made = tfdv.StatsOptions(num_quantiles_histogram_buckets=buckets, **options)
    frame = pd.DataFrame({"x": np.asarray(values)})
    return tfdv.generate_statistics_from_dataframe(frame, made).datasets[0].features[0]


def true_divergence(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Of the rows, in 20 bins of equal mass of both together; a value of many rows is one bin."""
    both = np.concatenate([a, b])
    levels = np.quantile(both, np.arange(1, 20) / 20, method="inverted_cdf")
    edges = np.unique(np.concatenate([levels, np.nextafter(levels, -np.inf)]))
    heights = [np.searchsorted(np.sort(side), edges, "right") / len(side) for side in (a, b)]
    shares = [np.diff(np.concatenate([[0], height, [1]])) for height in heights]
    return float(jensenshannon(*shares, base=2) ** 2)


def measured(a: FeatureStats, b: FeatureStats) -> Distance:
    there, back = jensen_shannon(a, b), jensen_shannon(b, a)
    assert there is not None
    assert back is not None
    assert there.value == pytest.approx(back.value, abs=1e-9)
    return there


Make = Callable[[np.random.Generator], npt.NDArray[Any]]
DISTRIBUTIONS: dict[str, Make] = {
    "normal": lambda random: random.normal(size=ROWS),
    "heavy tail": lambda random: random.pareto(1.0, ROWS),
    "cauchy": lambda random: random.standard_cauchy(ROWS),
    "log normal": lambda random: np.exp(3 * random.normal(size=ROWS)),
    "zero-inflated": lambda random: np.where(
        random.random(ROWS) < 0.7, 0, random.gamma(2, size=ROWS)
    ),
    "an atom inside": lambda random: np.where(
        random.random(ROWS) < 0.3, 0, random.normal(size=ROWS)
    ),
    "whole numbers": lambda random: random.poisson(3, ROWS),
    "many whole numbers": lambda random: random.integers(0, 300, ROWS),
    "constant": lambda _: np.full(ROWS, 5.0),
    "two atoms": lambda random: (random.random(ROWS) < 0.3) * 1.0,
    "five atoms": lambda random: np.array([1, 2, 4, 8, 1e5])[
        random.choice(5, ROWS, p=[0.04, 0.31, 0.05, 0.25, 0.35])
    ],
    "few rows": lambda random: random.normal(size=37),
    "one row": lambda _: np.array([1.5]),
    "infinities": lambda random: np.append(random.normal(size=ROWS), [np.inf, -np.inf]),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_identical_rows_are_no_distance_whatever_the_buckets(name: str) -> None:
    values = DISTRIBUTIONS[name](np.random.default_rng(4))
    made = {k: stats_of(values, k) for k in (2, 7, 10, 11, 50, 100, 1000)}
    compared = 0
    for ours in made:
        for theirs in made:
            if why_not_comparable(made[ours], made[theirs]) is None:
                found = measured(made[ours], made[theirs])
                compared += 1
                assert found.value <= found.noise
                # A run's own statistics have 100.
                assert found.value <= THRESHOLD or max(ours, theirs) < 50
    # TFDV's default, and all that is finer, is compared with each other.
    assert compared >= 5 * 5


@given(
    st.lists(st.sampled_from([-3.0, 0.0, 0.0, 0.0, 1.0, 1.5, 2.0, 7.0, 1e6]), max_size=60),
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=60),
    st.sampled_from([10, 12, 25, 99, 300, 1000]),
)
@settings(max_examples=40, deadline=None)
def test_identical_rows_of_any_kind(atoms: list[float], others: list[float], buckets: int) -> None:
    values = np.array(atoms + others)
    ours, theirs = stats_of(values, 100), stats_of(values, buckets)
    if why_not_comparable(ours, theirs) is None:
        found = measured(ours, theirs)
        assert found.value <= found.noise


Shift = tuple[Make, Make]
SHIFTS: dict[str, Shift] = {
    "a third of a deviation": (
        lambda r: r.normal(0.3, 1, 20_000), lambda r: r.normal(0, 1, 20_000)),
    "a deviation": (lambda r: r.normal(1, 1, 20_000), lambda r: r.normal(0, 1, 20_000)),
    "two deviations": (lambda r: r.normal(2, 1, 20_000), lambda r: r.normal(0, 1, 20_000)),
    "a scale": (lambda r: r.exponential(1.6, 20_000), lambda r: r.exponential(1, 20_000)),
    "twice a heavy tail": (lambda r: 2 * r.pareto(1.0, 20_000), lambda r: r.pareto(1.0, 20_000)),
    "fewer zeros": (
        lambda r: np.where(r.random(20_000) < 0.3, 0, r.gamma(2, size=20_000)),
        lambda r: np.where(r.random(20_000) < 0.7, 0, r.gamma(2, size=20_000)),
    ),
    "whole numbers": (lambda r: r.poisson(6, 20_000), lambda r: r.poisson(3, 20_000)),
    "two atoms": (
        lambda r: (r.random(20_000) < 0.8) * 1.0, lambda r: (r.random(20_000) < 0.3) * 1.0),
    "another constant": (lambda _: np.full(20_000, 6.0), lambda _: np.full(20_000, 5.0)),
    "nothing in common": (lambda r: r.normal(20, 1, 20_000), lambda r: r.normal(0, 1, 20_000)),
}  # fmt: skip


@pytest.mark.parametrize("name", SHIFTS)
def test_a_shift_is_what_the_rows_say(name: str) -> None:
    random = np.random.default_rng(6)
    now, before = (make(random) for make in SHIFTS[name])
    expected = true_divergence(now, before)
    ours = stats_of(now, 100)
    for buckets in (10, 20, 100, 1000):
        theirs = stats_of(before, buckets)
        assert why_not_comparable(ours, theirs) is None
        found = measured(ours, theirs)
        assert found.value == pytest.approx(expected, rel=0.06, abs=1e-3)
        assert found.value > found.noise


def test_too_few_buckets_are_told_and_not_measured() -> None:
    values = np.random.default_rng(1).pareto(1.0, ROWS)
    why = why_not_comparable(stats_of(values, 100), stats_of(values, 2))
    assert why is not None
    assert "50% of the values lie in one bucket of the reference's histogram" in why


def test_a_histogram_of_equal_widths_alone_is_enough_where_it_is_fine() -> None:
    random = np.random.default_rng(2)
    now, before = random.uniform(0.3, 1.3, ROWS), random.uniform(0, 1, ROWS)
    ours, theirs = stats_of(now, 100), stats_of(before, 100)
    kept = [h for h in theirs.num_stats.histograms if h.type == statistics_pb2.Histogram.STANDARD]
    del theirs.num_stats.histograms[:]
    theirs.num_stats.histograms.extend(kept)
    assert why_not_comparable(ours, theirs) is None
    expected = true_divergence(now, before)
    assert measured(ours, theirs).value == pytest.approx(expected, rel=0.1)


def test_weighted_and_sampled_statistics_are_compared_by_their_rows() -> None:
    random = np.random.default_rng(3)
    values = random.gamma(2, size=ROWS)
    frame = pd.DataFrame({"x": values, "w": random.random(ROWS)})
    options = tfdv.StatsOptions(weight_feature="w", num_quantiles_histogram_buckets=10)
    weighted = tfdv.generate_statistics_from_dataframe(frame, options).datasets[0].features
    of_x = next(stats for stats in weighted if stats.path.step[0] == "x")
    sampled = stats_of(values[random.random(ROWS) < 0.2], 10)
    for theirs in (of_x, sampled):
        found = measured(stats_of(values, 100), theirs)
        assert found.value <= min(found.noise, THRESHOLD)


def test_buckets_of_old_versions_have_equal_counts() -> None:
    """Where a value is repeated, their heights are those of the quantiles, not of the values."""
    values = np.where(np.arange(ROWS) < 0.437 * ROWS, 0.0, np.arange(ROWS) / ROWS)
    theirs = stats_of(values, 10)
    (old,) = [h for h in theirs.num_stats.histograms if h.type == 1]
    levels = np.quantile(values, np.arange(11) / 10, method="inverted_cdf")
    for bucket, low, high in zip(old.buckets, levels[:-1], levels[1:], strict=True):
        bucket.low_value, bucket.high_value, bucket.sample_count = low, high, ROWS / 10
    found = measured(stats_of(values, 100), theirs)
    assert found.value < THRESHOLD


def texts(counts: dict[str, int], top: int) -> FeatureStats:
    values = [value for value, count in counts.items() for _ in range(count)]
    options = tfdv.StatsOptions(num_rank_histogram_buckets=top, num_top_values=top)
    frame = pd.DataFrame({"x": values})
    return tfdv.generate_statistics_from_dataframe(frame, options).datasets[0].features[0]


def test_values_that_one_side_left_out_are_no_distance() -> None:
    counts = {f"site{number:03d}": 200 - number for number in range(150)}
    for top in (2, 10, 100, 1000):
        found = linf(texts(counts, 1000), texts(counts, top))
        assert found is not None
        assert found.value == pytest.approx(0)
    shifted = counts | {"site000": 5_200}
    found = linf(texts(shifted, 1000), texts(counts, 10))
    total = sum(counts.values())
    assert found is not None
    assert found.value == pytest.approx(5_200 / (total + 5_000) - 200 / total)
    assert found.where == "site000"


@pytest.mark.parametrize(("lists", "expected"), [
    ([[1.0], [], None, [2.0]], 0.5), ([[1.0], [2.0]], 0.0), ([[], []], 1.0), ([None, None], 1.0),
])  # fmt: skip
def test_an_empty_list_is_a_missing_value(lists: list[list[float] | None], expected: float) -> None:
    import pyarrow as pa
    from tensorflow_data_validation.statistics import stats_impl

    batch = pa.RecordBatch.from_arrays([pa.array(lists, pa.list_(pa.float32()))], names=["x"])
    made = stats_impl.generate_statistics_in_memory(batch, tfdv.StatsOptions())
    assert missing_share(made.datasets[0].features[0]) == expected
