"""How a model wants its images: read from `image.json` beside the model. TensorFlow-free."""

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from beam_jobs.errors import UsageError

OPTIONS_FILE = "image.json"
"""Name of the file beside `saved_model.pb`."""


class ResizeMethod(str, enum.Enum):
    """The values are those of `tf.image.ResizeMethod`."""

    BILINEAR = "bilinear"
    NEAREST = "nearest"
    BICUBIC = "bicubic"
    AREA = "area"
    LANCZOS3 = "lanczos3"
    LANCZOS5 = "lanczos5"
    GAUSSIAN = "gaussian"
    MITCHELLCUBIC = "mitchellcubic"


class Fit(str, enum.Enum):
    """What happens when the image's shape is not the model's."""

    STRETCH = "stretch"  # tf.image.resize
    PAD = "pad"  # tf.image.resize_with_pad: all of the image, black at the sides
    CROP = "crop"  # the largest centred part of the model's shape, then tf.image.resize


class Scaling(str, enum.Enum):
    """Range of the tensor's values."""

    NONE = "none"  # 0 to 255
    UNIT = "unit"  # 0 to 1: value / 255
    SYMMETRIC = "symmetric"  # -1 to 1: value / 127.5 - 1


@dataclass(frozen=True)
class ImageTensorOptions:
    """The content of `image.json`; what it leaves out has these defaults.

    Attributes:
        resize: interpolation.
        antialias: as in `tf.image.resize`.
        fit: what happens to the shape.
        scaling: range of the values.
        upright: whether the EXIF orientation is applied; `tf.io.decode_image` does not.
        height, width: needed only where the signature leaves them open.
    """

    resize: ResizeMethod = ResizeMethod.BILINEAR
    antialias: bool = False
    fit: Fit = Fit.STRETCH
    scaling: Scaling = Scaling.NONE
    upright: bool = False
    height: int | None = None
    width: int | None = None


@dataclass(frozen=True)
class ImageTensorSpec:
    """One image as the model takes it: [height, width, channels] of "uint8" or "float32"."""

    height: int
    width: int
    channels: int
    dtype: str
    options: ImageTensorOptions

    @property
    def nbytes(self) -> int:
        """Bytes of one tensor."""
        return self.height * self.width * self.channels * (1 if self.dtype == "uint8" else 4)


def parse_options(text: str, where: str) -> ImageTensorOptions:
    """Reads `image.json`.

    Args:
        text: its content.
        where: its URI, for messages.

    Raises:
        UsageError: not a JSON object, an unknown key, or a value that the key does not take.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{where}: is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{where}: holds a {type(values).__name__}; expected an object")
    known = [option.name for option in fields(ImageTensorOptions)]
    unknown = sorted(values.keys() - set(known))
    if unknown:
        raise UsageError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(known)}")
    return ImageTensorOptions(**{key: _value(key, values[key], where) for key in values})


_ENUMERATIONS: dict[str, type[enum.Enum]] = {"resize": ResizeMethod, "fit": Fit, "scaling": Scaling}


def _value(key: str, value: Any, where: str) -> Any:
    if key in _ENUMERATIONS:
        choices = [member.value for member in _ENUMERATIONS[key]]
        if value not in choices:
            raise UsageError(f"{where}: {key} is {value!r}; expected one of {', '.join(choices)}")
        return _ENUMERATIONS[key](value)
    if key in ("height", "width"):
        if type(value) is not int or value < 1:
            raise UsageError(f"{where}: {key} is {value!r}; expected a number of pixels from 1")
    elif type(value) is not bool:
        raise UsageError(f"{where}: {key} is {value!r}; expected true or false")
    return value


def tensor_spec(
    shape: Sequence[int | None], dtype: str, options: ImageTensorOptions, where: str
) -> ImageTensorSpec:
    """Fits the options to a signature's input.

    Args:
        shape: of the input: [n, h, w, c], None where open.
        dtype: NumPy's name of the input's type.
        options: of the model.
        where: names the model and its input, for messages.

    Raises:
        UsageError: the input takes no images, or contradicts the options.
    """
    if len(shape) != 4 or shape[3] not in (1, 3, 4):
        raise UsageError(f"{where}: has shape {list(shape)}; images need [n, h, w, 1, 3 or 4]")
    if dtype not in ("uint8", "float32"):
        raise UsageError(f"{where}: has type {dtype}; images need uint8 or float32")
    if dtype == "uint8" and options.scaling is not Scaling.NONE:
        raise UsageError(
            f'{where}: is uint8, but {OPTIONS_FILE} says "scaling": "{options.scaling.value}",'
            ' which gives fractions; use "none" or a float32 input'
        )
    sizes = []
    for name, of_input, of_options in (
        ("height", shape[1], options.height),
        ("width", shape[2], options.width),
    ):
        if of_input and of_options and of_input != of_options:
            raise UsageError(
                f"{where}: has {name} {of_input}, but {OPTIONS_FILE} says {of_options};"
                " remove it there"
            )
        size = of_input or of_options
        if not size:
            raise UsageError(f'{where}: leaves the {name} open; set "{name}" in {OPTIONS_FILE}')
        sizes.append(size)
    return ImageTensorSpec(sizes[0], sizes[1], int(shape[3]), dtype, options)
