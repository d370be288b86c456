"""Images as the tensors that a model was trained on.

JPEG and PNG are decoded by TensorFlow and everything is resized by it, so that a model sees bit
for bit what `tf.io.decode_image` and `tf.image.resize` gave it in training. GIF, BMP and WebP are
decoded by Pillow, without loss: TensorFlow reads them in some channel counts only, or not at all.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image as Pillow

from beam_jobs.images.decode import decode, upright
from beam_jobs.images.headers import Header, ImageFormat
from beam_jobs.images.inspect import Image, problem
from beam_jobs.images.limits import ImageError, ImageProblem, corrupt
from beam_jobs.images.tensor_options import Fit, ImageTensorSpec, Scaling

_BY_TENSORFLOW = {
    (ImageFormat.JPEG, 1),
    (ImageFormat.JPEG, 3),
    (ImageFormat.PNG, 1),
    (ImageFormat.PNG, 3),
    (ImageFormat.PNG, 4),
}

_PILLOW_MODE = {1: "L", 3: "RGB", 4: "RGBA"}


def image_tensor(image: Image, name: str, spec: ImageTensorSpec) -> npt.NDArray[Any] | ImageProblem:
    """One image as the model takes it.

    Args:
        image: as `inspect` gave it.
        name: as the row names it; used in the problem's detail only.
        spec: what the model wants.

    Returns:
        spec.dtype[spec.height, spec.width, spec.channels]; or IMAGE_CORRUPT where TensorFlow,
        stricter than Pillow, refuses the bytes.
    """
    try:
        pixels = _pixels(image.header, spec)
    except ImageError as error:
        return problem(error, name)
    except tf.errors.InvalidArgumentError as error:
        found = f"{image.format.value} is refused by TensorFlow ({error.message})"
        return problem(corrupt(found), name)
    return _finished(_resized(pixels, spec), spec)


def image_batch(tensors: Sequence[npt.NDArray[Any]], spec: ImageTensorSpec) -> npt.NDArray[Any]:
    """spec.dtype[len(tensors), spec.height, spec.width, spec.channels]."""
    batch = np.empty((len(tensors), spec.height, spec.width, spec.channels), spec.dtype)
    for row, tensor in enumerate(tensors):
        batch[row] = tensor
    return batch


def _pixels(header: Header, spec: ImageTensorSpec) -> npt.NDArray[Any]:
    """uint8[h, w, spec.channels] at full size."""
    if (header.format, spec.channels) not in _BY_TENSORFLOW:
        picture = decode(header, apply_orientation=spec.options.upright)
        return _as_array(picture.convert(_PILLOW_MODE[spec.channels]))
    pixels: npt.NDArray[Any] = tf.io.decode_image(
        header.payload, channels=spec.channels, expand_animations=False
    ).numpy()
    if spec.options.upright and header.orientation > 1:
        return _as_array(upright(_as_picture(pixels), header.orientation))
    return pixels


def _as_picture(pixels: npt.NDArray[Any]) -> Pillow.Image:
    return Pillow.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _as_array(picture: Pillow.Image) -> npt.NDArray[Any]:
    return np.asarray(picture).reshape(picture.height, picture.width, -1)


def _resized(pixels: npt.NDArray[Any], spec: ImageTensorSpec) -> npt.NDArray[Any]:
    """float32[spec.height, spec.width, c], 0 to 255."""
    options = spec.options
    if options.fit is Fit.PAD:
        resized = tf.image.resize_with_pad(
            pixels, spec.height, spec.width, options.resize.value, options.antialias
        )
    else:
        if options.fit is Fit.CROP:
            pixels = _centre(pixels, spec.height, spec.width)
        size = (spec.height, spec.width)
        resized = tf.image.resize(pixels, size, options.resize.value, antialias=options.antialias)
    values: npt.NDArray[Any] = resized.numpy()
    return values.astype(np.float32, copy=False)


def _centre(pixels: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    """The largest centred part of shape height : width, at least one pixel each way."""
    rows, columns = pixels.shape[:2]
    keep_rows = max(1, min(rows, columns * height // width))
    keep_columns = max(1, min(columns, rows * width // height))
    top, left = (rows - keep_rows) // 2, (columns - keep_columns) // 2
    return pixels[top : top + keep_rows, left : left + keep_columns]


def _finished(values: npt.NDArray[Any], spec: ImageTensorSpec) -> npt.NDArray[Any]:
    """Scaled, in the model's type; uint8 is rounded and clipped (bicubic overshoots)."""
    if spec.dtype == "uint8":
        values = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    elif spec.options.scaling is Scaling.UNIT:
        values = values / np.float32(255)
    elif spec.options.scaling is Scaling.SYMMETRIC:
        values = values / np.float32(127.5) - np.float32(1)
    return values
