"""The Beam side of statistics: TFDV's own PTransform on RecordBatches, whole and by slice."""

from collections.abc import Sequence
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsList
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.batch import KeyedBatch
from beam_jobs.images.table import NAMES as IMAGE_NAMES
from beam_jobs.read.coverage import exactly_one
from beam_jobs.schema import features_of, names
from beam_jobs.statistics.compute import (
    SliceValues,
    finished,
    scored_moments,
    stats_options,
    to_tfdv,
)
from beam_jobs.statistics.files import Statistics, score_feature_name
from beam_jobs.statistics.moments import Scored, add_scored
from beam_jobs.statistics.slices import slice_values
from beam_jobs.statistics.tfdv import tfdv


@dataclass(eq=False)
class ComputeStatistics(
    beam.PTransform[beam.PCollection[KeyedBatch], beam.PCollection[Statistics]]
):
    """Computes statistics of all readable rows.

    In: PCollection[KeyedBatch]. Out: PCollection of one DatasetFeatureStatisticsList, its data sets
    named `all` and `feature=value`, with the moments of the scored rows beside TFDV's figures.

    Attributes:
        schema: serialized; None where there is none yet.
        slice_by: features whose values get statistics of their own.
    """

    schema: bytes | None
    slice_by: Sequence[str] = ()

    def expand(self, batches: beam.PCollection[KeyedBatch]) -> beam.PCollection[Statistics]:
        """TFDV's own transform, and moments of the scored rows beside it."""
        schema = None if self.schema is None else schema_pb2.Schema.FromString(self.schema)
        score_feature = score_feature_name(schema or schema_pb2.Schema())
        slices = [(name, slice_values(schema, name)) for name in self.slice_by] if schema else []
        scored = (
            batches
            | "Moments" >> beam.Map(_scored, score_feature, slices)
            | "All moments" >> beam.CombineGlobally(add_scored)
        )
        known = None if schema is None else {*names(features_of(schema)), *IMAGE_NAMES}
        named: beam.PCollection[Statistics] = (
            batches
            # Without its type Beam would pickle each batch that it samples, to know its size.
            | "To TFDV"
            >> beam.Map(
                lambda element: to_tfdv(element[1], score_feature, known)
            ).with_output_types(pa.RecordBatch)
            | "Statistics" >> tfdv.GenerateStatistics(stats_options(schema, self.slice_by))
            | "Name data sets" >> beam.Map(_named, score_feature, AsList(scored))
        )
        return named


def _scored(element: KeyedBatch, score_feature: str, slices: Sequence[SliceValues]) -> Scored:
    return scored_moments(element[1], score_feature, slices)


def _named(statistics: Statistics, score_feature: str, scored: Sequence[Scored]) -> Statistics:
    return finished(statistics, score_feature, exactly_one(scored, "moments"))
