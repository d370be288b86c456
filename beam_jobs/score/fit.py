"""Which feature feeds which input, and which output is the score; decided before any work."""

import dataclasses
import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.errors import UsageError
from beam_jobs.features import SERVING, Feature, FeatureType, features_of, in_environment
from beam_jobs.flags import nearest
from beam_jobs.images.table import NAMES as IMAGE_NAMES
from beam_jobs.images.tensor_options import ImageTensorOptions, ImageTensorSpec, tensor_spec
from beam_jobs.records import ROWS_PER_BATCH
from beam_jobs.score.defaults import Default, check_default, defaults_of, truth_of
from beam_jobs.score.signature import DType, Signature, SignatureKind, TensorInfo

_ACCEPTED: Mapping[FeatureType, frozenset[str]] = {
    FeatureType.INT: frozenset(d.value for d in DType if d not in (DType.STRING, DType.UINT8)),
    FeatureType.FLOAT: frozenset({DType.FLOAT32.value, DType.FLOAT64.value}),
    FeatureType.BYTES: frozenset({DType.STRING.value, DType.BOOL.value}),
}
"""Integers widen to floats and, as 0 and 1, to booleans; the texts true and false too."""

_IMAGE_RANK = 4  # [n, h, w, c]

_SCORE_NAMES = ("score", "scores", "probability", "probabilities", "predictions", "logistic")
"""Outputs that are the score where there are several, the first of these that exists."""

CALL_BYTES = 32 << 20
"""Of images in one call of the model."""

DECODED_BYTES = 256 << 10
"""What a model is taken to make of an encoded image: 150 KB are 224 x 224 pixels in three bytes."""

_NUMBERS = ("float", "bfloat", "int", "uint", "bool")
"""How the names of types begin whose values are real numbers."""


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
class Feed:
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
        pixels: what a PIXELS feed takes.
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
class InputPlan:
    """How batches are given to a signature and which of its numbers is the score.

    Attributes:
        signature: of the model.
        feeds: one an input; of a signature that takes tf.Example, one a feature in it.
        score_output, score_index: name of the output, and the column of it; None where only the
            model's answer tells how many columns there are.
    """

    signature: Signature
    feeds: tuple[Feed, ...]
    score_output: str
    score_index: int | None

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that the model uses; what describes an image that it takes too."""
        names = {feed.feature.name: None for feed in self.feeds}
        if any(feed.source is not Source.VALUE for feed in self.feeds):
            names |= dict.fromkeys(sorted(IMAGE_NAMES))
        return tuple(names)

    @property
    def takes_encoded(self) -> bool:
        """Whether the model takes the bytes of images."""
        return any(feed.source is Source.ENCODED for feed in self.feeds)

    @property
    def pixels(self) -> ImageTensorSpec | None:
        """The pixels that the model takes of an image."""
        return next((feed.pixels for feed in self.feeds if feed.pixels is not None), None)

    @property
    def max_rows(self) -> int:
        """Rows that the model is given at once: fewer where images make them heavy."""
        row_bytes = self.pixels.nbytes if self.pixels else 1
        if self.takes_encoded:
            row_bytes = max(row_bytes, DECODED_BYTES)
        return max(1, min(ROWS_PER_BATCH, CALL_BYTES // row_bytes))


def fit(
    signature: Signature,
    schema: schema_pb2.Schema,
    label: str | None,
    score: str | None,
    images: ModelImages | None = None,
) -> InputPlan:
    """Fits a schema's features to a signature's inputs.

    Args:
        signature: of the model.
        schema: the features that it expects in SERVING may feed inputs.
        label: never given to the model.
        score: OUTPUT or OUTPUT:INDEX, None to choose by the rules in docs/models.md.
        images: None where rows come without images.

    Raises:
        UsageError: all inputs that do not fit, with names and types on both sides; or an output
            that does not exist, or must be chosen.
    """
    protos = {feature.name: feature for feature in schema.feature}
    features = {
        feature.name: feature
        for feature in features_of(schema)
        if feature.name != label and in_environment(schema, protos[feature.name], SERVING)
    }
    if signature.kind is SignatureKind.EXAMPLES and signature.inputs[0].name in features:
        # A text of that name is in the data, so the input only sounds like a tf.Example.
        signature = dataclasses.replace(signature, kind=SignatureKind.RAW)
    defaults = defaults_of(schema, features.values())
    if images is None:
        # A name is no image: what the schema says is one has nothing to feed a model with.
        unfed = {f.name for f in schema.feature if f.WhichOneof("domain_info") == "image_domain"}
    else:
        unfed = set()
    if signature.kind is SignatureKind.EXAMPLES:
        feeds = [
            _example_feed(feature, defaults.get(name), images)
            for name, feature in features.items()
            if name not in unfed
        ]
    else:
        known = {name: _why_absent(name, protos, label) for name in protos if name not in features}
        feeds = _raw_feeds(signature, features, known, defaults, images, unfed)
        feeds = [_with_truth(feed, protos[feed.feature.name]) for feed in feeds]
    _check_outputs(signature)
    output, index = _choose_score(signature.outputs, score)
    return InputPlan(signature, tuple(feeds), output, index)


def _why_absent(name: str, protos: Mapping[str, schema_pb2.Feature], label: str | None) -> str:
    if name == label:
        return "is the label, which the model never gets"
    stage = schema_pb2.LifecycleStage.Name(protos[name].lifecycle_stage)
    if stage in ("DEPRECATED", "DISABLED"):
        return f"is {stage}"
    return f"is not expected in the environment {SERVING}"


def _raw_feeds(
    signature: Signature,
    features: Mapping[str, Feature],
    left_out: Mapping[str, str],
    defaults: Mapping[str, Default],
    images: ModelImages | None,
    unfed: Collection[str],
) -> list[Feed]:
    feeds, problems = [], []
    of_image = _image_input(signature, features, images, unfed)
    for tensor in signature.inputs:
        feature = features.get(tensor.name)
        if tensor is of_image:
            assert images is not None
            feeds.append(_image_feed(tensor, features[images.column], images))
        elif feature is None:
            why = left_out.get(tensor.name) or f"is absent{nearest(tensor.name, features)}"
            problems.append(f"input {tensor}, but in the schema {tensor.name!r} {why}")
        elif (shape_problem := _shape_problem(tensor)) is not None:
            problems.append(f"input {tensor} {shape_problem}")
        elif tensor.dtype not in _ACCEPTED[feature.type] or not _width_fits(tensor, feature):
            many = " list" if feature.is_list else ""
            problems.append(f"input {tensor}, but in the schema {feature.type.value}{many}")
        else:
            shape = () if tensor.shape is None or len(tensor.shape) < 2 else (tensor.width or 1,)
            default = defaults.get(feature.name)
            feeds.append(Feed(tensor.name, feature, DType(tensor.dtype), shape, default))
    if problems:
        raise UsageError(
            f"--model: signature {signature.name!r} does not fit the schema:"
            f" {'; '.join(problems)}; the schema's features are"
            f" {', '.join(f'{f.name} {f.type.value}' for f in features.values())}"
        )
    return feeds


def _image_input(
    signature: Signature,
    features: Mapping[str, Feature],
    images: ModelImages | None,
    unfed: Collection[str],
) -> TensorInfo | None:
    """The input that takes the image: of pixels by its shape; of bytes, a text by the name of the
    image's column or, where no text has that name, the only one that no feature has.

    Raises:
        UsageError: there is one and no image to feed it, or there are several.
    """
    pixels = [t for t in signature.inputs if t.shape is not None and len(t.shape) == _IMAGE_RANK]
    texts = [t for t in signature.inputs if t.dtype == DType.STRING.value]
    column = images.column if images is not None and images.column in features else None
    named = [t for t in texts if t.name == column or t.name in unfed]
    found = pixels + named
    if images is None:
        if found:
            raise UsageError(
                f"--model: signature {signature.name!r} takes an image, input {found[0]}; say"
                " where images lie with --images"
            )
        return None
    left_over = [t for t in texts if t.name not in features]
    if not found and len(left_over) == 1:
        found = left_over
    if found and column is None:
        raise UsageError(
            f"--model: signature {signature.name!r} takes an image, input {found[0]}, but"
            f" {images.column!r}, which names images, is no feature that the schema expects in"
            f" the environment {SERVING}"
        )
    if len(found) > 1:
        raise UsageError(
            f"--model: signature {signature.name!r} takes {len(found)} images:"
            f" {'; '.join(map(str, found))}; a row has one, {images.column!r}"
        )
    return found[0] if found else None


def _image_feed(tensor: TensorInfo, feature: Feature, images: ModelImages) -> Feed:
    where = f"--model: input {tensor}"
    if tensor.shape is not None and len(tensor.shape) == _IMAGE_RANK:
        spec = tensor_spec(tensor.shape, tensor.dtype, images.options, f"{where} ({images.where})")
        problem = _rows_problem(tensor)
        shape: tuple[int, ...] = (spec.height, spec.width, spec.channels)
        feed = Feed(tensor.name, feature, DType(tensor.dtype), shape, None, True)
        feed = dataclasses.replace(feed, source=Source.PIXELS, pixels=spec)
    else:
        problem = _shape_problem(tensor)
        if problem is None and tensor.width not in (1, None):
            problem = "takes several texts a row; a row has one image"
        shape = () if tensor.shape is None or len(tensor.shape) < 2 else (1,)
        feed = Feed(tensor.name, feature, DType.STRING, shape, None, source=Source.ENCODED)
    if problem is not None:
        raise UsageError(f"{where} {problem}")
    return feed


def _rows_problem(tensor: TensorInfo) -> str | None:
    if tensor.shape is not None and tensor.shape[0] is not None:
        return f"takes exactly {tensor.shape[0]} rows at a time; export it with None for the rows"
    return None


def _shape_problem(tensor: TensorInfo) -> str | None:
    """Why no feature of any type could feed such a tensor; None where one could."""
    if tensor.shape is None:
        return None
    if not 1 <= len(tensor.shape) <= 2:
        return f"has {len(tensor.shape)} dimensions; a row can be a value or a list of values"
    if (problem := _rows_problem(tensor)) is not None:
        return problem
    if tensor.width is None:
        return "does not say how many values a row has; export it with their number"
    return None


def _width_fits(tensor: TensorInfo, feature: Feature) -> bool:
    if tensor.shape is None:
        return not feature.is_list
    return feature.is_list or tensor.width == 1


def _with_truth(feed: Feed, proto: schema_pb2.Feature) -> Feed:
    """The feed with the schema's own words for true and false, its default proven to fit."""
    feed = dataclasses.replace(feed, truth=truth_of(proto))
    if feed.default is not None:
        check_default(feed.feature.name, feed.default, feed.dtype, feed.truth)
    return feed


def _example_feed(feature: Feature, default: Default | None, images: ModelImages | None) -> Feed:
    if images is not None and feature.name == images.column:
        return Feed(
            feature.name, feature, DType.STRING, (), None, required=False, source=Source.ENCODED
        )
    dtype = {"INT": DType.INT64, "FLOAT": DType.FLOAT32, "BYTES": DType.STRING}[feature.type.value]
    return Feed(feature.name, feature, dtype, (), default, required=False)


def _check_outputs(signature: Signature) -> None:
    """All outputs are kept beside the score, as numbers and texts."""
    for output in signature.outputs:
        if output.dtype != DType.STRING.value and not _is_number(output):
            raise UsageError(
                f"--model: signature {signature.name!r} gives output {output}; an output must be"
                " real numbers, booleans or text"
            )


def _choose_score(outputs: Sequence[TensorInfo], chosen: str | None) -> tuple[str, int | None]:
    listed = ", ".join(str(output) for output in outputs)
    by_name = {output.name: output for output in outputs}
    if chosen is None:
        numeric = [output for output in outputs if _is_number(output)]
        named = [by_name[name] for name in _SCORE_NAMES if name in by_name]
        candidates = numeric if len(numeric) == 1 else named
        if not candidates:
            raise UsageError(f"--score: name the output that is the score; there are {listed}")
        output, index = candidates[0], None
    else:
        name, _, text = chosen.partition(":")
        if name not in by_name or (text and not text.isdecimal()):
            raise UsageError(
                f"--score {chosen}: no such output; there are {listed}{nearest(name, by_name)}"
            )
        output, index = by_name[name], int(text) if text else None
    if output.dtype == DType.STRING.value:
        raise UsageError(f"--score {output.name}: is text, not a number; there are {listed}")
    if output.shape is not None and not 1 <= len(output.shape) <= 2:
        raise UsageError(
            f"--score: output {output} has {len(output.shape)} dimensions; a score is one number"
            " a row, [None] or a column of [None, k]"
        )
    if index is None:
        return output.name, _positive(output)
    if output.width is not None and index >= output.width:
        raise UsageError(f"--score {chosen}: output {output} has no column {index}")
    return output.name, index


def _positive(output: TensorInfo) -> int | None:
    """The column of the score where none was named; None where their number is not known yet."""
    if output.width is None:
        return None
    try:
        return positive_column(output.width)
    except ValueError:
        raise UsageError(
            f"--score: output {output} has {output.width} columns; choose one, for example"
            f" --score {output.name}:1"
        ) from None


def positive_column(width: int) -> int:
    """The only column; of two classes the second, which is the positive one.

    Raises:
        ValueError: of more columns one must be chosen.
    """
    if width not in (1, 2):
        raise ValueError(f"{width} columns")
    return width - 1


def _is_number(output: TensorInfo) -> bool:
    return output.dtype.startswith(_NUMBERS)
