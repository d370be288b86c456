"""The TFDV schema as the stages need it: one `Feature` a column.

Light on purpose: only the schema protocol buffers are imported, so that planning stays quick.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs import storage
from beam_jobs.batch import RESERVED_PREFIX
from beam_jobs.errors import UsageError

SERVING = "SERVING"
TRAINING = "TRAINING"


class FeatureType(str, enum.Enum):
    """The three value types of a TFDV schema."""

    INT = "INT"
    FLOAT = "FLOAT"
    BYTES = "BYTES"

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type of its values."""
        return {"INT": pa.int64(), "FLOAT": pa.float64(), "BYTES": pa.string()}[self.value]


@dataclass(frozen=True)
class Feature:
    """A column of the data.

    Attributes:
        name: as in the schema and in the data.
        type: INT, FLOAT or BYTES.
        is_list: whether a row may hold several values (the column is then a list column).
    """

    name: str
    type: FeatureType
    is_list: bool = False

    @property
    def is_text(self) -> bool:
        """Whether a row holds one text."""
        return self.type is FeatureType.BYTES and not self.is_list

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type of its values."""
        return pa.list_(self.type.arrow) if self.is_list else self.type.arrow


def load_schema(uri: str, flag: str = "--schema") -> schema_pb2.Schema:
    """Reads a schema text proto.

    Raises:
        UsageError: missing, not a schema, or holding what rows cannot be checked against.
    """
    try:
        text = storage.read_bytes(uri).decode()
    except OSError as error:
        raise UsageError(f"{flag} {uri}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{flag} {uri}: is not text; expected a TFDV schema (.pbtxt)") from error
    schema = schema_pb2.Schema()
    try:
        text_format.Parse(text, schema)
    except text_format.ParseError as error:
        raise UsageError(f"{flag} {uri}: is not a TFDV schema: line {error}") from error
    if not schema.feature:
        raise UsageError(f"{flag} {uri}: has no feature; `beam-jobs baseline` infers a schema")
    try:
        features_of(schema)
    except ValueError as error:
        raise UsageError(f"{flag} {uri}: {error}") from error
    return schema


def features_of(schema: schema_pb2.Schema) -> tuple[Feature, ...]:
    """The features in the schema's order, deprecated ones left out.

    Raises:
        ValueError: a feature is a STRUCT, has no type, or a name that is reserved or used twice.
    """
    features = [_feature(feature) for feature in schema.feature if not _is_deprecated(feature)]
    names = [feature.name for feature in features]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"feature {twice[0]!r} is defined twice")
    return tuple(features)


def _feature(feature: schema_pb2.Feature) -> Feature:
    if feature.name.startswith(RESERVED_PREFIX):
        raise ValueError(f"feature {feature.name!r}: names with {RESERVED_PREFIX!r} are reserved")
    try:
        kind = FeatureType(schema_pb2.FeatureType.Name(feature.type))
    except ValueError:
        raise ValueError(
            f"feature {feature.name!r} has type {schema_pb2.FeatureType.Name(feature.type)};"
            " only INT, FLOAT and BYTES columns can be checked"
        ) from None
    return Feature(feature.name, kind, _is_list(feature))


def _is_list(feature: schema_pb2.Feature) -> bool:
    shape = feature.WhichOneof("shape_type")
    if shape == "value_count":
        # min alone (max 0) means "no upper bound" in TFDV.
        return bool(feature.value_count.max != 1)
    if shape == "shape":
        sizes = [dim.size for dim in feature.shape.dim]
        return bool(sizes) and sizes != [1]
    return False


def _is_deprecated(feature: schema_pb2.Feature) -> bool:
    return feature.lifecycle_stage in (schema_pb2.DEPRECATED, schema_pb2.DISABLED)


def in_environment(
    schema: schema_pb2.Schema, feature: schema_pb2.Feature, environment: str
) -> bool:
    """Whether TFDV expects the feature in that environment.

    Source: `schema.proto`, `default_environment`, `in_environment`, `not_in_environment`.
    """
    if environment in feature.not_in_environment:
        return False
    return (
        environment in feature.in_environment
        or environment in schema.default_environment
        or (not schema.default_environment and not feature.in_environment)
    )


def names(features: Sequence[Feature]) -> list[str]:
    """Of features, in their order."""
    return [feature.name for feature in features]
