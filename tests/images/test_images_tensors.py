"""Tensors equal what TensorFlow gave in training; options say what they do not like."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from PIL import Image as Pillow
from PIL import ImageOps

from beam_jobs.batch import Reason
from beam_jobs.errors import UsageError
from beam_jobs.images.inspect import Image, inspect
from beam_jobs.images.limits import ImageLimits, ImageProblem
from beam_jobs.images.tensor_options import (
    Fit,
    ImageTensorOptions,
    ImageTensorSpec,
    ResizeMethod,
    Scaling,
    parse_options,
    tensor_spec,
)
from beam_jobs.images.tensors import image_batch, image_tensor
from support.banners import banner, encode, exif
from support.corpus import corpus


def look(data: bytes) -> Image:
    image = inspect(data, "1", ImageLimits())
    assert isinstance(image, Image)
    return image


def tensor(data: bytes, spec: ImageTensorSpec) -> npt.NDArray[Any]:
    found = image_tensor(look(data), "1", spec)
    assert isinstance(found, np.ndarray), found
    assert found.shape == (spec.height, spec.width, spec.channels)
    assert found.dtype == spec.dtype
    return found


def spec(channels: int = 3, dtype: str = "float32", **options: object) -> ImageTensorSpec:
    return ImageTensorSpec(64, 96, channels, dtype, ImageTensorOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("method", ResizeMethod)
def test_resizing_is_that_of_tensorflow(method: Any, antialias: Any) -> None:
    data = encode(banner())
    decoded = tf.io.decode_image(data, channels=3, expand_animations=False)
    expected = tf.image.resize(decoded, (64, 96), method.value, antialias=antialias)
    found = tensor(data, spec(resize=method, antialias=antialias))
    np.testing.assert_array_equal(found, tf.cast(expected, tf.float32).numpy())


@pytest.mark.parametrize("encoding", ["jpeg", "progressive", "png", "gif", "bmp"])
def test_decoding_is_that_of_tensorflow(encoding: Any) -> None:
    data = encode(banner(), encoding)
    decoded = tf.io.decode_image(data, channels=3, expand_animations=False)
    expected = tf.image.resize(decoded, (64, 96)).numpy()
    np.testing.assert_array_equal(tensor(data, spec()), expected)


@pytest.mark.parametrize(("encoding", "channels"), [("jpeg", 1), ("png", 1), ("png", 4)])
def test_other_channel_counts_are_those_of_tensorflow(encoding: Any, channels: Any) -> None:
    picture = banner().convert("RGBA") if encoding == "png" else banner()
    if picture.mode == "RGBA":
        picture.putalpha(Pillow.linear_gradient("L").resize(picture.size))
    data = encode(picture, encoding)
    decoded = tf.io.decode_image(data, channels=channels, expand_animations=False)
    expected = tf.image.resize(decoded, (64, 96)).numpy()
    np.testing.assert_array_equal(tensor(data, spec(channels)), expected)


def test_cmyk_and_16_bit_are_those_of_tensorflow() -> None:
    cmyk = encode(banner().convert("CMYK"))
    values = np.random.default_rng(1).integers(0, 65536, (50, 60, 3)).astype(np.uint16)
    for data in (cmyk, tf.io.encode_png(values).numpy()):
        decoded = tf.io.decode_image(data, channels=3, expand_animations=False)
        expected = tf.image.resize(decoded, (64, 96)).numpy()
        np.testing.assert_array_equal(tensor(data, spec()), expected)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("encoding", ["jpeg", "png", "gif", "webp-lossless", "bmp"])
def test_every_format_gives_every_channel_count(encoding: Any, channels: Any) -> None:
    found = tensor(encode(banner(), encoding), spec(channels))
    pixels = np.asarray(banner().convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]), np.float32)
    expected = tf.image.resize(pixels.reshape(250, 300, channels), (64, 96)).numpy()
    # A GIF has 256 colours for all of the picture; a JPEG loses colour at edges.
    assert np.abs(found - expected).mean() < (12 if encoding == "gif" else 4)


@pytest.mark.parametrize("encoding", ["jpeg", "png", "webp-lossless"])
@pytest.mark.parametrize("channels", [1, 3])
def test_orientation_is_applied_only_where_the_model_wants_it(encoding: Any, channels: Any) -> None:
    plain, turned = encode(banner(), encoding), encode(banner(), encoding, exif=exif(6))
    np.testing.assert_array_equal(tensor(turned, spec(channels)), tensor(plain, spec(channels)))
    picture = Pillow.fromarray(
        tensor(plain, ImageTensorSpec(250, 300, channels, "uint8", ImageTensorOptions())).squeeze()
    )
    picture.getexif()[0x0112] = 6
    expected = np.asarray(ImageOps.exif_transpose(picture)).reshape(300, 250, channels)
    options = ImageTensorOptions(upright=True)
    found = tensor(turned, ImageTensorSpec(300, 250, channels, "uint8", options))
    np.testing.assert_array_equal(found, expected)


def test_fit() -> None:
    data = encode(banner(200, 100), "png")
    decoded = tf.io.decode_image(data, channels=3, expand_animations=False)
    square = ImageTensorSpec(50, 50, 3, "float32", ImageTensorOptions(fit=Fit.PAD))
    padded = tf.image.resize_with_pad(decoded, 50, 50).numpy()
    np.testing.assert_array_equal(tensor(data, square), padded)
    square = ImageTensorSpec(50, 50, 3, "float32", ImageTensorOptions(fit=Fit.CROP))
    cropped = tf.image.resize(decoded[:, 50:150], (50, 50)).numpy()
    np.testing.assert_array_equal(tensor(data, square), cropped)


def test_scaling_and_types() -> None:
    data = encode(banner())
    plain = tensor(data, spec())
    np.testing.assert_allclose(tensor(data, spec(scaling=Scaling.UNIT)), plain / 255, rtol=1e-6)
    symmetric = tensor(data, spec(scaling=Scaling.SYMMETRIC))
    np.testing.assert_allclose(symmetric, plain / 127.5 - 1, atol=1e-6)
    edges = tensor(data, spec(resize=ResizeMethod.BICUBIC))
    assert edges.max() > 255 or edges.min() < 0
    whole = tensor(data, spec(dtype="uint8", resize=ResizeMethod.BICUBIC))
    np.testing.assert_array_equal(whole, np.clip(np.rint(edges), 0, 255))


def test_batches() -> None:
    tensors = [tensor(encode(banner(seed=seed)), spec()) for seed in range(3)]
    batch = image_batch(tensors, spec())
    np.testing.assert_array_equal(batch, np.stack(tensors))
    assert image_batch([], spec(dtype="uint8")).shape == (0, 64, 96, 3)


def test_options_are_read() -> None:
    text = '{"resize": "area", "fit": "pad", "scaling": "unit", "antialias": true, "width": 9}'
    expected = ImageTensorOptions(
        resize=ResizeMethod.AREA, fit=Fit.PAD, scaling=Scaling.UNIT, antialias=True, width=9
    )
    assert parse_options(text, "m/image.json") == expected
    assert parse_options("{}", "m/image.json") == ImageTensorOptions()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "m/image.json: is not JSON"),
        ("[]", "holds a list; expected an object"),
        ('{"size": 3}', "unknown key 'size'; known are resize, antialias, fit"),
        ('{"resize": "cubic"}', "resize is 'cubic'; expected one of bilinear, nearest"),
        ('{"resize": ["area"]}', r"resize is \['area'\]; expected one of"),
        ('{"height": true}', "height is True; expected a number of pixels"),
        ('{"width": 0}', "width is 0; expected a number of pixels"),
        ('{"antialias": 1}', "antialias is 1; expected true or false"),
    ],
)
def test_options_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_options(text, "m/image.json")


def test_specs() -> None:
    options = ImageTensorOptions(width=96)
    found = tensor_spec([None, 64, None, 3], "uint8", options, "--model m input x")
    assert found == ImageTensorSpec(64, 96, 3, "uint8", options)


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "message"),
    [
        ([None, 64], "uint8", ImageTensorOptions(), r"shape \[None, 64\]; images need"),
        ([None, 4, 4, 2], "uint8", ImageTensorOptions(), "images need"),
        ([None, 4, 4, 3], "int64", ImageTensorOptions(), "type int64; images need uint8"),
        ([None, 4, 4, 3], "uint8", ImageTensorOptions(scaling=Scaling.UNIT), "gives fractions"),
        ([None, 4, 4, 3], "uint8", ImageTensorOptions(height=5), "height 4, but image.json says 5"),
        ([None, None, 4, 3], "uint8", ImageTensorOptions(), "leaves the height open"),
    ],
)
def test_specs_that_are_refused(shape: Any, dtype: Any, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tensor_spec(shape, dtype, options, "--model m input x")


@pytest.mark.parametrize("channels", [3, 4])
def test_what_the_full_decode_refuses_is_corrupt(channels: Any) -> None:
    image = look(encode(banner()))
    header = dataclasses.replace(image.header, payload=image.header.payload[:2000])
    found = image_tensor(dataclasses.replace(image, header=header), "ads/1.jpg", spec(channels))
    assert isinstance(found, ImageProblem)
    assert found.reason is Reason.IMAGE_CORRUPT
    assert found.detail.startswith("'ads/1.jpg' JPEG ")
    assert ("refused by TensorFlow" in found.detail) == (channels == 3)


def test_the_corpus_never_stops_a_model() -> None:
    small = ImageTensorSpec(8, 8, 3, "uint8", ImageTensorOptions())
    images = [
        image
        for case in corpus(seed=3, flips=60, cuts=1)
        if isinstance(image := inspect(case.data, "1", ImageLimits()), Image)
    ]
    assert len(images) > 100
    for image in images:
        found = image_tensor(image, "1", small)
        assert isinstance(found, ImageProblem) or found.shape == (8, 8, 3)
