"""Distances between two data sets' values of a feature, from TFDV's statistics.

TFDV's Jensen-Shannon divergence bins numbers in equal widths between minimum and maximum, so one
outlier decides it: a single value of 1e6 in one month gives 0.9995, one in both months hides a
shift of half a standard deviation. Ours bins by quantiles, where an outlier weighs what it is:
one row.
"""

import enum
import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from beam_jobs.statistics.files import FeatureStats
from beam_jobs.statistics.histograms import (
    FINE,
    Knots,
    Values,
    common_stats,
    is_categorical,
    type_name,
)

CONFIDENCE = 0.9999
# Not the extremes: they are what one outlier moves.
_LEVELS = np.array([0.01, *np.arange(1, 20) / 20, 0.99])
COARSEST = 0.21
"""More of the values in one bucket than this, and a divergence says little: TFDV's default of 10
quantiles stays below, whatever the values are."""

_ATOM = 0.02
_FEW = 5.0
"""Values expected in fewer rows than this are pooled (Cochran, The chi-square Test, 1952)."""


class Measure(str, enum.Enum):
    """A distance; the column `measure`, `skew_measure` and `drift_measure`."""

    INFINITY_NORM = "infinity_norm"
    JENSEN_SHANNON = "jensen_shannon_divergence"
    QUANTILE_JENSEN_SHANNON = "quantile_jensen_shannon_divergence"
    ABS_DIFFERENCE = "normalized_abs_difference"


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


def has_distances(stats: FeatureStats) -> bool:
    """Whether such values are counted or measured: images and structures are not."""
    return bool(stats.WhichOneof("stats") in ("num_stats", "string_stats"))


def why_not_comparable(current: FeatureStats, reference: FeatureStats) -> str | None:
    """Why no distance can be measured, None where one can; both types or numbers are named.

    INT and FLOAT are both numbers, STRING and BYTES both texts; a category is compared with the
    same kind of category.
    """
    for stats in (current, reference):
        if not has_distances(stats):
            return f"values of type {type_name(stats)} are neither counted nor measured"
    if is_categorical(current) != is_categorical(reference) or (
        is_categorical(current) and _family(current) != _family(reference)
    ):
        return f"it is {type_name(current)}, there it was {type_name(reference)}"
    if is_categorical(current):
        return None
    return _why_too_coarse(current, "this run's") or _why_too_coarse(reference, "the reference's")


def _family(stats: FeatureStats) -> str:
    return type_name(stats).replace("STRING", "BYTES")


def _why_too_coarse(stats: FeatureStats, whose: str) -> str | None:
    knots = Knots.of(stats)
    if knots is None:
        has_values = common_stats(stats).num_non_missing > 0
        return f"{whose} statistics have no histogram" if has_values else None
    if knots.resolution <= COARSEST or _present(stats) < 1 / COARSEST:
        return None
    return (
        f"{knots.resolution:.0%} of the values lie in one bucket of {whose} histogram; it needs"
        " at least 10 quantiles"
    )


def measure(which: Measure, current: FeatureStats, reference: FeatureStats) -> Distance | None:
    """The distance of that name; None where a side has no values."""
    return {
        Measure.INFINITY_NORM: linf,
        Measure.JENSEN_SHANNON: category_divergence,
        Measure.QUANTILE_JENSEN_SHANNON: jensen_shannon,
        Measure.ABS_DIFFERENCE: abs_difference,
    }[which](current, reference)


def linf(current: FeatureStats, reference: FeatureStats) -> Distance | None:
    """The largest difference of one value's share: max |p_i - q_i|.

    Source: TFDV's L-infinity norm (`infinity_norm` in `schema.proto`), on the counts that its
    rank histograms keep. None where a side has no values. A value that one histogram leaves out
    may have any share up to its smallest; the nearest to the other side's is taken.

    The noise of a share p from n values is normal with variance p (1 - p) / n; over all k values
    Bonferroni's bound holds: z(1 - 0.0001 / 2k) sqrt(p (1 - p) (1/n + 1/m)), p the pooled share.
    Few values are not normal: three of one kind may well meet. Bernstein's inequality (The Theory
    of Probabilities, 1946) with the same z adds what matters then, z^2 / 6 (1/n + 1/m).
    """
    ours, theirs = Values.of(current).exact, Values.of(reference).exact
    n, m = ours.total, theirs.total
    if not n or not m:
        return None
    values, p, q = _shares(ours, theirs)
    gaps = np.abs(p - q)
    widest = int(np.argmax(gaps))
    shares = (p * n + q * m) / (n + m)
    z = _bonferroni(len(values))
    once = 1 / n + 1 / m
    few = z * z / 6 * once
    spread = float(np.max(shares * (1 - shares)))
    noise = few + math.sqrt(few * few + z * z * spread * once)
    return Distance(float(gaps[widest]), noise, values[widest])


def abs_difference(current: FeatureStats, reference: FeatureStats) -> Distance | None:
    """The largest difference of one value's count: max |a_i - b_i| / (n + m).

    Source: TFDV's `normalized_abs_difference`, `NormalizedAbsoluteDifference` in its
    `anomalies/metrics.cc`. Unlike a share it grows with the number of rows, too. The noise of a
    difference of two counts has variance a_i + b_i (Poisson); bounds as in `linf`.
    """
    ours, theirs = Values.of(current).exact, Values.of(reference).exact
    both = ours.total + theirs.total
    if not ours.total or not theirs.total:
        return None
    values, p, q = _shares(ours, theirs)
    counts = p * ours.total, q * theirs.total
    gaps = np.abs(counts[0] - counts[1])
    widest = int(np.argmax(gaps))
    z = _bonferroni(len(values))
    few = z * z / 6
    noise = few + math.sqrt(few * few + z * z * float(np.max(counts[0] + counts[1])))
    return Distance(float(gaps[widest] / both), min(noise / both, 1.0), values[widest])


def category_divergence(current: FeatureStats, reference: FeatureStats) -> Distance | None:
    """Jensen-Shannon divergence, base 2, of the values' shares; None where a side has none.

    Formula and noise as in `jensen_shannon`. A sketch's errors, which hardly move the largest
    difference, would add up here: each share is taken as near to the other side's as they allow.
    Values that chance brings in fewer than 5 rows are pooled, for their noise is not chi-square's.
    """
    ours, theirs = Values.of(current), Values.of(reference)
    n, m = ours.total, theirs.total
    if not n or not m:
        return None
    values, p, q = _shares(ours, theirs)
    # Of what both surely count: a value that is only possible says nothing and adds noise.
    counted = ours.shares(values)[0] * n + theirs.shares(values)[0] * m
    kept = counted / (n + m) * min(n, m) >= _FEW
    p_kept, q_kept = (
        np.append(side[kept], max(1 - float(side[kept].sum()), 0.0)) for side in (p, q)
    )
    found = _divergence(p_kept, q_kept, n, m)
    widest = int(np.argmax(np.abs(p - q)))
    return Distance(found.value, found.noise, values[widest])


def _shares(
    ours: Values, theirs: Values
) -> tuple[list[str], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(values, share of each on this side, on the other), as near as both histograms allow."""
    values = sorted(ours.counts.keys() | theirs.counts.keys())
    p, q = ours.shares(values), theirs.shares(values)
    between = (np.maximum(p[0], q[0]) + np.minimum(p[1], q[1])) / 2
    return values, np.clip(between, *p), np.clip(between, *q)


def _bonferroni(values: int) -> float:
    return NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * max(values, 1)))


def jensen_shannon(current: FeatureStats, reference: FeatureStats) -> Distance | None:
    """Jensen-Shannon divergence, base 2, of numbers over bins between quantiles.

    JS = (KL(p | (p+q)/2) + KL(q | (p+q)/2)) / 2; source: Lin, Divergence Measures Based on the
    Shannon Entropy, 1991. None where a side has no histogram.

    The two histograms may have any number of buckets. The bins lie between borders of either at
    which both know their F (`Knots.at`), about twenty, at equal shares of both sides together.
    Bins can only lessen a divergence, so what the histograms do not tell is no distance.

    For small differences JS ln 2 = sum((p - q)^2 / mean) / 8, and that sum times nm / (n + m) is
    chi-square with k - 1 degrees of freedom under one distribution (Pearson's homogeneity test);
    the noise is its 99.99 % point, by Wilson and Hilferty's approximation. What linear
    interpolation within a bucket of mass w may be wrong by has variance w^2 / 12 at each border.
    """
    ours, theirs = Knots.of(current), Knots.of(reference)
    if ours is None or theirs is None:
        return None
    p, q = _masses(ours, theirs)
    found = _divergence(p, q, _present(current), _present(reference))
    bucket = max(min(ours.resolution, theirs.resolution), 1 / 100)
    mean = ((p + q) / 2)[p + q > 0]
    wrong = float(np.sum(np.minimum(bucket**2 / 6 / mean / (8 * math.log(2)), mean)))
    return Distance(found.value, found.noise + wrong)


def _masses(ours: Knots, theirs: Knots) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Both sides' shares in the bins."""
    widest = max(FINE, 1.05 * min(ours.resolution, theirs.resolution))
    edges = np.union1d(ours.values, theirs.values)
    (p, p_known), (q, q_known) = ours.at(edges, widest), theirs.at(edges, widest)
    is_known = p_known & q_known
    edges, p, q = edges[is_known], p[is_known], q[is_known]
    chosen = _near((p + q) / 2, _LEVELS) | _around_atoms(edges, ours) | _around_atoms(edges, theirs)
    shares = [
        np.diff(np.concatenate([[0.0], np.maximum.accumulate(side[chosen]), [1.0]]))
        for side in (p, q)
    ]
    return shares[0], shares[1]


def _near(
    heights: npt.NDArray[np.float64], levels: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """bool: the height that is nearest to each level."""
    chosen = np.zeros(len(heights), bool)
    if len(heights):
        chosen[np.argmin(np.abs(heights[:, None] - levels), axis=0)] = True
    return chosen


def _around_atoms(edges: npt.NDArray[np.float64], knots: Knots) -> npt.NDArray[np.bool_]:
    """bool: the edges at values that many rows share, and the last before each of these."""
    atoms = knots.values[knots.jumps > _ATOM]
    at: npt.NDArray[np.bool_] = np.isin(edges, atoms)
    before: npt.NDArray[np.bool_] = np.append(at[1:], False)[: len(edges)]
    return at | before


def _divergence(
    p: npt.NDArray[np.float64], q: npt.NDArray[np.float64], n: float, m: float
) -> Distance:
    mean = (p + q) / 2
    value = (_entropy_gap(p, mean) + _entropy_gap(q, mean)) / 2
    degrees = max(int(np.count_nonzero(mean)) - 1, 1)
    noise = _chi_square_point(degrees) * (n + m) / (n * m) / (8 * math.log(2))
    return Distance(float(np.clip(value, 0, 1)), noise)


def _present(stats: FeatureStats) -> float:
    return max(float(common_stats(stats).num_non_missing), 1.0)


def _entropy_gap(p: npt.NDArray[np.float64], mean: npt.NDArray[np.float64]) -> float:
    present = p > 0
    return float(np.sum(p[present] * np.log2(p[present] / mean[present])))


def _chi_square_point(degrees: int) -> float:
    """Source: Wilson and Hilferty, The Distribution of Chi-Square, 1931."""
    z = NormalDist().inv_cdf(CONFIDENCE)
    part = 2 / (9 * degrees)
    return degrees * (1 - part + z * math.sqrt(part)) ** 3


@dataclass(frozen=True)
class Measured:
    """A distance that was measured: its name, value and threshold."""

    measure: Measure
    distance: Distance
    threshold: float

    @property
    def is_high(self) -> bool:
        """Whether it is above its threshold."""
        return self.distance.value > self.threshold
