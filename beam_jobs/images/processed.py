"""One encoded image -> all that its rows get of it: features, or a problem, and model input."""

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from beam_jobs.images.features import Row, features
from beam_jobs.images.inspect import inspect
from beam_jobs.images.limits import ImageProblem
from beam_jobs.images.spec import ImageSpec

_ROW_BYTES = 600
"""About what the features of an image, or a problem, take in memory."""


@dataclass(frozen=True)
class ProcessedImage:
    """What came of one image.

    Attributes:
        row: its features, None where it has a problem.
        problem: why it cannot be used.
        encoded: its bytes, where the model takes them.
        tensor: the model's input, where it takes pixels.
    """

    row: Row | None = None
    problem: ImageProblem | None = None
    encoded: bytes | None = None
    tensor: npt.NDArray[Any] | None = None

    @property
    def input_bytes(self) -> int:
        """Bytes of what a row gives to the model."""
        return len(self.encoded or b"") + (0 if self.tensor is None else self.tensor.nbytes)

    @property
    def nbytes(self) -> int:
        """About so many bytes of memory."""
        return _ROW_BYTES + self.input_bytes


def process_image(data: bytes, name: str, spec: ImageSpec) -> ProcessedImage:
    """Checks one image and computes what the spec asks for; never raises for its content.

    Args:
        data: the whole encoded image.
        name: as the row names it.
        spec: limits, and what the model takes.
    """
    image = inspect(data, name, spec.limits)
    if isinstance(image, ImageProblem):
        return ProcessedImage(problem=image)
    encoded = data if spec.keeps_bytes else None
    if spec.tensor is None:
        return ProcessedImage(features(image), encoded=encoded)
    from beam_jobs.images.tensors import image_tensor

    tensor = image_tensor(image, name, spec.tensor)
    if isinstance(tensor, ImageProblem):
        return ProcessedImage(problem=tensor)
    return ProcessedImage(features(image), encoded=encoded, tensor=tensor)
