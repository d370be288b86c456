"""What the tests of scoring share: schemas, batches and models in a few words."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.batch import DEFAULT_ACTIONS, FINDINGS, finding_text, with_findings
from beam_jobs.models.loader import load_model
from beam_jobs.models.registry import resolve_model
from beam_jobs.models.signature import DType, Signature, SignatureKind, TensorInfo, read_signature
from beam_jobs.schema import features_of
from beam_jobs.score.bind import bind
from beam_jobs.score.scorer import Scorer
from beam_jobs.score.signature_binding import SignatureBinding


def schema_of(text: str) -> schema_pb2.Schema:
    return text_format.Parse(text, schema_pb2.Schema())


def with_default(text: str, **defaults: str) -> schema_pb2.Schema:
    """The schema with default values, each as text proto such as `int_value: 3`."""
    schema = schema_of(text)
    group = schema.tensor_representation_group[""]
    for name, value in defaults.items():
        tensor = f'dense_tensor {{ column_name: "{name}" default_value {{ {value} }} }}'
        text_format.Parse(tensor, group.tensor_representation[name])
    return schema


def batch_of(
    schema: schema_pb2.Schema, **columns: Sequence[Any] | npt.NDArray[Any]
) -> pa.RecordBatch:
    """A batch as the readers make it: typed by the schema, without findings."""
    types = {feature.name: feature.arrow for feature in features_of(schema)}
    arrays = [pa.array(values, types[name]) for name, values in columns.items()]
    return with_findings(pa.RecordBatch.from_arrays(arrays, names=list(columns)), [])


def plan_of(
    model: Path | str,
    schema: schema_pb2.Schema,
    *,
    signature: str = "serving_default",
    label: str | None = None,
    score: str | None = None,
) -> SignatureBinding:
    return bind(read_signature(resolve_model(str(model)), signature), schema, label, score)


def score_with(
    model: Path | str, plan: SignatureBinding, batch: pa.RecordBatch
) -> dict[str, list[Any]]:
    predict = load_model(resolve_model(str(model)), plan.signature)
    found: dict[str, list[Any]] = Scorer(predict, plan, DEFAULT_ACTIONS).score(batch).to_pydict()
    return found


def reasons(scored: Mapping[str, list[Any]]) -> list[list[str]]:
    """The reasons of each row."""
    return [[finding["reason"] for finding in found] for found in scored[FINDINGS]]


def details(scored: Mapping[str, list[Any]], row: int) -> list[str]:
    return [
        finding_text(**finding).removeprefix(f"{finding['reason']} ")
        for finding in scored[FINDINGS][row]
    ]


def save(
    folder: Path,
    function: Callable[..., Any],
    specs: Sequence[tf.TensorSpec],
    name: str = "serving_default",
) -> Path:
    """Exports a function of tensors as TensorFlow 2 does."""
    module = tf.Module()
    module.serve = tf.function(function, input_signature=list(specs))
    tf.saved_model.save(module, str(folder), {name: module.serve})
    return folder


def tensor(name: str, dtype: DType | str, *shape: int | None) -> TensorInfo:
    return TensorInfo(name, f"{name}:0", DType(dtype).value, shape)


def raw_signature(inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> Signature:
    return Signature("serving_default", tuple(inputs), tuple(outputs), SignatureKind.RAW)


SCORE_TENSOR = TensorInfo("score", "score:0", "float32", (None,))


def as_floats(values: Sequence[float | None]) -> npt.NDArray[Any]:
    """float64[n] with NaN for None."""
    return np.array(values, dtype=np.float64)
