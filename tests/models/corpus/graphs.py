"""Exports without Keras: a module of TensorFlow 2, a session of TensorFlow 1, Estimators."""

import base64
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from models.corpus.rows import DEVICES, training_data

v1 = tf.compat.v1

WEIGHTS = [0.5, -0.25, 1.5, 0.75]
"""Of the devices, the last one of those outside of the vocabulary."""


PIXEL = base64.b64decode("UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==")
"""A WebP image of one pixel."""


def _click(ads: Mapping[str, Any], table: Any, weights: Any) -> Any:
    """float32[n]: some function of all features."""
    places = tf.cast(table.lookup(ads["device"]), tf.int32)
    age = tf.cast(ads["age"], tf.float32) / 100
    area = tf.reduce_sum(ads["sizes"], 1) / 9
    return tf.sigmoid(ads["bid"] / 10 + age + area + tf.gather(weights, places))


def _vocabulary(folder: Path) -> Any:
    file = folder / "devices.txt"
    file.write_text("\n".join(DEVICES) + "\n")
    return tf.lookup.TextFileInitializer(
        str(file), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
    )  # fmt: skip


def module(folder: Path) -> None:
    """Tensors by name, of every type that features have, and a vocabulary beside the graph."""
    made = tf.Module()
    with tempfile.TemporaryDirectory() as scratch:
        made.table = tf.lookup.StaticHashTable(_vocabulary(Path(scratch)), len(DEVICES))
        made.weights = tf.Variable(WEIGHTS)

        def serve(bid: Any, age: Any, device: Any, sizes: Any) -> dict[str, Any]:
            ads = {"bid": bid, "age": age, "device": device, "sizes": sizes}
            return {"score": _click(ads, made.table, made.weights), "age_next_year": age + 1}

        made.serve = tf.function(
            serve,
            input_signature=[
                tf.TensorSpec([None], tf.float32, "bid"),
                tf.TensorSpec([None], tf.int64, "age"),
                tf.TensorSpec([None], tf.string, "device"),
                tf.TensorSpec([None, 3], tf.float32, "sizes"),
            ],
        )
        tf.saved_model.save(made, str(folder), {"serving_default": made.serve})


def newer_op(folder: Path) -> None:
    """An operation that TensorFlow 2.20 was the first to have."""
    made = tf.Module()

    def serve(bid: Any) -> dict[str, Any]:
        pixel = tf.io.decode_webp(PIXEL)
        return {"score": tf.sigmoid(bid / 10 + tf.reduce_mean(tf.cast(pixel, tf.float32)) / 255)}

    made.serve = tf.function(serve, input_signature=[tf.TensorSpec([None], tf.float32, "bid")])
    tf.saved_model.save(made, str(folder), {"serving_default": made.serve})


def newer_attribute(folder: Path) -> None:
    """An old operation used as only TensorFlow 2.17 can: it passes over places beyond the end."""
    made = tf.Module()

    def serve(bid: Any, age: Any) -> dict[str, Any]:
        places = tf.cast(age // 40, tf.int32)[:, None]
        weight = tf.gather_nd([1.0, 2.0, 3.0], places, bad_indices_policy="IGNORE")
        return {"score": tf.sigmoid(bid / 10 + weight)}

    takes = [tf.TensorSpec([None], tf.float32, "bid"), tf.TensorSpec([None], tf.int64, "age")]
    made.serve = tf.function(serve, input_signature=takes)
    tf.saved_model.save(made, str(folder), {"serving_default": made.serve})


def session(folder: Path) -> None:
    """A graph with variables, and a vocabulary that an operation of the graph loads."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        tf.Graph().as_default(),
        v1.Session() as running,
    ):
        ads = {
            "bid": v1.placeholder(tf.float32, [None], "bid"),
            "age": v1.placeholder(tf.int64, [None], "age"),
            "device": v1.placeholder(tf.string, [None], "device"),
            "sizes": v1.placeholder(tf.float32, [None, 3], "sizes"),
        }
        table = tf.lookup.StaticHashTable(_vocabulary(Path(scratch)), len(DEVICES))
        weights = v1.get_variable("weights", initializer=WEIGHTS, use_resource=False)
        score = _click(ads, table, weights)
        running.run([v1.global_variables_initializer(), v1.tables_initializer()])
        v1.saved_model.simple_save(
            running, str(folder), ads, {"score": score}, legacy_init_op=v1.tables_initializer()
        )


def _columns() -> list[Any]:
    column = tf.feature_column
    device = column.categorical_column_with_vocabulary_list("device", DEVICES, num_oov_buckets=1)
    return [
        column.numeric_column("bid"),  # required
        column.numeric_column(
            "age", dtype=tf.int64, default_value=-1, normalizer_fn=lambda age: age / 100
        ),
        column.indicator_column(device),
    ]


def _trained(estimator: Any) -> Any:
    def data() -> Any:
        features, labels = training_data()
        used = {name: features[name] for name in ("bid", "age", "device")}
        return tf.data.Dataset.from_tensor_slices((used, labels)).repeat().batch(5)

    return estimator.train(data, steps=30)


def _exported(estimator: Any, receiver: Any, folder: Path) -> None:
    """The one version that was exported, without the number of seconds that it is called by."""
    with tempfile.TemporaryDirectory() as scratch:
        made = estimator.export_saved_model(scratch, receiver)
        shutil.copytree(made.decode(), folder)


def _of_examples() -> Any:
    return tf.estimator.export.build_parsing_serving_input_receiver_fn(
        tf.feature_column.make_parse_example_spec(_columns())
    )


def estimator_linear(folder: Path) -> None:
    """A canned classifier of two classes that parses tf.Example."""
    config = tf.estimator.RunConfig(tf_random_seed=1)
    made = tf.estimator.LinearClassifier(_columns(), config=config)
    _exported(_trained(made), _of_examples(), folder)


def estimator_dnn_raw(folder: Path) -> None:
    """A canned classifier with a hidden layer; tensors by name, in the signature `predict`."""
    config = tf.estimator.RunConfig(tf_random_seed=1)
    made = _trained(tf.estimator.DNNClassifier([3], _columns(), config=config))
    with tf.Graph().as_default():
        receiver = tf.estimator.export.build_raw_serving_input_receiver_fn({
            "bid": v1.placeholder(tf.float32, [None, 1], "bid"),
            "age": v1.placeholder(tf.int64, [None, 1], "age"),
            "device": v1.placeholder(tf.string, [None, 1], "device"),
        })  # fmt: skip
        _exported(made, receiver, folder)
