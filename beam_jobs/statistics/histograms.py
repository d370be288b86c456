"""What TFDV's histograms tell of a feature's values: a distribution function, or shares of values.

They may have any number of buckets: TFDV's default is 10 quantiles, ours 100.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tensorflow_metadata.proto.v0 import statistics_pb2

from beam_jobs.statistics.files import FeatureStats

FINE = 0.021
"""Less of the values in one bucket than this, and F is linear within it (50 quantiles)."""

_HUGE = 1e300
"""Stands for an infinite border: between infinities nothing can be interpolated."""


def common_stats(stats: FeatureStats) -> statistics_pb2.CommonStatistics:
    """The statistics that every type has."""
    kind = stats.WhichOneof("stats")
    return getattr(stats, kind).common_stats if kind else statistics_pb2.CommonStatistics()


def is_categorical(stats: FeatureStats) -> bool:
    """Whether TFDV counted values (texts, categorical integers) instead of measuring them."""
    return bool(stats.HasField("string_stats"))


def type_name(stats: FeatureStats) -> str:
    """The type as TFDV names it, and whether it was counted: `INT`, `INT as a category`."""
    name: str = statistics_pb2.FeatureNameStatistics.Type.Name(stats.type)
    if is_categorical(stats) and name in ("INT", "FLOAT"):
        return f"{name} as a category"
    return name


def num_empty(stats: FeatureStats) -> float:
    """Rows whose list of values is empty, among those that TFDV does not count as missing.

    TFX writes a missing value as an empty list. Where no row has several values, as many rows as
    values have one; else the share is that of the histogram of the lists' lengths.
    """
    common = common_stats(stats)
    if common.min_num_values > 0 or not common.num_non_missing:
        return 0.0
    if common.max_num_values <= 1:
        # Files of old versions have no tot_num_values; the mean is never left out.
        values = common.tot_num_values or common.avg_num_values * common.num_non_missing
        return float(max(common.num_non_missing - values, 0.0))
    buckets = common.num_values_histogram.buckets
    total = sum(bucket.sample_count for bucket in buckets)
    none = sum(bucket.sample_count for bucket in buckets if bucket.high_value < 1)
    return common.num_non_missing * none / total if total else 0.0


def missing_share(stats: FeatureStats) -> float:
    """Share of rows without a value, an empty list included."""
    common = common_stats(stats)
    rows = common.num_missing + common.num_non_missing
    return (common.num_missing + num_empty(stats)) / rows if rows else 0.0


def value_counts(stats: FeatureStats) -> dict[str, float]:
    """{value: rows} of the most frequent values."""
    return {b.label: b.sample_count for b in stats.string_stats.rank_histogram.buckets}


def quantiles(
    stats: FeatureStats, shares: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64] | None:
    """float64: the values below which these shares of the values lie; None without quantiles."""
    cdf = Cdf.of(stats)
    return None if cdf is None else cdf.quantiles(shares)


SKETCH_VALUES = 128
"""TFDV counts at least so many values of a feature (`num_misragries_buckets`). Where there are more
values than the n that it counts, a count may be wrong by 1/n of all (Misra and Gries, Finding
repeated elements, 1982)."""


@dataclass(frozen=True)
class Values:
    """How often each value of a category occurs, as far as a rank histogram says.

    Attributes:
        counts: {value: occurrences} of the most frequent values.
        total: occurrences of all values.
        error: by how many occurrences a count may be wrong.
    """

    counts: dict[str, float]
    total: float
    error: float = 0.0

    @classmethod
    def of(cls, stats: FeatureStats) -> "Values":
        """The values that TFDV counted of a feature."""
        counts = value_counts(stats)
        # Histograms may be cut off after any number of values, and sketches count too few.
        counted = sum(counts.values())
        total = max(counted, float(common_stats(stats).tot_num_values))
        is_sketch = stats.string_stats.unique > len(counts) and counted != total
        return cls(counts, total, total / max(len(counts), SKETCH_VALUES) if is_sketch else 0.0)

    @property
    def exact(self) -> "Values":
        """The same, with the counts taken for exact."""
        return dataclasses.replace(self, error=0.0)

    @property
    def _left_out(self) -> float:
        """Occurrences that a value which the histogram leaves out may have."""
        last = min(self.counts.values(), default=math.inf)
        if self.error:
            return last + self.error
        return min(self.total - sum(self.counts.values()), last)

    def shares(
        self, values: Sequence[str]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(least, most) share that each value may have: one left out is not more than the last."""
        counts = np.array([self.counts.get(value, math.nan) for value in values])
        known = ~np.isnan(counts)
        least = np.where(known, np.maximum(counts - self.error, 0), 0.0)
        most = np.where(known, np.minimum(counts + self.error, self.total), self._left_out)
        return least / self.total, most / self.total


@dataclass(frozen=True)
class Cdf:
    """A distribution function, linear between the borders of buckets, with jumps at atoms.

    Attributes:
        values: bucket borders, ascending, repeated at atoms.
        heights: share of values up to each border.
    """

    values: npt.NDArray[np.float64]
    heights: npt.NDArray[np.float64]

    @classmethod
    def of(cls, stats: FeatureStats) -> "Cdf | None":
        """Of the quantiles, or of the histogram of equal widths; None where there is neither."""
        kinds = statistics_pb2.Histogram
        return cls.of_kind(stats, kinds.QUANTILES) or cls.of_kind(stats, kinds.STANDARD)

    @classmethod
    def of_kind(
        cls, stats: FeatureStats, kind: "statistics_pb2.Histogram.HistogramType"
    ) -> "Cdf | None":
        """Of the histogram of that kind; None where there is none."""
        for histogram in stats.num_stats.histograms:
            buckets = [b for b in histogram.buckets if not math.isnan(b.low_value)]
            mass = np.cumsum([0.0, *(bucket.sample_count for bucket in buckets)])
            if histogram.type == kind and mass[-1] > 0:
                values = [buckets[0].low_value, *(bucket.high_value for bucket in buckets)]
                return cls(np.array(values), mass / mass[-1])
        return None

    def quantiles(self, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The values below which these shares lie."""
        return np.interp(shares, self.heights, self.values)

    def masses(self, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Share in (-inf, e0], (e0, e1], ..., (ek, inf)."""
        upto = np.concatenate([[0.0], self.at(edges), [1.0]])
        return np.maximum(np.diff(upto), 0.0)

    @classmethod
    def mixture(cls, parts: "Sequence[Cdf]", weights: Sequence[float]) -> "Cdf":
        """The distribution function of all values together; weights are their numbers."""
        points = np.unique(np.concatenate([part.values for part in parts]))
        shares = np.array(weights) / sum(weights)
        pairs = list(zip(parts, shares, strict=True))
        before = sum(share * part.before(points) for part, share in pairs)
        upto = sum(share * part.at(points) for part, share in pairs)
        # A jump is a vertical line between two equal values.
        return cls(np.repeat(points, 2), np.stack([before, upto], axis=1).ravel())

    def before(self, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """F just below e: a jump at e not included."""
        first = np.searchsorted(self.values, edges, side="left")
        inside = np.clip(first, 0, len(self.values) - 1)
        is_border = (first < len(self.values)) & (self.values[inside] == edges)
        return np.where(is_border, self.heights[inside], self.at(edges))

    def at(self, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
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


@dataclass(frozen=True)
class Knots:
    """What the histograms of numbers say for certain: F at their borders, and nothing in between.

    TFDV's quantiles give F exactly, also where a value is repeated; the histogram of equal widths
    that stands beside them is made from a thousand quantiles. Files of versions before 1.0 give
    each quantile the same count, so that where a value is repeated F lies somewhere between that
    border's height and the next one's.

    Attributes:
        values: float64, the borders, ascending, each once.
        before: share of values up to the first bucket that ends there.
        upto: F, the share of values up to each border.
        inner: the second border and the last but one of the quantiles: beyond them the buckets
            reach to the extremes, which one outlier moves.
    """

    values: npt.NDArray[np.float64]
    before: npt.NDArray[np.float64]
    upto: npt.NDArray[np.float64]
    inner: tuple[float, float]

    @classmethod
    def of(cls, stats: FeatureStats) -> "Knots | None":
        """None where there is no histogram."""
        cdf, widths = Cdf.of(stats), Cdf.of_kind(stats, statistics_pb2.Histogram.STANDARD)
        if cdf is None:
            return None
        borders = np.clip(cdf.values, -_HUGE, _HUGE)
        values, first = np.unique(borders, return_index=True)
        last = np.append(first[1:], len(borders)) - 1
        before, upto = cdf.heights[first], cdf.heights[last]
        if len(values) > 1 and np.ptp(np.diff(cdf.heights)) < 1e-9:
            repeated = np.flatnonzero(last > first)[:-1]
            upto = upto.copy()
            upto[repeated] = (upto[repeated] + before[repeated + 1]) / 2
        upto = np.append(upto[:-1], 1.0)
        inner = float(values[min(1, len(values) - 1)]), float(values[max(len(values) - 2, 0)])
        knots = cls(values, before, upto, inner)
        if widths is None or not np.isfinite(widths.values).all():
            return knots
        return knots._with(widths, stats.type == statistics_pb2.FeatureNameStatistics.INT)

    def _with(self, other: Cdf, are_whole: bool) -> "Knots":
        """With the borders of another histogram of the same values that lie between these.

        Between whole numbers there are no values: a border stands for the number below it. Other
        borders beside an atom are left out: the histogram spreads it over what is beside it.
        """
        borders = other.values
        if are_whole:
            is_between = borders != np.floor(borders)
            borders, first = np.unique(np.floor(borders[is_between]), return_index=True)
            heights = other.at(other.values[is_between][first])
        else:
            heights = other.at(borders)
        is_new = (borders > self.values[0]) & (borders < self.values[-1])
        is_new &= ~np.isin(borders, self.values)
        if not are_whole:
            above = np.clip(np.searchsorted(self.values, borders), 1, len(self.values) - 1)
            is_new &= np.maximum(self.jumps[above], self.jumps[above - 1]) < 1e-9
        new, first = np.unique(borders[is_new], return_index=True)
        right = np.searchsorted(self.values, new)
        heights = np.clip(heights[is_new][first], self.upto[right - 1], self.before[right])
        values = np.concatenate([self.values, new])
        order = np.argsort(values)
        before = np.concatenate([self.before, heights])[order]
        return Knots(values[order], before, np.concatenate([self.upto, heights])[order], self.inner)

    @property
    def jumps(self) -> npt.NDArray[np.float64]:
        """Share of values that are certainly equal to each border."""
        return self.upto - self.before

    @property
    def resolution(self) -> float:
        """The largest share of values that lies between two borders, nobody knows where."""
        return float(np.max(self.before[1:] - self.upto[:-1], initial=0.0))

    def at(
        self, edges: npt.NDArray[np.float64], widest: float
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """(F at edges, whether it is known): float64 and bool.

        Between two borders F is linear where no more than the share `widest` lies between them.
        In the outermost buckets it is not known, nor at the minimum, unless that is repeated.
        """
        position = np.searchsorted(self.values, edges, side="right")
        left = np.clip(position - 1, 0, None)
        right = np.clip(position, None, len(self.values) - 1)
        low, high = self.upto[left], np.maximum(self.before[right], self.upto[left])
        width = self.values[right] - self.values[left]
        part = np.where(width > 0, (edges - self.values[left]) / np.where(width > 0, width, 1), 0.0)
        is_knot = self.values[left] == edges
        is_inner = (edges >= self.inner[0]) & (edges <= self.inner[1])
        is_known = np.where(is_knot, (left > 0) | (self.jumps[left] > 0), is_inner)
        is_known &= is_knot | (high - low <= widest)
        is_outside, is_end = position == 0, position == len(self.values)
        found = np.where(is_outside, 0.0, np.where(is_end, 1.0, low + (high - low) * part))
        return found, is_known | is_outside | is_end
