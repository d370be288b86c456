"""Which feature feeds which input, and which output is the score; decided before any work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.errors import UsageError
from beam_jobs.features import SERVING, Feature, FeatureType, features_of, in_environment
from beam_jobs.score.signature import DType, Signature, SignatureKind, TensorInfo

Default = int | float | bytes

_ACCEPTED: Mapping[FeatureType, frozenset[str]] = {
    FeatureType.INT: frozenset(d.value for d in DType if d is not DType.STRING),
    FeatureType.FLOAT: frozenset({DType.FLOAT32.value, DType.FLOAT64.value}),
    FeatureType.BYTES: frozenset({DType.STRING.value, DType.BOOL.value}),
}
"""Integers widen to floats and, as 0 and 1, to booleans; the texts true and false too."""

_SCORE_NAMES = ("score", "scores", "probability", "probabilities", "predictions", "logistic")
"""Outputs that are the score where there are several, the first of these that exists."""


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
    """

    name: str
    feature: Feature
    dtype: DType
    shape: tuple[int, ...]
    default: Default | None
    required: bool = True


@dataclass(frozen=True)
class InputPlan:
    """How batches are given to a signature and which of its numbers is the score.

    Attributes:
        signature: of the model.
        feeds: one an input; of a signature that takes tf.Example, one a feature in it.
        score_output, score_index: name of the output, and the column of it.
    """

    signature: Signature
    feeds: tuple[Feed, ...]
    score_output: str
    score_index: int

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that the model uses."""
        return tuple(feed.feature.name for feed in self.feeds)


def fit(
    signature: Signature, schema: schema_pb2.Schema, label: str | None, score: str | None
) -> InputPlan:
    """Fits a schema's features to a signature's inputs.

    Args:
        signature: of the model.
        schema: the features that it expects in SERVING may feed inputs.
        label: never given to the model.
        score: OUTPUT or OUTPUT:INDEX, None to choose by the rules in docs/models.md.

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
    defaults = _defaults(schema)
    if signature.kind is SignatureKind.EXAMPLES:
        feeds = [_example_feed(feature, defaults.get(name)) for name, feature in features.items()]
    else:
        feeds = _raw_feeds(signature, features, defaults, label)
    output, index = _choose_score(signature.outputs, score)
    return InputPlan(signature, tuple(feeds), output, index)


def _raw_feeds(
    signature: Signature,
    features: Mapping[str, Feature],
    defaults: Mapping[str, Default],
    label: str | None,
) -> list[Feed]:
    feeds, problems = [], []
    for tensor in signature.inputs:
        feature = features.get(tensor.name)
        if feature is None:
            why = (
                "is the label, which the model never gets" if tensor.name == label else "is absent"
            )
            problems.append(f"input {tensor}, but in the schema {tensor.name!r} {why}")
        elif tensor.dtype not in _ACCEPTED[feature.type] or not _shape_fits(tensor, feature):
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


def _shape_fits(tensor: TensorInfo, feature: Feature) -> bool:
    if tensor.shape is None:
        return not feature.is_list
    if not 1 <= len(tensor.shape) <= 2 or tensor.shape[0] is not None or tensor.width is None:
        return False
    return feature.is_list or tensor.width == 1


def _example_feed(feature: Feature, default: Default | None) -> Feed:
    dtype = {"INT": DType.INT64, "FLOAT": DType.FLOAT32, "BYTES": DType.STRING}[feature.type.value]
    return Feed(feature.name, feature, dtype, (), default, required=False)


def _defaults(schema: schema_pb2.Schema) -> dict[str, Default]:
    """{feature: default_value of its tensor representation}, where it has one.

    Source: `schema.proto`, `TensorRepresentation.DenseTensor.default_value`.
    """
    defaults: dict[str, Default] = {}
    for group in schema.tensor_representation_group.values():
        for name, representation in group.tensor_representation.items():
            if representation.WhichOneof("kind") != "dense_tensor":
                continue
            tensor = representation.dense_tensor
            kind = tensor.default_value.WhichOneof("kind")
            if kind in ("int_value", "float_value", "bytes_value"):
                column = tensor.column_name or name
                defaults.setdefault(column, getattr(tensor.default_value, kind))
    return defaults


def _choose_score(outputs: Sequence[TensorInfo], chosen: str | None) -> tuple[str, int]:
    listed = ", ".join(str(output) for output in outputs)
    by_name = {output.name: output for output in outputs}
    if chosen is None:
        numeric = [o for o in outputs if o.dtype != DType.STRING.value]
        named = [by_name[name] for name in _SCORE_NAMES if name in by_name]
        candidates = numeric if len(numeric) == 1 else named
        if not candidates:
            raise UsageError(f"--score: name the output that is the score; there are {listed}")
        output, index = candidates[0], None
    else:
        name, _, text = chosen.partition(":")
        if name not in by_name or (text and not text.isdigit()):
            raise UsageError(f"--score {chosen}: no such output; there are {listed}")
        output, index = by_name[name], int(text) if text else None
    if output.dtype == DType.STRING.value:
        raise UsageError(f"--score {output.name}: is text, not a number; there are {listed}")
    if index is None:
        if output.width is not None and output.width > 2:
            raise UsageError(
                f"--score: output {output} has {output.width} columns; choose one, for example"
                f" --score {output.name}:1"
            )
        # Of two classes the second is the positive one; unknown widths are seen when scoring.
        index = 1 if output.width == 2 else 0
    elif output.width is not None and index >= output.width:
        raise UsageError(f"--score {chosen}: output {output} has no column {index}")
    return output.name, index
