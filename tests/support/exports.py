"""Exports as TensorFlow 1 made them."""

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

v1 = tf.compat.v1

PARSING = {
    "bid": tf.io.FixedLenFeature([], tf.float32, -1.0),
    "age": tf.io.FixedLenFeature([], tf.int64),
    "device": tf.io.FixedLenFeature([], tf.string, "none"),
    "sizes": tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
}


def click(ads: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """float32[n]: some function of all features."""
    length = tf.cast(tf.strings.length(ads["device"]), tf.float32)
    return tf.sigmoid(
        ads["bid"]
        + tf.cast(ads["age"], tf.float32) / 100
        - length / 7
        + tf.reduce_sum(ads["sizes"], 1) / 9
    )


def estimator_exports(folder: Path) -> Path:
    """The signatures of a classifier as `Estimator.export_saved_model` lays them out."""
    signatures = v1.saved_model.signature_def_utils
    info = v1.saved_model.build_tensor_info
    with tf.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, [None], "input_example_tensor")
        weight = v1.get_variable("weight", initializer=1.0)
        chance = (click(tf.io.parse_example(examples, PARSING)) * weight)[:, None]
        both = tf.concat([1 - chance, chance], 1)
        classes = tf.tile(tf.constant([["0", "1"]]), [tf.shape(chance)[0], 1])
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        predict = {"probabilities": both, "logistic": chance, "classes": classes[:, 1:]}
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                "serving_default": signatures.classification_signature_def(examples, classes, both),
                "regression": signatures.regression_signature_def(examples, chance),
                "predict": signatures.build_signature_def(
                    {"examples": info(examples)},
                    {name: info(tensor) for name, tensor in predict.items()},
                    v1.saved_model.signature_constants.PREDICT_METHOD_NAME,
                ),
            },
        )
        builder.save()
    return folder
