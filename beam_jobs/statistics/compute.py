"""What TFDV computes statistics from and how, whole and by slice; see `transforms`."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.batch import (
    SCORE,
    as_lists,
    column_or_none,
    feature_names,
    given_way,
    readable,
)
from beam_jobs.read.columns import texts
from beam_jobs.statistics.files import Statistics
from beam_jobs.statistics.moments import Scored, moments_of, scored_rows, write_scored
from beam_jobs.statistics.slices import ALL, slice_values, slices_of
from beam_jobs.statistics.tfdv import tfdv

SliceFunction: TypeAlias = Callable[[pa.RecordBatch], Iterator[tuple[str, pa.RecordBatch]]]

SliceValues: TypeAlias = tuple[str, Sequence[str] | Sequence[int]]
"""(feature, its values)."""

_PLACE = "__place"
_QUANTILES = 100
"""Buckets of equal mass: robust distances are as fine as these."""


def to_tfdv(
    batch: pa.RecordBatch, score_feature: str, known: Collection[str] | None = None
) -> pa.RecordBatch:
    """The readable rows as TFDV wants them: list columns of int64, float32 and binary.

    A column that the schema does not know gives way where it is called as the scores are.

    Args:
        batch: located rows, scored or not.
        score_feature: name of the column for the scores, where the batch has some.
        known: columns whose type the schema says. All others are text: what type the values of a
            batch have depends on its rows, and TFDV takes one type a column. None keeps all types.
    """
    batch = readable(batch)
    scores = column_or_none(batch, SCORE)
    columns: dict[str, pa.Array] = {}
    for name in feature_names(batch):
        column = batch.column(batch.schema.get_field_index(name))
        if known is not None and name not in known and not pt.is_nested(column.type):
            column = texts(column)
        gives_way = name == score_feature and (known is not None or scores is not None)
        its_name = given_way(name, batch.schema.names) if gives_way else name
        columns[its_name] = _as_lists(column)
    if scores is not None:
        columns[score_feature] = _as_lists(scores)
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _as_lists(column: pa.Array) -> pa.Array:
    """Lists of the type that TFDV takes for the column's values."""
    kind = column.type.value_type if pt.is_list(column.type) else column.type
    return as_lists(column, _tfdv_type(kind))


def _tfdv_type(kind: pa.DataType) -> pa.DataType:
    if pt.is_integer(kind):
        return pa.int64()
    return pa.float32() if pt.is_floating(kind) else pa.binary()


def stats_options(
    schema: schema_pb2.Schema | None, slice_by: Sequence[str] = ()
) -> tfdv.StatsOptions:
    """Options of TFDV: sketches instead of exact counts, which shuffle every value (5x slower)."""
    slicing = [_slice_function(schema, slice_by)] if schema and slice_by else None
    return tfdv.StatsOptions(
        schema=schema,
        experimental_use_sketch_based_topk_uniques=True,
        num_quantiles_histogram_buckets=_QUANTILES,
        experimental_slice_functions=slicing,
    )


def _slice_function(schema: schema_pb2.Schema, names: Sequence[str]) -> SliceFunction:
    """A batch -> (slice, its rows); TFDV refuses callable objects that are no functions."""
    values = [slice_values(schema, name) for name in names]

    def slice_batch(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        return slices_of(batch, names, values)

    return slice_batch


def scored_moments(
    batch: pa.RecordBatch, score_feature: str, slices: Sequence[SliceValues]
) -> Scored:
    """How many rows of a batch were scored, and the moments of their numbers, by slice."""
    batch = scored_rows(batch)
    found = moments_of(batch, ALL, score_feature)
    names = [name for name, _ in slices if name in batch.schema.names]
    if names:
        columns = [_as_lists(batch.column(batch.schema.get_field_index(name))) for name in names]
        places = pa.array(np.arange(batch.num_rows))
        lists = pa.RecordBatch.from_arrays([*columns, places], names=[*names, _PLACE])
        values = [domain for name, domain in slices if name in names]
        for dataset, part in slices_of(lists, names, values):
            rows = batch.take(part.column(part.schema.get_field_index(_PLACE)))
            found |= moments_of(rows, dataset, score_feature)
    return batch.num_rows, found


def finished(statistics: Statistics, score_feature: str, scored: Scored) -> Statistics:
    """A copy whose data sets have our names, with the moments of the scored rows."""
    named = Statistics()
    named.CopyFrom(statistics)
    for dataset in named.datasets:
        if dataset.name in ("", "All Examples"):
            dataset.name = ALL
    named.datasets.sort(key=lambda dataset: (dataset.name != ALL, dataset.name))
    write_scored(named, scored, score_feature)
    return named
