"""Which features a serialized tf.Example holds, and whether the model can parse it."""

import math
from collections.abc import Mapping

from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.config.flags import nearest
from beam_jobs.errors import UsageError
from beam_jobs.models.evidence import ParsedFeature
from beam_jobs.models.signature import DType, Signature
from beam_jobs.schema import Feature, FeatureType
from beam_jobs.score.defaults import Default
from beam_jobs.score.signature_binding import InputBinding, ModelImages, Source

_DTYPES = {
    FeatureType.INT: DType.INT64,
    FeatureType.FLOAT: DType.FLOAT32,
    FeatureType.BYTES: DType.STRING,
}
"""The three kinds of values of a tf.Example."""


def example_bindings(
    signature: Signature,
    features: Mapping[str, Feature],
    protos: Mapping[str, schema_pb2.Feature],
    left_out: Mapping[str, str],
    defaults: Mapping[str, Default],
    images: ModelImages | None,
) -> tuple[list[InputBinding], list[str]]:
    """The features that the model parses, or all where the graph does not tell; and notes.

    Args:
        signature: takes serialized tf.Examples.
        features: that may be given.
        protos: of all features of the schema.
        left_out: why others may not be given.
        defaults: of the schema.
        images: None where rows come without.

    Raises:
        UsageError: what makes the parsing of every row fail: a feature that the model requires and
            does not get, or of another type, or of another number of values.
    """
    parsed = signature.evidence.parsed
    if parsed is None:
        return [_binding(f, defaults.get(name), images) for name, f in features.items()], []
    problems, unknown = [], []
    for wanted in parsed:
        feature = features.get(wanted.name)
        if feature is not None:
            problems += _misfit(wanted, feature, protos[wanted.name], images)
            continue
        why = left_out.get(wanted.name) or f"is absent{nearest(wanted.name, features)}"
        if wanted.is_required:
            problems.append(
                f"the model requires {wanted.name} ({_DTYPES[wanted.type].value}), but in the"
                f" schema {wanted.name!r} {why}"
            )
        elif wanted.name not in left_out:
            unknown.append(f"{wanted.name!r} {why}")
    if problems:
        raise UsageError(
            f"--model: signature {signature.name!r} would fail on every row: {'; '.join(problems)};"
            " correct the schema, or export the model again"
        )
    names = {wanted.name for wanted in parsed}
    inputs = [
        _binding(f, defaults.get(name), images) for name, f in features.items() if name in names
    ]
    if not unknown:
        return inputs, []
    return inputs, [
        f"the model parses features that the schema lacks, and takes its own defaults: in the"
        f" schema {', '.join(unknown)}"
    ]


def _misfit(
    wanted: ParsedFeature,
    feature: Feature,
    proto: schema_pb2.Feature,
    images: ModelImages | None,
) -> list[str]:
    """Why the model fails on every row with a value."""
    if wanted.type is not feature.type:
        return [
            f"feature {feature.name} is {feature.type.value} in the schema, but the model parses"
            f" it as {_DTYPES[wanted.type].value} ({wanted.type.value})"
        ]
    if wanted.count is None or (images is not None and feature.name == images.column):
        return []
    low, high = _counts(feature, proto)
    if low <= wanted.count <= high:
        return []
    allowed = f"{low}" if low == high else f"{low} to {'any' if high == math.inf else int(high)}"
    return [
        f"feature {feature.name} has {allowed} values a row in the schema, but the model parses"
        f" exactly {wanted.count}"
    ]


def _counts(feature: Feature, proto: schema_pb2.Feature) -> tuple[int, float]:
    """(fewest, most) values of a row that has any."""
    if not feature.is_list:
        return 1, 1
    if proto.WhichOneof("shape_type") == "shape":
        size = math.prod(int(dim.size) for dim in proto.shape.dim)
        return size, size
    return int(proto.value_count.min), int(proto.value_count.max) or math.inf


def _binding(feature: Feature, default: Default | None, images: ModelImages | None) -> InputBinding:
    if images is not None and feature.name == images.column:
        return InputBinding(
            feature.name, feature, DType.STRING, (), None, required=False, source=Source.ENCODED
        )
    return InputBinding(feature.name, feature, _DTYPES[feature.type], (), default, required=False)
