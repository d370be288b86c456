"""What the Trainer of a TFX pipeline exports: tf.Example, tensorflow-transform and Keras 2."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from models.corpus.rows import ROWS, Row

LABEL = "clicked"


def _features_of_examples() -> dict[str, Any]:
    """As a schema says it: bid is always there, the others need not be."""
    return {
        "bid": tf.io.FixedLenFeature([], tf.float32),
        "age": tf.io.VarLenFeature(tf.int64),
        "device": tf.io.VarLenFeature(tf.string),
        LABEL: tf.io.FixedLenFeature([], tf.int64),
    }


def _filled(sparse: Any, default: Any) -> Any:
    """[n] of a feature that may be missing."""
    shape = [sparse.dense_shape[0], 1]
    dense = tf.sparse.to_dense(tf.SparseTensor(sparse.indices, sparse.values, shape), default)
    return tf.squeeze(dense, 1)


def preprocess(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The `preprocessing_fn` of the Transform component."""
    import tensorflow_transform as tft

    device = _filled(inputs["device"], "")
    age = tf.cast(_filled(inputs["age"], 0), tf.float32)
    return {
        "bid_scaled": tft.scale_to_z_score(inputs["bid"]),
        "age_bucket": tft.bucketize(age, 3),
        "device_place": tft.compute_and_apply_vocabulary(device, top_k=4, num_oov_buckets=1),
        LABEL: inputs[LABEL],
    }


def _analysed(scratch: str) -> Any:
    """TFTransformOutput of the rows."""
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    schema = schema_utils.schema_from_feature_spec(_features_of_examples())
    metadata = dataset_metadata.DatasetMetadata(schema)
    rows = [_training_row(row, place) for place, row in enumerate(ROWS) if row["bid"] is not None]
    with tft_beam.Context(temp_dir=scratch):
        function = (rows, metadata) | tft_beam.AnalyzeDataset(preprocess)
        _ = function | tft_beam.WriteTransformFn(scratch)
    return tft.TFTransformOutput(scratch)


def _training_row(row: Row, place: int) -> dict[str, Any]:
    """What a reader of tf.Example gives: lists for what may be missing."""
    lists = {name: [] if row[name] is None else [row[name]] for name in ("age", "device")}
    return {"bid": row["bid"], LABEL: place % 2, **lists}


def _network(keras: Any) -> Any:
    keras.utils.set_random_seed(1)
    inputs = {
        "bid_scaled": keras.Input((), name="bid_scaled"),
        "age_bucket": keras.Input((), name="age_bucket", dtype="int64"),
        "device_place": keras.Input((), name="device_place", dtype="int64"),
    }
    joined = keras.layers.Concatenate()([
        keras.layers.Reshape((1,))(inputs["bid_scaled"]),
        keras.layers.CategoryEncoding(3, output_mode="one_hot")(inputs["age_bucket"]),
        keras.layers.CategoryEncoding(5, output_mode="one_hot")(inputs["device_place"]),
    ])  # fmt: skip
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(joined))


def trainer(folder: Path) -> None:
    """A signature that parses tf.Example, transforms it and scores it, and one that transforms."""
    import tf_keras

    with tempfile.TemporaryDirectory() as scratch:
        output = _analysed(scratch)
        model = _network(tf_keras)
        model.tft_layer = output.transform_features_layer()
        features = _features_of_examples()
        features.pop(LABEL)  # rows to be scored have none
        names = [one.name for one in model.inputs]

        def transform(examples: Any) -> dict[str, Any]:
            found: dict[str, Any] = model.tft_layer(tf.io.parse_example(examples, features))
            return found

        def serve(examples: Any) -> dict[str, Any]:
            transformed = transform(examples)
            return {"outputs": model({name: transformed[name] for name in names})}

        takes = [tf.TensorSpec([None], tf.string, "examples")]
        signatures = {
            "serving_default": tf.function(serve, input_signature=takes),
            "transform_features": tf.function(transform, input_signature=takes),
        }
        # Each layer's own functions are for training on; they would double the size.
        model.save(str(folder), save_format="tf", signatures=signatures, save_traces=False)
