"""Statistics -> rows of the table `feature_statistics`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from tensorflow_metadata.proto.v0 import statistics_pb2

from beam_jobs.statistics.distances import Measured
from beam_jobs.statistics.files import FeatureStats, Statistics, feature_name
from beam_jobs.statistics.histograms import common_stats, is_categorical, quantiles
from beam_jobs.statistics.moments import read_moments
from beam_jobs.warehouse.tables import own_schema

_TOP_VALUES = 20
_TYPES = {
    statistics_pb2.FeatureNameStatistics.INT: "INT",
    statistics_pb2.FeatureNameStatistics.FLOAT: "FLOAT",
}

Distances = Mapping[tuple[str, str], Measured]
"""{(slice, feature): distance}."""


def feature_statistics(statistics: Statistics, skew: Distances, drift: Distances) -> pa.Table:
    """A row for each slice and feature, without the run's own columns."""
    rows = []
    for dataset in statistics.datasets:
        for stats in dataset.features:
            name = feature_name(stats)
            place = {"slice": dataset.name, "feature": name, "rows": int(dataset.num_examples)}
            distances = _distance("skew", skew.get((dataset.name, name))) | _distance(
                "drift", drift.get((dataset.name, name))
            )
            rows.append(place | _figures(stats) | distances)
    schema = own_schema("feature_statistics")
    columns = [pa.array([row.get(f.name) for row in rows], f.type) for f in schema]
    return pa.table(columns, schema=schema)


def _distance(column: str, found: Measured | None) -> dict[str, Any]:
    if found is None:
        return {}
    return {column: found.distance.value, f"{column}_measure": found.measure.value}


def _figures(stats: FeatureStats) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "type": _TYPES.get(stats.type, "BYTES"),
        "missing": int(common_stats(stats).num_missing),
    }
    if is_categorical(stats):
        buckets = stats.string_stats.rank_histogram.buckets[:_TOP_VALUES]
        figures |= {
            "distinct": int(stats.string_stats.unique),
            "top_values": [{"value": b.label, "count": b.sample_count} for b in buckets],
        }
    elif stats.HasField("num_stats") and common_stats(stats).num_non_missing:
        numbers = stats.num_stats
        deciles = quantiles(stats, np.linspace(0, 1, 11))
        figures |= {
            "zeros": int(numbers.num_zeros),
            "mean": numbers.mean,
            "std_dev": numbers.std_dev,
            "min": numbers.min,
            "max": numbers.max,
            # Of the rows that were scored, where the statistics know them.
            **read_moments(stats),
            "quantiles": None if deciles is None else deciles.tolist(),
        }
    return figures
