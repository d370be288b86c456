"""Exports of Keras: 2, which TensorFlow has up to 2.15 and `tf_keras` later, and 3."""

from pathlib import Path
from typing import Any

import tensorflow as tf
from models.corpus.rows import DEVICES, training_data


def keras2() -> Any:
    """Keras 2 of this environment."""
    if tf.__version__.startswith("2.15."):
        return tf.keras
    import tf_keras

    return tf_keras


def keras3() -> Any:
    """Keras 3 of this environment."""
    import keras

    return keras


def _network(keras: Any) -> Any:
    """A functional model with a dictionary of inputs, a text among them."""
    keras.utils.set_random_seed(1)
    inputs = {
        "bid": keras.Input((1,), name="bid"),
        "age": keras.Input((1,), name="age"),
        "device": keras.Input((1,), name="device", dtype="string"),
        "sizes": keras.Input((3,), name="sizes"),
    }
    device = keras.layers.StringLookup(vocabulary=DEVICES, output_mode="one_hot")(inputs["device"])
    numbers = [inputs["bid"], inputs["age"], inputs["sizes"]]
    scaled = keras.layers.Rescaling(0.01)(keras.layers.Concatenate()(numbers))
    joined = keras.layers.Concatenate()([scaled, device])
    score = keras.layers.Dense(1, activation="sigmoid", name="score")(joined)
    return keras.Model(inputs, {"score": score})


def _preprocessing_network(keras: Any) -> Any:
    """Every layer that tables of features are prepared with, with what it learned of the data."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = {
        "bid": keras.Input((1,), name="bid"),
        "age": keras.Input((1,), name="age", dtype="int64"),
        "device": keras.Input((1,), name="device", dtype="string"),
        "title": keras.Input((), name="title", dtype="string"),
    }
    data, _ = training_data()
    scaled = layers.Normalization(axis=None)
    scaled.adapt(data["bid"])
    steps = layers.Discretization(num_bins=3, output_mode="one_hot")
    steps.adapt(data["bid"])
    texts = layers.TextVectorization(max_tokens=8, output_mode="multi_hot")
    texts.adapt(tf.constant(data["title"].tolist()))
    known_ages = layers.IntegerLookup(vocabulary=[18, 30, 61], output_mode="int")
    ages = layers.CategoryEncoding(num_tokens=4, output_mode="one_hot")
    devices = layers.StringLookup(vocabulary=DEVICES, num_oov_indices=2, output_mode="one_hot")
    hashed = layers.Hashing(num_bins=5, output_mode="one_hot")
    crossed = layers.HashedCrossing(num_bins=5, output_mode="one_hot")
    joined = layers.Concatenate()([
        scaled(inputs["bid"]),
        steps(inputs["bid"]),
        ages(known_ages(inputs["age"])),
        devices(inputs["device"]),
        hashed(inputs["device"]),
        crossed((inputs["device"], inputs["age"])),
        texts(inputs["title"]),
    ])  # fmt: skip
    score = layers.Dense(1, activation="sigmoid", name="score")(joined)
    return keras.Model(inputs, {"score": score})


def keras2_saved(folder: Path) -> None:
    """What `model.save` of Keras 2 writes."""
    _network(keras2()).save(str(folder), save_format="tf")


def keras2_exported(folder: Path) -> None:
    """What `model.export` of Keras 2 writes."""
    _network(keras2()).export(str(folder))


def keras2_preprocessing(folder: Path) -> None:
    """Layers that prepare features, of Keras 2."""
    _preprocessing_network(keras2()).export(str(folder))


def keras3_exported(folder: Path) -> None:
    """What `model.export` of Keras 3 writes."""
    _network(keras3()).export(str(folder))


def keras3_preprocessing(folder: Path) -> None:
    """Layers that prepare features, of Keras 3."""
    _preprocessing_network(keras3()).export(str(folder))
