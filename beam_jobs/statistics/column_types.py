"""Which type each column of data without a schema has: a lattice that batches join in.

CSV cells are text, so a column is INT where every value reads as an integer, FLOAT where every
value reads as a number, else BYTES. Columns of other formats keep the types that they have.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as pt

from beam_jobs.batch import feature_names, readable
from beam_jobs.read.columns import reads_as
from beam_jobs.schema import Feature, FeatureType

_ORDER = (FeatureType.INT, FeatureType.FLOAT, FeatureType.BYTES)


@dataclass(frozen=True)
class ColumnType:
    """What the values seen so far allow.

    Attributes:
        type: the narrowest type of all values, None while all were missing.
        is_list: whether any value was a list.
    """

    type: FeatureType | None = None
    is_list: bool = False

    def join(self, other: "ColumnType") -> "ColumnType":
        """The narrowest type that takes both."""
        types = [t for t in (self.type, other.type) if t is not None]
        widest = max(types, key=_ORDER.index) if types else None
        return ColumnType(widest, self.is_list or other.is_list)


ColumnTypes = Mapping[str, ColumnType]


def column_types_of(batch: pa.RecordBatch, *, cells_are_text: bool) -> dict[str, ColumnType]:
    """{column: its type in this batch}, columns in the batch's order."""
    batch = readable(batch)
    return {
        name: _column_type(batch.column(batch.schema.get_field_index(name)), cells_are_text)
        for name in feature_names(batch)
    }


def _column_type(column: pa.Array, cells_are_text: bool) -> ColumnType:
    if pt.is_list(column.type):
        return ColumnType(_column_type(column.flatten(), cells_are_text).type, is_list=True)
    if column.null_count == len(column):
        return ColumnType()
    if pt.is_integer(column.type) or pt.is_boolean(column.type):
        return ColumnType(FeatureType.INT)
    if pt.is_floating(column.type):
        return ColumnType(FeatureType.FLOAT)
    if cells_are_text:
        for kind in (FeatureType.INT, FeatureType.FLOAT):
            if reads_as(column, kind):
                return ColumnType(kind)
    return ColumnType(FeatureType.BYTES)


def join(every: Iterable[ColumnTypes]) -> dict[str, ColumnType]:
    """The column types of all batches; columns in the order in which they first appear."""
    joined: dict[str, ColumnType] = {}
    for column_types in every:
        for name, column in column_types.items():
            joined[name] = joined.get(name, ColumnType()).join(column)
    return joined


def to_features(column_types: ColumnTypes) -> tuple[Feature, ...]:
    """The features; a column without any value is BYTES."""
    return tuple(
        Feature(name, column.type or FeatureType.BYTES, column.is_list)
        for name, column in column_types.items()
    )
