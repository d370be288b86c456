"""Row checks: a TFDV schema, compiled into vectorised checks of a batch.

What TFDV's `validate_instance` finds in one row, found in 32,768 at once. Two differences, both on
purpose: presence is required of a row only where the schema says min_fraction 1 (a lower fraction
or a min_count speaks of the data set, whose statistics are checked elsewhere), and a number that
is not finite is always a finding, not only under disallow_nan and disallow_inf.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.batch import (
    FINDINGS,
    Findings,
    Reason,
    column_or_none,
    rows_with,
    truncated,
    with_findings,
)
from beam_jobs.read.columns import parse
from beam_jobs.schema import SERVING, Feature, FeatureType, features_of, in_environment

_SHOWN_VALUES = 8

ValueCheck = Callable[[pa.Array], Sequence[tuple[Reason, npt.NDArray[np.bool_], str]]]
"""Values -> (reason, bool[n] where it applies, what was expected)."""


@dataclass(frozen=True)
class FeatureChecks:
    """What one feature's column must satisfy.

    Attributes:
        feature: the column.
        required: whether every row must have a value.
        min_count, max_count: values in a list; max_count 0 means no limit.
        values: checks of single values.
    """

    feature: Feature
    required: bool
    min_count: int
    max_count: int
    values: tuple[ValueCheck, ...]


RowChecks = tuple[FeatureChecks, ...]


def compile_checks(schema: schema_pb2.Schema, environment: str = SERVING) -> RowChecks:
    """The checks of the features that the environment expects.

    Raises:
        ValueError: the schema has a feature that cannot be a column.
    """
    protos = {feature.name: feature for feature in schema.feature}
    return tuple(
        _compile(schema, protos[feature.name], feature)
        for feature in features_of(schema)
        if in_environment(schema, protos[feature.name], environment)
    )


def check_rows(batch: pa.RecordBatch, checks: RowChecks) -> pa.RecordBatch:
    """The batch with a finding for each cell that violates the schema."""
    unreadable = rows_with(batch, frozenset({Reason.MALFORMED_RECORD}))
    explained = _explained(batch)
    found: list[Findings] = []
    for check in checks:
        column = column_or_none(batch, check.feature.name)
        if column is None:
            column = pa.nulls(batch.num_rows, check.feature.arrow)
        found += _check_column(column, check, unreadable, explained.get(check.feature.name))
    return with_findings(batch, found)


def _explained(batch: pa.RecordBatch) -> dict[str, npt.NDArray[np.bool_]]:
    """{feature: rows whose cell is null because the reader already found it wrong}."""
    findings = column_or_none(batch, FINDINGS)
    if findings is None or not len(findings.flatten()):
        return {}
    rows = np.asarray(pc.list_parent_indices(findings), dtype=np.int64)
    encoded = findings.flatten().field("feature").dictionary_encode()
    codes = np.asarray(encoded.indices.fill_null(-1))
    return {name: rows[codes == code] for code, name in enumerate(encoded.dictionary.to_pylist())}


def _check_column(
    column: pa.Array,
    check: FeatureChecks,
    unreadable: npt.NDArray[np.bool_],
    explained: npt.NDArray[np.bool_] | None,
) -> list[Findings]:
    name, found = check.feature.name, []
    if check.required and column.null_count:
        missing = np.asarray(column.is_null()) & ~unreadable
        if explained is not None:
            missing[explained] = False
        rows = np.flatnonzero(missing)
        found.append(Findings(Reason.MISSING_REQUIRED, rows, ["is missing"] * len(rows), name))
    if pt.is_list(column.type):
        found += _check_lengths(column, check)
        values, parents = column.flatten(), None
    else:
        values, parents = column, None
    for value_check in check.values:
        for reason, hit, expected in value_check(values):
            rows = np.flatnonzero(hit)
            if not len(rows):
                continue
            bad = values.take(pa.array(rows)).to_pylist()
            if pt.is_list(column.type):
                parents = np.asarray(pc.list_parent_indices(column), dtype=np.int64)
                rows = parents[rows]
            details = [f"{truncated(value)} {expected}" for value in bad]
            found.append(Findings(reason, rows, details, name))
    return found


def _check_lengths(column: pa.Array, check: FeatureChecks) -> list[Findings]:
    lengths = pc.list_value_length(column)
    counts = np.asarray(lengths.fill_null(max(check.min_count, 0)))
    wrong = counts < check.min_count
    if check.max_count:
        wrong |= counts > check.max_count
    wrong &= np.asarray(column.is_valid())
    rows = np.flatnonzero(wrong)
    upper = str(check.max_count) if check.max_count else "any number of"
    expected = f"expected {check.min_count} to {upper}"
    details = [f"{counts[row]} values, {expected}" for row in rows]
    return [Findings(Reason.INVALID_VALUE_COUNT, rows, details, check.feature.name)]


def _compile(
    schema: schema_pb2.Schema, proto: schema_pb2.Feature, feature: Feature
) -> FeatureChecks:
    checks: list[ValueCheck] = []
    if feature.type is FeatureType.FLOAT:
        checks.append(_not_finite)
    kind = proto.WhichOneof("domain_info")
    if kind == "int_domain":
        domain = proto.int_domain
        lowest = domain.min if domain.HasField("min") else None
        highest = domain.max if domain.HasField("max") else None
        checks += _limits(feature, FeatureType.INT, lowest, highest)
    elif kind == "float_domain":
        domain = proto.float_domain
        lowest = domain.min if domain.HasField("min") else None
        highest = domain.max if domain.HasField("max") else None
        checks += _limits(feature, FeatureType.FLOAT, lowest, highest)
    elif kind == "bool_domain":
        if feature.type is FeatureType.BYTES:
            domain = proto.bool_domain
            checks.append(_Among([domain.true_value or "true", domain.false_value or "false"]))
        else:
            checks.append(_Within(0, 1))
    elif (values := string_domain(schema, proto)) is not None:
        checks.append(_Among(values))
    lowest_count, highest_count = _value_counts(proto)
    return FeatureChecks(
        feature, proto.presence.min_fraction >= 1, lowest_count, highest_count, tuple(checks)
    )


def _limits(
    feature: Feature, numbers: FeatureType, lowest: float | None, highest: float | None
) -> list[ValueCheck]:
    """The check of a domain of numbers; none where it has no limits, as TFDV infers it."""
    if lowest is None and highest is None:
        return []
    within = _Within(lowest, highest)
    return [_TextsWithin(numbers, within) if feature.type is FeatureType.BYTES else within]


def string_domain(schema: schema_pb2.Schema, proto: schema_pb2.Feature) -> list[str] | None:
    """The values of a feature's string domain, its own or one of the schema's by name."""
    if proto.WhichOneof("domain_info") == "string_domain":
        return list(proto.string_domain.value)
    if proto.WhichOneof("domain_info") == "domain":
        named = {domain.name: domain for domain in schema.string_domain}
        if proto.domain in named:
            return list(named[proto.domain].value)
    return None


def _value_counts(proto: schema_pb2.Feature) -> tuple[int, int]:
    kind = proto.WhichOneof("shape_type")
    if kind == "value_count":
        return proto.value_count.min, proto.value_count.max
    if kind == "shape":
        size = int(np.prod([dim.size for dim in proto.shape.dim], dtype=np.int64))
        return size, size
    return 0, 0


def _not_finite(values: pa.Array) -> Sequence[tuple[Reason, npt.NDArray[np.bool_], str]]:
    finite = pc.is_finite(values)
    if pc.all(finite).as_py() is not False:
        return ()
    hit = ~np.asarray(finite.fill_null(True))
    return ((Reason.NOT_FINITE, hit, "is not a finite number"),)


@dataclass(frozen=True)
class _Within:
    """min <= value <= max, either may be absent; what is not finite is another check's."""

    lowest: float | None
    highest: float | None

    def __call__(self, values: pa.Array) -> Sequence[tuple[Reason, npt.NDArray[np.bool_], str]]:
        found = []
        extremes = pc.min_max(values)
        if self.lowest is not None and not _holds(extremes["min"].as_py(), ">=", self.lowest):
            hit = np.asarray(pc.less(values, self.lowest).fill_null(False))
            found.append((Reason.OUT_OF_RANGE, hit, f"is below the minimum {self.lowest}"))
        if self.highest is not None and not _holds(extremes["max"].as_py(), "<=", self.highest):
            hit = np.asarray(pc.greater(values, self.highest).fill_null(False))
            found.append((Reason.OUT_OF_RANGE, hit, f"is above the maximum {self.highest}"))
        return found


@dataclass(frozen=True)
class _TextsWithin:
    """Texts that are numbers within limits, as TFDV takes a domain of numbers for texts."""

    numbers: FeatureType
    within: _Within

    def __call__(self, values: pa.Array) -> Sequence[tuple[Reason, npt.NDArray[np.bool_], str]]:
        parsed, _ = parse(values, Feature("", self.numbers), empty_is_missing=False)
        hit = np.asarray(parsed.is_null()) & np.asarray(values.is_valid())
        what = "an INT" if self.numbers is FeatureType.INT else "a finite number"
        return [(Reason.INVALID_TYPE, hit, f"is not {what}"), *self.within(parsed)]


def _holds(value: float | None, relation: str, limit: float) -> bool:
    if value is None:
        return True
    return value >= limit if relation == ">=" else value <= limit


class _Among:
    """The value is one of a domain's."""

    def __init__(self, domain: Sequence[str]) -> None:
        self.domain = pa.array(domain, pa.string())
        some = ", ".join(domain[:_SHOWN_VALUES]) + (", ..." if len(domain) > _SHOWN_VALUES else "")
        self.expected = f"is not in the domain ({some})"

    def __call__(self, values: pa.Array) -> Sequence[tuple[Reason, npt.NDArray[np.bool_], str]]:
        known = pc.is_in(values, value_set=self.domain)
        present = pc.or_(known, pc.is_null(values))
        if pc.all(present).as_py() is not False:
            return ()
        return ((Reason.OUT_OF_DOMAIN, ~np.asarray(present), self.expected),)
