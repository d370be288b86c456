"""What the schema says for rows without a value, and for what is true."""

from collections.abc import Iterable

import numpy as np
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.errors import UsageError
from beam_jobs.models.signature import DType
from beam_jobs.schema import Feature, FeatureType

Default = int | float | str

_INT64 = np.iinfo(np.int64)
_INT32 = np.iinfo(np.int32)


def defaults_of(schema: schema_pb2.Schema, features: Iterable[Feature]) -> dict[str, Default]:
    """{feature: default_value of its tensor representation}, where it has one.

    Source: `schema.proto`, `TensorRepresentation.DenseTensor.default_value`.

    Raises:
        UsageError: a default that is no value of its feature's type.
    """
    types = {feature.name: feature.type for feature in features}
    defaults: dict[str, Default] = {}
    for group in schema.tensor_representation_group.values():
        for name, representation in group.tensor_representation.items():
            if representation.WhichOneof("kind") != "dense_tensor":
                continue
            tensor = representation.dense_tensor
            column = tensor.column_name or name
            kind = tensor.default_value.WhichOneof("kind")
            if kind is not None and column in types and column not in defaults:
                value = getattr(tensor.default_value, kind)
                defaults[column] = _typed(column, value, types[column])
    return defaults


def _typed(name: str, value: int | float | bytes, kind: FeatureType) -> Default:
    """The default as a value of the feature's type; a float without fraction may be an INT."""
    if kind is FeatureType.BYTES and isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise UsageError(
                f"--schema: default_value {value!r} of feature {name!r} is not UTF-8"
            ) from error
    if kind is FeatureType.FLOAT and isinstance(value, int | float):
        return float(value)
    is_whole = isinstance(value, int | float) and _INT64.min <= value <= _INT64.max
    if kind is FeatureType.INT and is_whole and value == int(value):
        return int(value)
    raise UsageError(
        f"--schema: default_value {value!r} of feature {name!r} is no {kind.value}, the"
        " feature's type"
    )


def check_default(name: str, default: Default, dtype: DType, truth: tuple[str, str]) -> None:
    """Raises UsageError where a default of the feature's type cannot feed the model's tensor."""
    domain: tuple[Default, ...] = truth if isinstance(default, str) else (0, 1)
    if dtype is DType.BOOL and default not in domain:
        expected = f"a boolean ({domain[0]!r} or {domain[1]!r})"
    elif dtype is DType.INT32 and not _INT32.min <= int(default) <= _INT32.max:
        expected = "an int32"
    else:
        return
    raise UsageError(
        f"--schema: default_value {default!r} of feature {name!r} is not {expected}, which is"
        " what the model takes"
    )


def truth_of(proto: schema_pb2.Feature) -> tuple[str, str]:
    """The texts of a feature that mean true and false.

    Source: `schema.proto`, `BoolDomain.true_value`, `BoolDomain.false_value`.
    """
    domain = proto.bool_domain
    return domain.true_value or "true", domain.false_value or "false"
