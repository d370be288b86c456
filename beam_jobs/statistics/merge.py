"""Statistics of several runs -> the statistics of their rows together.

Runs of the queue are small: one of 200 rows says little about drift, thirty of them do. Counts add
up exactly; quantiles are those of the mixture of the runs' distribution functions, which are as
fine as TFDV's 100 quantiles of each.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tensorflow_metadata.proto.v0 import statistics_pb2

from beam_jobs.statistics.files import FeatureStats, Statistics
from beam_jobs.statistics.histograms import Cdf, common_stats

_QUANTILES = 100
_BINS = 10
"""Of the histogram of equal widths, as TFDV makes them."""

_TOP_VALUES = 20


def merge_statistics(runs: Sequence[Statistics]) -> Statistics | None:
    """One list of data sets for several; None for none.

    A feature that some runs lack, or have with another type than the first run that has it, is
    that of the runs that agree.
    """
    merged = statistics_pb2.DatasetFeatureStatisticsList()
    names = dict.fromkeys(dataset.name for run in runs for dataset in run.datasets)
    for name in names:
        datasets = [d for run in runs for d in run.datasets if d.name == name]
        into = merged.datasets.add()
        into.name = name
        into.num_examples = sum(dataset.num_examples for dataset in datasets)
        features: dict[tuple[str, ...], list[FeatureStats]] = {}
        for dataset in datasets:
            for stats in dataset.features:
                features.setdefault((*stats.path.step, stats.name), []).append(stats)
        for found in features.values():
            into.features.append(_merge_feature(found))
    return merged if merged.datasets else None


def _merge_feature(found: Sequence[FeatureStats]) -> FeatureStats:
    kind = found[0].WhichOneof("stats")
    alike = [
        stats
        for stats in found
        if stats.WhichOneof("stats") == kind and stats.type == found[0].type
    ]
    merged = statistics_pb2.FeatureNameStatistics()
    merged.CopyFrom(alike[0])
    del merged.custom_stats[:]
    if len(alike) == 1 or kind not in ("num_stats", "string_stats"):
        return merged
    _merge_common(common_stats(merged), [common_stats(stats) for stats in alike])
    if kind == "num_stats":
        _merge_numbers(merged.num_stats, alike)
    else:
        _merge_texts(merged.string_stats, [stats.string_stats for stats in alike])
    return merged


def _merge_common(
    into: statistics_pb2.CommonStatistics, found: Sequence[statistics_pb2.CommonStatistics]
) -> None:
    for name in ("num_non_missing", "num_missing", "tot_num_values"):
        setattr(into, name, sum(getattr(common, name) for common in found))
    present = [common for common in found if common.num_non_missing]
    into.min_num_values = min((common.min_num_values for common in present), default=0)
    into.max_num_values = max((common.max_num_values for common in present), default=0)
    into.avg_num_values = into.tot_num_values / max(into.num_non_missing, 1)
    # Of the first run alone; nothing compares them.
    for name in ("num_values_histogram", "feature_list_length_histogram", "weighted_common_stats"):
        into.ClearField(name)
    del into.presence_and_valency_stats[:]


def _merge_texts(
    into: statistics_pb2.StringStatistics, found: Sequence[statistics_pb2.StringStatistics]
) -> None:
    counts: dict[str, float] = {}
    for texts in found:
        for bucket in texts.rank_histogram.buckets:
            counts[bucket.label] = counts.get(bucket.label, 0.0) + bucket.sample_count
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    values = [texts.avg_length for texts in found]
    into.avg_length = float(np.mean(values)) if values else 0.0
    into.unique = max(len(counts), *(texts.unique for texts in found))
    del into.rank_histogram.buckets[:]
    del into.top_values[:]
    for rank, (label, count) in enumerate(ranked):
        into.rank_histogram.buckets.add(
            low_rank=rank, high_rank=rank, label=label, sample_count=count
        )
        if rank < _TOP_VALUES:
            into.top_values.add(value=label, frequency=count)


def _merge_numbers(into: statistics_pb2.NumericStatistics, found: Sequence[FeatureStats]) -> None:
    parts = [(stats, common_stats(stats).tot_num_values) for stats in found]
    parts = [(stats, count) for stats, count in parts if count]
    into.num_zeros = sum(stats.num_stats.num_zeros for stats in found)
    cdfs = [(cdf, count) for stats, count in parts if (cdf := Cdf.of(stats)) is not None]
    if not cdfs:
        return
    total = sum(count for _, count in parts)
    mean = sum(stats.num_stats.mean * count for stats, count in parts) / total
    squares = sum(
        count * (stats.num_stats.std_dev**2 + (stats.num_stats.mean - mean) ** 2)
        for stats, count in parts
    )
    into.mean, into.std_dev = mean, math.sqrt(squares / total)
    into.min = min(stats.num_stats.min for stats, _ in parts)
    into.max = max(stats.num_stats.max for stats, _ in parts)
    mixture = Cdf.mixture([cdf for cdf, _ in cdfs], [count for _, count in cdfs])
    into.median = float(mixture.quantiles(np.array([0.5]))[0])
    del into.histograms[:]
    edges = np.linspace(into.min, into.max, _BINS + 1)
    masses = mixture.masses(edges[1:-1])
    _add_histogram(into, statistics_pb2.Histogram.STANDARD, edges, masses * total)
    borders = mixture.quantiles(np.linspace(0, 1, _QUANTILES + 1))
    counts = _counts_between(borders, mixture.at(borders)) * total
    _add_histogram(into, statistics_pb2.Histogram.QUANTILES, borders, counts)


def _counts_between(
    borders: npt.NDArray[np.float64], upto: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Share of values in each bucket, F exact at each border, as TFDV writes them.

    Buckets that end at one repeated value share what lies up to it equally.
    """
    _, first, repeats = np.unique(borders[1:], return_index=True, return_counts=True)
    shares = np.diff(np.concatenate([[0.0], upto[1:][first]]))
    return np.repeat(shares / repeats, repeats)


def _add_histogram(
    into: statistics_pb2.NumericStatistics,
    kind: "statistics_pb2.Histogram.HistogramType",
    borders: npt.NDArray[np.float64],
    counts: npt.NDArray[np.float64],
) -> None:
    histogram = into.histograms.add(type=kind)
    for low, high, count in zip(borders[:-1], borders[1:], counts, strict=True):
        histogram.buckets.add(low_value=low, high_value=high, sample_count=count)
