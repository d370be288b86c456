"""Statistics for tests: ours through a pipeline, TFDV's own from plain Python values."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

import beam_jobs.pipelines.coder  # noqa: F401  (registers how batches travel)
from beam_jobs.batch import BatchKey, KeyedBatch, with_findings
from beam_jobs.pipelines.options import pipeline_options
from beam_jobs.statistics.files import FeatureStats, Statistics
from beam_jobs.statistics.histograms import common_stats
from beam_jobs.statistics.tfdv import tfdv
from beam_jobs.statistics.transforms import ComputeStatistics

Columns = Mapping[str, pa.Array]
_TFDV_TYPES = {
    pa.int64(): pa.int64(),
    pa.float64(): pa.float32(),
    pa.string(): pa.binary(),
}


def located(columns: Columns, cuts: Sequence[int] = ()) -> list[KeyedBatch]:
    """The rows as elements of a pipeline, cut before these rows; equal cuts make empty batches."""
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    batch = with_findings(batch, [])
    borders = [0, *cuts, batch.num_rows]
    return [
        (BatchKey(0, 0, number), batch.slice(start, end - start))
        for number, (start, end) in enumerate(itertools.pairwise(borders))
    ]


def compute(
    elements: Iterable[KeyedBatch],
    schema: schema_pb2.Schema | None = None,
    slice_by: Sequence[str] = (),
) -> Statistics:
    """What `ComputeStatistics` makes of the elements, which is one message."""
    serialized = None if schema is None else schema.SerializeToString()
    with TemporaryDirectory() as folder:

        def write(statistics: Statistics) -> None:
            with (Path(folder) / "statistics").open("xb") as file:
                file.write(statistics.SerializeToString())

        with beam.Pipeline(options=pipeline_options([])) as pipeline:
            _ = (
                pipeline
                | beam.Create(list(elements))
                | ComputeStatistics(serialized, slice_by)
                | beam.Map(write)
            )
        return Statistics.FromString((Path(folder) / "statistics").read_bytes())


def _as_tfdv_reads(column: pa.Array) -> pa.Array:
    """Lists of the values; a missing value is a missing list."""
    if pa.types.is_list(column.type):
        return column.cast(pa.list_(_TFDV_TYPES[column.type.value_type]))
    starts = np.cumsum([0, *column.is_valid().to_numpy(zero_copy_only=False)])
    offsets = pa.array(starts, pa.int32(), mask=np.append(column.is_null(), False))
    return pa.ListArray.from_arrays(offsets, column.drop_null().cast(_TFDV_TYPES[column.type]))


def reference(columns: Columns, schema: schema_pb2.Schema | None = None) -> Statistics:
    """TFDV's own statistics, exact where it can count exactly."""
    arrays = [_as_tfdv_reads(column) for column in columns.values()]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
    options = tfdv.StatsOptions(schema=schema, num_quantiles_histogram_buckets=100)
    return stats_impl.generate_statistics_in_memory(batch, options)


def by_name(dataset: statistics_pb2.DatasetFeatureStatistics) -> dict[str, FeatureStats]:
    return {stats.path.step[0]: stats for stats in dataset.features}


def exact_figures(stats: FeatureStats) -> dict[str, Any]:
    """The figures that no sketch touches."""
    common = common_stats(stats)
    figures: dict[str, Any] = {
        "type": stats.type,
        "non_missing": common.num_non_missing,
        "missing": common.num_missing,
        "values": common.tot_num_values,
        "fewest values": common.min_num_values,
        "most values": common.max_num_values,
        "mean values": common.avg_num_values,
    }
    if stats.HasField("num_stats"):
        numbers = stats.num_stats
        figures |= {"zeros": numbers.num_zeros, "min": numbers.min, "max": numbers.max}
    return figures


def top_values(stats: FeatureStats) -> dict[str, float]:
    return {b.label: b.sample_count for b in stats.string_stats.rank_histogram.buckets}


def quantile_ranks(
    stats: FeatureStats, values: npt.NDArray[Any]
) -> Iterator[tuple[float, float, float]]:
    """(share that the bucket border claims, share of values below, share up to it)."""
    (histogram,) = [
        h for h in stats.num_stats.histograms if h.type == statistics_pb2.Histogram.QUANTILES
    ]
    ordered = np.sort(values)
    count = len(histogram.buckets)
    for number, bucket in enumerate(histogram.buckets, start=1):
        below, upto = (
            np.searchsorted(ordered, bucket.high_value, side) for side in ("left", "right")
        )
        yield number / count, below / len(ordered), upto / len(ordered)
