"""Statistics of batches: TFDV's generators over RecordBatches, whole and by slice.

`tfdv.GenerateStatistics` gives the same numbers, but spreads every key over up to 128 accumulators
and adds a dozen stages: measured on 1,000,000 rows x 13 columns 3.4 s against 1.9 s here, and 1.4 s
against 0.7 s on 10 rows. So TFDV's generators run inside a CombineFn of ours; one accumulator a
slice and bundle keeps memory flat.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from beam_jobs import records
from beam_jobs.check.slices import ALL, slice_values, slices_of
from beam_jobs.check.statistics_files import Statistics
from beam_jobs.check.tfdv import tfdv
from beam_jobs.features import features_of, names
from beam_jobs.records import Located

QUANTILE_BUCKETS = 100
"""Buckets of equal mass: robust distances are as fine as these."""


def score_feature_name(schema: schema_pb2.Schema) -> str:
    """The score's name among the features: `score`, or where the schema has one, `model_score`."""
    return "model_score" if any(f.name == "score" for f in schema.feature) else "score"


def to_tfdv(
    batch: pa.RecordBatch, score_feature: str, known: Collection[str] | None = None
) -> pa.RecordBatch:
    """The readable rows as TFDV wants them: list columns of int64, float32 and binary.

    Args:
        batch: rows of one batch, scored or not.
        score_feature: name of the column for the scores, where the batch has some.
        known: columns whose type the schema fixes; None for all. Others become text: readers
            infer their types block by block, and TFDV refuses a feature whose type changes.
    """
    batch = records.readable(batch)
    columns = {}
    for name in records.feature_names(batch):
        column = batch.column(batch.schema.get_field_index(name))
        columns[name] = _as_lists(column if known is None or name in known else _as_text(column))
    scores = records.column_or_none(batch, records.SCORE)
    if scores is not None:
        columns[score_feature] = _as_lists(scores)
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _as_text(column: pa.Array) -> pa.Array:
    return column.cast(pa.list_(pa.string()) if pt.is_list(column.type) else pa.string())


def _as_lists(column: pa.Array) -> pa.Array:
    if pt.is_list(column.type):
        if not column.flatten().null_count:
            return column.cast(pa.list_(_tfdv_type(column.type.value_type)))
        return _without_nulls_inside(column)
    present = np.asarray(column.is_valid())
    offsets = np.concatenate([[0], np.cumsum(present)]).astype(np.int32)
    mask = np.append(~present, False) if column.null_count else None
    values = column.drop_null() if column.null_count else column
    return pa.ListArray.from_arrays(
        pa.array(offsets, mask=mask), values.cast(_tfdv_type(column.type))
    )


def _without_nulls_inside(column: pa.ListArray) -> pa.Array:
    """A list column without the nulls between its values; a null list stays null."""
    values = column.flatten()
    parents = np.asarray(column.value_parent_indices())[np.asarray(values.is_valid())]
    counts = np.bincount(parents, minlength=len(column))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    mask = np.append(np.asarray(column.is_null()), False)
    return pa.ListArray.from_arrays(
        pa.array(offsets, mask=mask), values.drop_null().cast(_tfdv_type(values.type))
    )


def _tfdv_type(kind: pa.DataType) -> pa.DataType:
    if pt.is_integer(kind):
        return pa.int64()
    return pa.float32() if pt.is_floating(kind) else pa.binary()


def stats_options(schema: schema_pb2.Schema | None) -> tfdv.StatsOptions:
    """Options of TFDV: sketches instead of exact counts, which shuffle every value (5x slower)."""
    return tfdv.StatsOptions(
        schema=schema,
        experimental_use_sketch_based_topk_uniques=True,
        num_quantiles_histogram_buckets=QUANTILE_BUCKETS,
    )


@dataclass(eq=False)
class ComputeStatistics(beam.PTransform):
    """Computes statistics of all readable rows.

    In: PCollection[Located]. Out: PCollection of one DatasetFeatureStatisticsList, its data sets
    named `all` and `feature=value`. Without rows it holds one empty data set, `all`.

    Attributes:
        schema: serialized; None where there is none yet.
        slice_by: features whose values get statistics of their own; their domains bound them.
    """

    schema: bytes | None
    slice_by: Sequence[str] = ()

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        schema = None if self.schema is None else schema_pb2.Schema.FromString(self.schema)
        return (
            batches
            | "To TFDV" >> beam.ParDo(_ToTfdv(schema, self.slice_by))
            | "Statistics" >> beam.CombinePerKey(StatisticsFn(schema))
            | "Join" >> beam.CombineGlobally(join_datasets)
        )


class _ToTfdv(beam.DoFn):
    """A located batch -> (slice, its rows in list columns)."""

    def __init__(self, schema: schema_pb2.Schema | None, slice_by: Sequence[str]) -> None:
        schema = schema or schema_pb2.Schema()
        self.known = frozenset(names(features_of(schema))) if schema.feature else None
        self.score_feature = score_feature_name(schema)
        self.slice_by = {name: slice_values(schema, name) for name in slice_by}

    def process(self, element: Located) -> Iterator[tuple[str, pa.RecordBatch]]:
        batch = to_tfdv(element[3], self.score_feature, self.known)
        if batch.num_rows:
            yield ALL, batch
            yield from slices_of(batch, self.slice_by)


class StatisticsFn(beam.CombineFn):
    """RecordBatches of list columns -> TFDV's DatasetFeatureStatistics."""

    def __init__(self, schema: schema_pb2.Schema | None) -> None:
        self.generators = stats_impl.get_generators(stats_options(schema), in_memory=True)

    def setup(self) -> None:
        for generator in self.generators:
            generator.setup()

    def create_accumulator(self) -> list[Any]:
        return [generator.create_accumulator() for generator in self.generators]

    def add_input(self, partial: list[Any], batch: pa.RecordBatch) -> list[Any]:
        pairs = zip(self.generators, partial, strict=True)
        return [generator.add_input(each, batch) for generator, each in pairs]

    def merge_accumulators(self, partials: Iterable[list[Any]]) -> list[Any]:
        pairs = zip(self.generators, zip(*partials, strict=True), strict=True)
        return [generator.merge_accumulators(list(each)) for generator, each in pairs]

    def compact(self, partial: list[Any]) -> list[Any]:
        pairs = zip(self.generators, partial, strict=True)
        return [generator.compact(each) for generator, each in pairs]

    def extract_output(self, partial: list[Any]) -> statistics_pb2.DatasetFeatureStatistics:
        merged = stats_impl.extract_statistics_output(partial, self.generators)
        (dataset,) = merged.datasets
        return dataset


def join_datasets(
    parts: Iterable[tuple[str, statistics_pb2.DatasetFeatureStatistics] | Statistics],
) -> Statistics:
    """(slice, statistics) and lists of them -> one list, the whole first, slices by name."""
    joined = Statistics()
    for part in parts:
        if isinstance(part, Statistics):
            joined.datasets.extend(d for d in part.datasets if d.num_examples)
        else:
            name, dataset = part
            joined.datasets.add().CopyFrom(dataset)
            joined.datasets[-1].name = name
    joined.datasets.sort(key=lambda dataset: (dataset.name != ALL, dataset.name))
    if not joined.datasets:
        joined.datasets.add(name=ALL)
    return joined
