"""Distances between two data sets' values of a feature, from TFDV's statistics.

TFDV's Jensen-Shannon divergence bins numbers in equal widths between minimum and maximum, so one
outlier decides it: a single value of 1e6 in one month gives 0.9995, one in both months hides a
shift of half a standard deviation. Ours bins by quantiles, where an outlier weighs what it is:
one row.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from tensorflow_metadata.proto.v0 import statistics_pb2

FeatureStats: TypeAlias = statistics_pb2.FeatureNameStatistics

CONFIDENCE = 0.9999
# Not the extremes: they are what one outlier moves.
_EDGES = np.array([0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99])


@dataclass(frozen=True)
class Distance:
    """A distance and what chance alone could make of it.

    Attributes:
        value: between 0 and 1.
        noise: what two samples of these sizes from one distribution stay below in 99.99 % of
            cases.
        where: the value of the feature whose share changed most; empty for numbers.
    """

    value: float
    noise: float
    where: str = ""


def is_categorical(stats: FeatureStats) -> bool:
    """Whether TFDV counted values (texts, categorical integers) instead of measuring them."""
    return stats.HasField("string_stats")


def distance(current: FeatureStats, reference: FeatureStats) -> Distance | None:
    """L-infinity of categories, Jensen-Shannon divergence of numbers; None where not comparable."""
    if is_categorical(current) and is_categorical(reference):
        return linf(current, reference)
    if current.HasField("num_stats") and reference.HasField("num_stats"):
        return jensen_shannon(current, reference)
    return None


def linf(current: FeatureStats, reference: FeatureStats) -> Distance | None:
    """The largest difference of one value's share: max |p_i - q_i|.

    Source: TFDV's L-infinity norm (`infinity_norm` in `schema.proto`), on the counts that its
    rank histograms keep. None where a side has no values.

    The noise of a share p from n values is normal with variance p (1 - p) / n; over all k values
    Bonferroni's bound holds: z(1 - 0.0001 / 2k) sqrt(p (1 - p) (1/n + 1/m)), p the pooled share.
    Few values are not normal: three of one kind may well meet. Bernstein's inequality (The Theory
    of Probabilities, 1946) with the same z adds what matters then, z^2 / 6 (1/n + 1/m).
    """
    ours, theirs = value_counts(current), value_counts(reference)
    n, m = sum(ours.values()), sum(theirs.values())
    if not n or not m:
        return None
    values = sorted(ours.keys() | theirs.keys())
    gaps = [abs(ours.get(v, 0) / n - theirs.get(v, 0) / m) for v in values]
    widest = int(np.argmax(gaps))
    shares = [(ours.get(v, 0) + theirs.get(v, 0)) / (n + m) for v in values]
    z = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * len(values)))
    spread = max(share * (1 - share) for share in shares)
    once = 1 / n + 1 / m
    few = z * z / 6 * once
    return Distance(
        gaps[widest], few + math.sqrt(few * few + z * z * spread * once), values[widest]
    )


def jensen_shannon(current: FeatureStats, reference: FeatureStats) -> Distance | None:
    """Jensen-Shannon divergence, base 2, over bins between both sides' quantiles.

    JS = (KL(p | (p+q)/2) + KL(q | (p+q)/2)) / 2; source: Lin, Divergence Measures Based on the
    Shannon Entropy, 1991. None where a side has no quantiles.

    For small differences JS ln 2 = sum((p - q)^2 / mean) / 8, and that sum times nm / (n + m) is
    chi-square with k - 1 degrees of freedom under one distribution (Pearson's homogeneity test);
    the noise is its 99.99 % point, by Wilson and Hilferty's approximation.
    """
    ours, theirs = Cdf.of(current), Cdf.of(reference)
    if ours is None or theirs is None:
        return None
    edges = np.unique(np.concatenate([ours.quantiles(_EDGES), theirs.quantiles(_EDGES)]))
    p, q = ours.masses(edges), theirs.masses(edges)
    mean = (p + q) / 2
    value = (_entropy_gap(p, mean) + _entropy_gap(q, mean)) / 2
    n, m = _present(current), _present(reference)
    degrees = max(int(np.count_nonzero(mean)) - 1, 1)
    noise = _chi_square_point(degrees) * (n + m) / (n * m) / (8 * math.log(2))
    return Distance(float(np.clip(value, 0, 1)), noise)


def missing_share(stats: FeatureStats) -> float:
    """Share of rows without a value."""
    common = common_stats(stats)
    rows = common.num_missing + common.num_non_missing
    return common.num_missing / rows if rows else 0.0


def value_counts(stats: FeatureStats) -> dict[str, float]:
    """{value: rows} of the most frequent values."""
    return {b.label: b.sample_count for b in stats.string_stats.rank_histogram.buckets}


def common_stats(stats: FeatureStats) -> statistics_pb2.CommonStatistics:
    """The statistics that every type has."""
    kind = stats.WhichOneof("stats")
    return getattr(stats, kind).common_stats if kind else statistics_pb2.CommonStatistics()


def quantiles(stats: FeatureStats, shares: np.ndarray) -> np.ndarray | None:
    """float64: the values below which these shares of the values lie; None without quantiles."""
    cdf = Cdf.of(stats)
    return None if cdf is None else cdf.quantiles(shares)


@dataclass(frozen=True)
class Cdf:
    """A distribution function, linear between TFDV's quantile buckets, with jumps at atoms.

    Attributes:
        values: bucket borders, ascending, repeated at atoms.
        heights: share of values up to each border.
    """

    values: np.ndarray
    heights: np.ndarray

    @classmethod
    def of(cls, stats: FeatureStats) -> "Cdf | None":
        for histogram in stats.num_stats.histograms:
            if histogram.type == statistics_pb2.Histogram.QUANTILES and histogram.buckets:
                buckets = [b for b in histogram.buckets if not math.isnan(b.low_value)]
                mass = np.cumsum([0.0, *(bucket.sample_count for bucket in buckets)])
                if mass[-1] <= 0:
                    return None
                values = [buckets[0].low_value, *(bucket.high_value for bucket in buckets)]
                return cls(np.array(values), mass / mass[-1])
        return None

    def quantiles(self, shares: np.ndarray) -> np.ndarray:
        return np.interp(shares, self.heights, self.values)

    def masses(self, edges: np.ndarray) -> np.ndarray:
        """Share in (-inf, e0], (e0, e1], ..., (ek, inf)."""
        upto = np.concatenate([[0.0], self._at(edges), [1.0]])
        return np.maximum(np.diff(upto), 0.0)

    @classmethod
    def mixture(cls, parts: "Sequence[Cdf]", weights: Sequence[float]) -> "Cdf":
        """The distribution function of all values together; weights are their numbers."""
        points = np.unique(np.concatenate([part.values for part in parts]))
        shares = np.array(weights) / sum(weights)
        pairs = list(zip(parts, shares, strict=True))
        before = sum(share * part._before(points) for part, share in pairs)
        upto = sum(share * part._at(points) for part, share in pairs)
        # A jump is a vertical line between two equal values.
        return cls(np.repeat(points, 2), np.stack([before, upto], axis=1).ravel())

    def _before(self, edges: np.ndarray) -> np.ndarray:
        """F just below e: a jump at e not included."""
        first = np.searchsorted(self.values, edges, side="left")
        inside = np.clip(first, 0, len(self.values) - 1)
        is_border = (first < len(self.values)) & (self.values[inside] == edges)
        return np.where(is_border, self.heights[inside], self._at(edges))

    def _at(self, edges: np.ndarray) -> np.ndarray:
        """F(e), a jump at e included."""
        last = np.searchsorted(self.values, edges, side="right") - 1
        inside = (last >= 0) & (last < len(self.values) - 1)
        low = self.values[np.clip(last, 0, None)]
        high = self.values[np.clip(last + 1, None, len(self.values) - 1)]
        below = self.heights[np.clip(last, 0, None)]
        above = self.heights[np.clip(last + 1, None, len(self.values) - 1)]
        width = np.where(high > low, high - low, 1.0)
        between = below + (above - below) * (edges - low) / width
        return np.where(inside, between, np.where(last < 0, 0.0, 1.0))


def _present(stats: FeatureStats) -> float:
    return max(float(common_stats(stats).num_non_missing), 1.0)


def _entropy_gap(p: np.ndarray, mean: np.ndarray) -> float:
    present = p > 0
    return float(np.sum(p[present] * np.log2(p[present] / mean[present])))


def _chi_square_point(degrees: int) -> float:
    """Source: Wilson and Hilferty, The Distribution of Chi-Square, 1931."""
    z = NormalDist().inv_cdf(CONFIDENCE)
    part = 2 / (9 * degrees)
    return degrees * (1 - part + z * math.sqrt(part)) ** 3
