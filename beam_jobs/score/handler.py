"""How RunInference loads and calls a model: a handler of our own.

Beam's TFModelHandler cannot load a SavedModel on Keras 3, and its elements are rows.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from apache_beam.ml.inference.base import ModelHandler

from beam_jobs.batch import Actions
from beam_jobs.models.loader import Predict, load_model
from beam_jobs.models.registry import ModelLocation
from beam_jobs.models.signature import Signature
from beam_jobs.score.scorer import Scorer
from beam_jobs.score.signature_binding import SignatureBinding


class ScoringHandler(ModelHandler[pa.RecordBatch, pa.RecordBatch, Scorer]):
    """RecordBatch -> the same RecordBatch with scores; the model is loaded once a process."""

    def __init__(
        self, location: ModelLocation, binding: SignatureBinding, actions: Actions
    ) -> None:
        super().__init__()
        self._location, self._binding, self._actions = location, binding, dict(actions)

    def load_model(self) -> Scorer:
        """The model with its binding, once a process."""
        predict = _loaded(self._location, self._binding.signature)
        return Scorer(predict, self._binding, self._actions, name=self._location.path)

    def run_inference(
        self,
        batch: Sequence[pa.RecordBatch],
        model: Scorer,
        inference_args: dict[str, Any] | None = None,  # noqa: ARG002  (of Beam's interface)
    ) -> Iterable[pa.RecordBatch]:
        """The batches with scores."""
        return [model.score(rows) for rows in batch]

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """One element at a time."""
        # An element is a batch already.
        return {"min_batch_size": 1, "max_batch_size": 1}

    def get_num_bytes(self, batch: Sequence[pa.RecordBatch]) -> int:
        """Of the batches."""
        return sum(rows.nbytes for rows in batch)

    def get_metrics_namespace(self) -> str:
        """Of Beam's metrics of scoring."""
        return "BeamJobsScoring"


@functools.lru_cache(maxsize=2)
def _loaded(location: ModelLocation, signature: Signature) -> Predict:
    """The model, kept for the next run of a process that watches a queue.

    The location's fingerprint is part of the key: another content is another model.
    """
    return load_model(location, signature)
