"""Slices: rows with one value of a feature. A domain bounds how many there are."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.errors import UsageError
from beam_jobs.validation.rows import string_domain

ALL = "all"
MAX_VALUES = 100


def slice_values(schema: schema_pb2.Schema, name: str) -> list[str] | list[int]:
    """The values of a feature's domain, in its order.

    Raises:
        UsageError: there is no such feature, or no domain that bounds the number of slices.
    """
    found = [feature for feature in schema.feature if feature.name == name]
    if not found:
        known = ", ".join(feature.name for feature in schema.feature)
        raise UsageError(f"--slice {name}: not in the schema; its features are {known}")
    feature = found[0]
    values: list[str] | list[int] | None = string_domain(schema, feature)
    if feature.WhichOneof("domain_info") == "bool_domain":
        domain = feature.bool_domain
        texts = [domain.true_value or "true", domain.false_value or "false"]
        values = texts if feature.type == schema_pb2.BYTES else [0, 1]
    elif feature.WhichOneof("domain_info") == "int_domain":
        limits = feature.int_domain
        if limits.HasField("min") and limits.HasField("max"):
            values = list(range(limits.min, min(limits.max, limits.min + MAX_VALUES) + 1))
    if not values or len(values) > MAX_VALUES:
        raise UsageError(
            f"--slice {name}: needs a domain of at most {MAX_VALUES} values in the schema, so that"
            " the number of slices is bounded; give it a string_domain, or min and max"
        )
    return values


def check_slices(schema: schema_pb2.Schema, names: Sequence[str]) -> None:
    """Raises UsageError where a feature cannot be sliced by."""
    for name in names:
        slice_values(schema, name)


def slices_of(
    batch: pa.RecordBatch, names: Sequence[str], values: Sequence[Sequence[str] | Sequence[int]]
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """(`feature=value`, its rows) of a batch of list columns, slices without rows left out."""
    for name, domain in zip(names, values, strict=True):
        position = batch.schema.get_field_index(name)
        if position < 0:
            continue
        first = pc.list_element(_never_empty(batch.column(position)), 0)
        for value in domain:
            wanted = value.encode() if isinstance(value, str) else value
            hit = pc.equal(first, pa.scalar(wanted, first.type)).fill_null(False)
            if pc.any(hit).as_py():
                yield f"{name}={value}", batch.filter(hit)


def _never_empty(column: pa.ListArray) -> pa.ListArray:
    empty = pc.equal(pc.list_value_length(column), 0)
    return pc.if_else(empty, pa.scalar(None, column.type), column)
