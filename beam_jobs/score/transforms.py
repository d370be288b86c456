"""The Beam side of scoring."""

from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference

from beam_jobs.batch import Actions, BatchKey, KeyedBatch
from beam_jobs.models.registry import ModelLocation
from beam_jobs.score.handler import ScoringHandler
from beam_jobs.score.scorer import Scorer
from beam_jobs.score.signature_binding import SignatureBinding


@dataclass(eq=False)
class Score(beam.PTransform[beam.PCollection[KeyedBatch], beam.PCollection[KeyedBatch]]):
    """Scores batches with RunInference.

    In and out: PCollection[KeyedBatch].

    Attributes:
        location: of the model.
        binding: how rows are given to it.
        actions: which findings keep a row from it.

    Raises:
        RunError: the model cannot be loaded, does not give one row a row, or fails on every row.
    """

    location: ModelLocation
    binding: SignatureBinding
    actions: Actions

    def expand(self, batches: beam.PCollection[KeyedBatch]) -> beam.PCollection[KeyedBatch]:
        """One step; the batch's key stays with it."""
        handler: KeyedModelHandler[BatchKey, pa.RecordBatch, pa.RecordBatch, Scorer] = (
            KeyedModelHandler(ScoringHandler(self.location, self.binding, self.actions))
        )
        scored: beam.PCollection[KeyedBatch] = batches | "Score" >> RunInference(handler)
        return scored
