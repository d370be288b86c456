"""The rows of the corpus, and what an exporting TensorFlow itself makes of them.

Needs TensorFlow and NumPy alone, of any version: it runs where the exports are made.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

Row = Mapping[str, Any]

DEVICES = ["mobile", "tv", "desktop"]
"""Vocabulary of every model; what else is said of a device is outside of it."""

DEFAULTS: Row = {"device": "none"}
"""Of schema.pbtxt."""

ROWS: Sequence[Row] = [
    {"bid": 0.5, "age": 30, "device": "mobile", "title": "red shoes", "sizes": [3.0, 2.5, 1.0]},
    {"bid": 12.25, "age": 61, "device": "tv", "title": "Buy THE game!", "sizes": [0.1, 0.2, 0.3]},
    {"bid": 0.0, "age": 0, "device": "desktop", "title": "game", "sizes": [0.0, 0.0, 0.0]},
    {"bid": -1.0, "age": 18, "device": "fridge", "title": "été à la mer",
     "sizes": [1.0, -7.0, 4.0]},
    {"bid": 0.1, "age": 120, "device": "été", "title": "", "sizes": [1e-3, 10.0, 1.0]},
    {"bid": 3.3, "age": 44, "device": None, "title": "shoes shoes red", "sizes": [9.0, 8.0, 7.0]},
    {"bid": 2.5, "age": None, "device": "mobile", "title": "red game", "sizes": [2.0, 2.0, 2.0]},
    {"bid": None, "age": 25, "device": "tv", "title": None, "sizes": None},
]  # fmt: skip


@dataclass(frozen=True)
class Scored:
    """A signature, and the number of it that is the score.

    Attributes:
        signature: its name.
        output: of the signature.
        column: of the output; 0 also where it has no columns.
        choice: what `--score` must say; None where the score is found without.
        is_example: whether it takes serialized tf.Examples.
    """

    signature: str = "serving_default"
    output: str = "score"
    column: int = 0
    choice: str | None = None
    is_example: bool = False


def training_data() -> tuple[dict[str, Any], Any]:
    """({feature: array [n]}, labels [n]) of the rows that lack nothing."""
    whole = [row for row in ROWS if None not in row.values()]
    dtypes = {"bid": np.float32, "age": np.int64, "device": object, "title": object}
    features = {
        name: np.array([row[name] for row in whole], dtype=dtype) for name, dtype in dtypes.items()
    }
    return features, np.arange(len(whole)) % 2


def scores_of(folder: Path, scored: Scored, features: Sequence[str]) -> list[float | None]:
    """Each row's score, read back from disk; None where the model cannot be given the row.

    One row a call, so that a row that the model refuses costs no other.
    """
    loaded = tf.saved_model.load(str(folder))
    function = loaded.signatures[scored.signature]
    specs = function.structured_input_signature[1]
    found: list[float | None] = []
    for row in ROWS:
        known = {name: row[name] for name in features if row[name] is not None}
        given = {name: value for name, value in DEFAULTS.items() if name in features} | known
        inputs = _example(given, specs) if scored.is_example else _tensors(given, specs)
        found.append(None if inputs is None else _score(function, inputs, scored))
    return found


def _score(function: Callable[..., Any], inputs: Row, scored: Scored) -> float | None:
    try:
        values = function(**inputs)[scored.output].numpy()
    except tf.errors.InvalidArgumentError:  # it parses no example without a required feature
        return None
    return float(values.reshape(-1)[scored.column])


def _tensors(given: Row, specs: Mapping[str, Any]) -> Row | None:
    if set(specs) - set(given):
        return None
    return {
        name: tf.reshape(
            tf.constant(given[name], spec.dtype),
            [1 if size is None else size for size in spec.shape],
        )
        for name, spec in specs.items()
    }


def _example(given: Row, specs: Mapping[str, Any]) -> Row:
    (name,) = specs
    features = {key: _feature(value) for key, value in given.items()}
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return {name: tf.constant([example.SerializeToString()])}


def _feature(value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    if isinstance(values[0], str):
        texts = [text.encode() for text in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))
    if isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
