"""A small click model for the demo: trained in seconds, exported as a SavedModel."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import tensorflow as tf

from beam_jobs import storage
from beam_jobs.demo.data import LABEL
from beam_jobs.demo.defects import BANNER
from beam_jobs.images.inspect import Image, inspect
from beam_jobs.images.limits import ImageLimits
from beam_jobs.images.tensor_options import (
    OPTIONS_FILE,
    ImageTensorOptions,
    ImageTensorSpec,
    ResizeMethod,
)
from beam_jobs.images.tensors import image_tensor

CATEGORICAL = ("campaign_id", "device", "country", "position", "category")
INTEGERS = ("user_age", "hour", "title_length", "is_video")
FLOATS = ("bid", "historic_ctr")
NUMBERS = INTEGERS + FLOATS
INPUTS: Mapping[str, tf.DType] = {
    **dict.fromkeys(CATEGORICAL, tf.string),
    **dict.fromkeys(INTEGERS, tf.int64),
    **dict.fromkeys(FLOATS, tf.float32),
}
"""The signature's inputs, each of shape [None, 1]; neither the key nor the label is one."""

PICTURE = ImageTensorSpec(
    16, 16, 3, "uint8", ImageTensorOptions(resize=ResizeMethod.AREA, upright=True)
)
"""How the model takes an ad's banner, under the name PICTURE_INPUT; where there are banners."""

PICTURE_INPUT = "picture"

OUTPUT = "score"
VERSION = "1"

_EMBEDDING_SIZE = 4
_HIDDEN_UNITS = 32
_POOL = 4
_EPOCHS = 4
_ROWS_PER_STEP = 512
_HELD_OUT_SHARE = 0.1


@dataclass(frozen=True)
class Trained:
    """What training gave.

    Attributes:
        model: folder of numbered versions, a value for --model.
        rows: that it was trained on.
        auc: area under the ROC curve on the rows that were held out, a tenth.
    """

    model: str
    rows: int
    auc: float


class Encoder(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """Features as they are in the data -> what the network takes.

    Codes int64[n, 5]: the vocabularies share one range, so that one embedding serves them all; a
    value that training never saw takes its feature's code for "unknown". Numbers float32[n, 6]:
    mean 0 and standard deviation 1. An ad without history (historic_ctr NaN or 0) counts as
    average.
    """

    def __init__(self, training: pa.Table) -> None:
        super().__init__()
        self.lookups = [
            keras.layers.StringLookup(vocabulary=sorted(training.column(name).unique().to_pylist()))
            for name in CATEGORICAL
        ]
        sizes = [lookup.vocabulary_size() for lookup in self.lookups]
        self.codes = sum(sizes)
        self.first_codes = tf.constant(np.cumsum([0, *sizes[:-1]]), tf.int64)
        numbers = np.column_stack([training.column(name).to_numpy() for name in NUMBERS])
        self.mean = tf.constant(np.nanmean(numbers, axis=0), tf.float32)
        self.std_dev = tf.constant(np.nanstd(numbers, axis=0), tf.float32)

    def __call__(self, features: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """The encoded columns, then the numbers."""
        codes = [
            tf.cast(lookup(features[name]), tf.int64)
            for name, lookup in zip(CATEGORICAL, self.lookups, strict=True)
        ]
        ctr = features["historic_ctr"]
        known = {**features, "historic_ctr": tf.where(ctr > 0, ctr, self.mean[-1])}
        numbers = tf.concat([tf.cast(known[name], tf.float32) for name in NUMBERS], axis=1)
        scaled = (numbers - self.mean) / self.std_dev
        return [tf.concat(codes, axis=1) + self.first_codes, scaled]


class ClickModel(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """The encoder and the network as one servable function."""

    def __init__(self, encoder: Encoder, network: keras.Model) -> None:
        super().__init__()
        self.encoder = encoder
        self.network = network

    @tf.function  # type: ignore[untyped-decorator]
    def score(self, **features: tf.Tensor) -> dict[str, tf.Tensor]:
        """{name: [n, 1]} of `INPUTS` -> {"score": float32[n, 1]}, the probability of a click.

        With banners the picture too, uint8[n, 16, 16, 3].
        """
        pictures = [features[PICTURE_INPUT]] if PICTURE_INPUT in features else []
        return {OUTPUT: self.network([*self.encoder(features), *pictures], training=False)}


def train(
    training: str,
    folder: str,
    rows: int | None = None,
    seed: int = 7,
    banners: str | None = None,
) -> Trained:
    """Trains on the demo's training data and writes the SavedModel `<folder>/1`.

    Args:
        training: path of `training/ads.csv`.
        folder: the model's folder of numbered versions.
        rows: a random sample of so many rows; all of them by default.
        seed: of the split and of the initial weights.
        banners: folder of the banners; without it the model takes none.
    """
    keras.utils.set_random_seed(seed)
    used = [*INPUTS, *([BANNER] if banners else []), LABEL]
    options = pyarrow.csv.ConvertOptions(include_columns=used)
    table = pyarrow.csv.read_csv(training, convert_options=options)
    table = table.take(np.random.default_rng(seed).permutation(table.num_rows)[:rows])
    held_out = int(table.num_rows * _HELD_OUT_SHARE)
    encoder = Encoder(table.slice(held_out))
    network = _network(encoder.codes, with_picture=banners is not None)
    inputs = [tensor.numpy() for tensor in encoder(_tensors(table))]
    if banners is not None:
        inputs.append(pictures(table.column(BANNER), banners))
    labels = table.column(LABEL).to_numpy()
    network.compile(keras.optimizers.Adam(0.003), "binary_crossentropy", jit_compile=False)
    network.fit(
        [values[held_out:] for values in inputs],
        labels[held_out:],
        batch_size=_ROWS_PER_STEP,
        epochs=_EPOCHS,
        verbose=0,
    )
    auc = keras.metrics.AUC(num_thresholds=1000)
    auc.update_state(labels[:held_out], network([v[:held_out] for v in inputs])[:, 0])
    version = storage.join(folder, VERSION)
    _export(ClickModel(encoder, network), version, with_picture=banners is not None)
    return Trained(folder, table.num_rows - held_out, float(auc.result()))


def pictures(names: pa.ChunkedArray, banners: str) -> npt.NDArray[Any]:
    """uint8[n, 16, 16, 3]: the banners of these names, decoded as the job decodes them."""
    encoded = names.combine_chunks().dictionary_encode()
    distinct = []
    for name in encoded.dictionary.to_pylist():
        image = inspect(storage.read_bytes(storage.join(banners, name)), name, ImageLimits())
        assert isinstance(image, Image)
        tensor = image_tensor(image, name, PICTURE)
        assert isinstance(tensor, np.ndarray)
        distinct.append(tensor)
    each: npt.NDArray[Any] = np.stack(distinct)[np.asarray(encoded.indices)]
    return each


def _network(codes: int, with_picture: bool) -> keras.Model:
    code = keras.Input((len(CATEGORICAL),), dtype="int64")
    numbers = keras.Input((len(NUMBERS),))
    embedded = keras.layers.Flatten()(keras.layers.Embedding(codes, _EMBEDDING_SIZE)(code))
    inputs, parts = [code, numbers], [embedded, numbers]
    if with_picture:
        picture = keras.Input((PICTURE.height, PICTURE.width, PICTURE.channels), dtype="uint8")
        scaled = keras.layers.Rescaling(1 / 127.5, -1)(picture)
        pooled = keras.layers.AveragePooling2D(_POOL)(scaled)
        inputs.append(picture)
        parts.append(keras.layers.Flatten()(pooled))
    joined = keras.layers.Concatenate()(parts)
    hidden = keras.layers.Dense(_HIDDEN_UNITS, activation="relu")(joined)
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))


def _tensors(table: pa.Table) -> dict[str, tf.Tensor]:
    """{name: [n, 1]} as the signature takes them; a missing number is NaN."""
    return {
        name: tf.constant(table.column(name).to_numpy()[:, None], dtype)
        for name, dtype in INPUTS.items()
    }


def _export(model: ClickModel, folder: str, with_picture: bool) -> None:
    specs = {name: tf.TensorSpec([None, 1], dtype, name) for name, dtype in INPUTS.items()}
    if with_picture:
        shape = [None, PICTURE.height, PICTURE.width, PICTURE.channels]
        specs[PICTURE_INPUT] = tf.TensorSpec(shape, PICTURE.dtype, PICTURE_INPUT)
        options = {"resize": PICTURE.options.resize.value, "upright": PICTURE.options.upright}
        where = storage.join(folder, OPTIONS_FILE)
        storage.write_atomic(where, json.dumps(options).encode())
    serving = model.score.get_concrete_function(**specs)
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # "Assets written to ..." is no news to a person
    try:
        tf.saved_model.save(model, folder, signatures={"serving_default": serving})
    finally:
        logger.setLevel(level)
