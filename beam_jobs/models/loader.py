"""A loaded SavedModel: arrays in, arrays out."""

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from beam_jobs.errors import RunError
from beam_jobs.models.registry import ModelLocation, local_copy
from beam_jobs.models.signature import SERVE, Signature

Predict = Callable[[Mapping[str, npt.NDArray[Any]]], dict[str, npt.NDArray[Any]]]
"""{input: array [n, ...]} -> {output: array [n, ...]}."""


def load_model(location: ModelLocation, signature: Signature) -> Predict:
    """Loads the model, as TensorFlow 2 does or, where that fails, in a session of TensorFlow 1.

    Raises:
        RunError: neither can load it.
    """
    local_copy(location)  # whose errors say more than the loader's
    try:
        return _load_v2(location, signature)
    except Exception as error:  # noqa: BLE001 (the loader raises whatever the graph makes it)
        try:
            return _load_v1(location, signature)
        except Exception as second:
            raise RunError(
                f"model {location.path}: cannot be loaded: {_line(error)}; as a model of"
                f" TensorFlow 1: {_line(second)}"
            ) from second


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _load_v2(location: ModelLocation, signature: Signature) -> Predict:
    loaded = tf.saved_model.load(local_copy(location))
    # The function alone does not keep the model's variables alive.
    held = {"model": loaded, "function": loaded.signatures[signature.name]}
    del loaded
    dtypes = {tensor.name: tf.as_dtype(tensor.dtype) for tensor in signature.inputs}

    def predict(inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        tensors = {name: tf.constant(value, dtypes[name]) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in held["function"](**tensors).items()}

    # At exit, before modules are torn down: TensorFlow's finalizers print tracebacks after that.
    weakref.finalize(predict, held.clear)
    return predict


def _load_v1(location: ModelLocation, signature: Signature) -> Predict:
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        tf.compat.v1.saved_model.load(session, [SERVE], local_copy(location))
    outputs = {tensor.name: tensor.tensor for tensor in signature.outputs}
    inputs = {tensor.name: tensor.tensor for tensor in signature.inputs}

    def predict(values: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        fed = {inputs[name]: value for name, value in values.items()}
        found: dict[str, npt.NDArray[Any]] = session.run(outputs, fed)
        return found

    return predict
