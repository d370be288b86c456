"""How rows are given to a model: what `bind` decides and scoring follows."""

import enum
from dataclasses import dataclass

from beam_jobs.batch import ROWS_PER_BATCH
from beam_jobs.images.table import NAMES as IMAGE_NAMES
from beam_jobs.images.tensor_options import ImageTensorOptions, ImageTensorSpec
from beam_jobs.models.signature import DType, Signature
from beam_jobs.schema import Feature
from beam_jobs.score.defaults import Default
from beam_jobs.score.score_choice import Score

CALL_BYTES = 32 << 20
"""Of images in one call of the model."""

DECODED_BYTES = 256 << 10
"""What a model is taken to make of an encoded image: 150 KB are 224 x 224 pixels in three bytes."""


@dataclass(frozen=True)
class ModelImages:
    """What there is to feed inputs that take images.

    Attributes:
        column: the feature that names a row's image.
        options: of `image.json`, how the model wants its pixels.
        where: its URI, for messages.
    """

    column: str
    options: ImageTensorOptions
    where: str


class Source(enum.Enum):
    """What of a row feeds an input."""

    VALUE = "VALUE"  # the feature's value
    ENCODED = "ENCODED"  # the bytes of the image that the feature names
    PIXELS = "PIXELS"  # its pixels


@dataclass(frozen=True)
class InputBinding:
    """An input and the feature that feeds it.

    Attributes:
        name: of the input; of the feature inside a tf.Example.
        feature: the column.
        dtype: the tensor's type.
        shape: of one row: () for [None], (1,) for [None, 1], (k,) for [None, k].
        default: for rows without a value, None where there is none.
        required: whether a row without a value and a default cannot be scored.
        truth: texts that mean true and false, the schema's; for a text that feeds a bool.
        source: what of the row feeds it.
        pixels: what a PIXELS input takes.
    """

    name: str
    feature: Feature
    dtype: DType
    shape: tuple[int, ...]
    default: Default | None
    required: bool = True
    truth: tuple[str, str] = ("true", "false")
    source: Source = Source.VALUE
    pixels: ImageTensorSpec | None = None


@dataclass(frozen=True)
class SignatureBinding:
    """How batches are given to a signature and which of its numbers is the score.

    Attributes:
        signature: of the model.
        inputs: one an input; of a signature that takes tf.Example, one a feature in it.
        score: which of the outputs' numbers is the score.
        notes: what the user should know and that is no mistake.
    """

    signature: Signature
    inputs: tuple[InputBinding, ...]
    score: Score
    notes: tuple[str, ...] = ()

    @property
    def score_output(self) -> str:
        """Name of the score's output."""
        return self.score.output

    @property
    def score_index(self) -> int | None:
        """Its column; None where only the model's answer tells how many there are."""
        return self.score.index

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that the model uses; what describes an image that it takes too."""
        names = {input_.feature.name: None for input_ in self.inputs}
        if any(input_.source is not Source.VALUE for input_ in self.inputs):
            names |= dict.fromkeys(sorted(IMAGE_NAMES))
        return tuple(names)

    @property
    def takes_encoded(self) -> bool:
        """Whether the model takes the bytes of images."""
        return any(input_.source is Source.ENCODED for input_ in self.inputs)

    @property
    def pixels(self) -> ImageTensorSpec | None:
        """The pixels that the model takes of an image."""
        return next((input_.pixels for input_ in self.inputs if input_.pixels is not None), None)

    @property
    def max_rows(self) -> int:
        """Rows that the model is given at once: fewer where images make them heavy."""
        row_bytes = self.pixels.nbytes if self.pixels else 1
        if self.takes_encoded:
            row_bytes = max(row_bytes, DECODED_BYTES)
        return max(1, min(ROWS_PER_BATCH, CALL_BYTES // row_bytes))
