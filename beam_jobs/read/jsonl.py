"""Blocks of JSON Lines -> columns.

Arrow parses a whole block at once, but is lenient here and there and gives up on the first record
that does not fit. So its result counts only where it must be what a strict parser (RFC 8259)
finds; any doubt sends the block through orjson, record by record.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from beam_jobs.batch import Finding, Findings, Reason, gathered, truncated
from beam_jobs.read.columns import EXACT_INTEGERS, texts
from beam_jobs.read.jsonl_blocks import parse_at_once
from beam_jobs.read.lines import Block
from beam_jobs.read.strict_json import is_unicode, number_text, parse_object
from beam_jobs.schema import Feature, FeatureType

Columns = tuple[dict[str, pa.Array], pa.Array | None, list[Findings]]
"""({column: typed values}, keys as text, findings)."""


def read_block(
    block: Block, features: Sequence[Feature], key: str | None, *, key_only: bool
) -> Columns:
    """The columns of a block; rows that cannot be read are null and have findings.

    A text feature that is the key takes numbers, too, as they were written.
    """
    # Without a type for the key Arrow takes blocks of numbers as well as blocks of texts.
    others = [feature for feature in features if not (feature.name == key and feature.is_text)]
    table = None if block.broken else parse_at_once(block, others, key)
    if table is None:
        return _parse_one_by_one(block, features, key, key_only)
    if key is None or key not in table:
        return ({} if key_only else table), None, []
    keys = table[key].cast(pa.string())
    if len(others) < len(features):
        table[key] = keys
    return ({} if key_only else table), keys, []


def _parse_one_by_one(
    block: Block, features: Sequence[Feature], key: str | None, key_only: bool
) -> Columns:
    objects, found = parse_objects(block)
    keys = None if key is None else _keys_of(objects, block, key)
    columns: dict[str, pa.Array] = {}
    if not key_only:
        columns, more = columns_of(with_text_keys(objects, block, features, key), features)
        unknown, halves = _unknown_of(objects, {feature.name for feature in features})
        columns |= unknown
        found += more + halves
    written = None if keys is None else pa.array(keys, pa.string())
    return columns, written, gathered(found)


def _keys_of(objects: Sequence[Mapping[str, Any]], block: Block, key: str) -> list[str | None]:
    """The key of each object, as it was written."""
    return [
        _key_text(value.get(key), key, block.data[start:end])
        for value, start, end in zip(objects, block.starts, block.ends, strict=True)
    ]


def with_text_keys(
    objects: Sequence[Mapping[str, Any]],
    block: Block,
    features: Sequence[Feature],
    key: str | None,
) -> Sequence[Mapping[str, Any]]:
    """The objects of a block; numbers that are keys as they were written, for a text feature."""
    if key is None or not any(f.name == key and f.is_text for f in features):
        return objects
    if not any(_is_number(value.get(key)) for value in objects):
        return objects
    return [
        {**value, key: text} if _is_number(value.get(key)) else value
        for value, text in zip(objects, _keys_of(objects, block, key), strict=True)
    ]


def parse_objects(block: Block) -> tuple[list[Mapping[str, Any]], list[Finding]]:
    """The objects of a block's records, {} for those that cannot be read, and why they cannot."""
    objects: list[Mapping[str, Any]] = []
    found: list[Finding] = []
    for row in range(len(block)):
        record = block.data[block.starts[row] : block.ends[row]]
        value, problems = parse_record(record, row, block.broken.get(row))
        objects.append(value)
        found += problems
    return objects, found


def parse_record(
    record: bytes, row: int, broken: str | None = None
) -> tuple[Mapping[str, Any], list[Finding]]:
    """(the object of a record, or {} and why it cannot be read)."""
    if broken is not None:
        return {}, [Finding(Reason.MALFORMED_RECORD, row, broken)]
    try:
        return parse_object(record), []
    except UnicodeDecodeError as error:
        why = f"byte {record[error.start]:#04x} is not UTF-8"
        return {}, [
            Finding(Reason.INVALID_ENCODING, row, why),
            Finding(Reason.MALFORMED_RECORD, row, "the record is not JSON text"),
        ]
    except ValueError as error:
        return {}, [Finding(Reason.MALFORMED_RECORD, row, f"the record is {error}")]


def columns_of(
    objects: Sequence[Mapping[str, Any]], features: Sequence[Feature]
) -> tuple[dict[str, pa.Array], list[Finding]]:
    """({feature: typed values}, why some are null)."""
    columns: dict[str, pa.Array] = {}
    found: list[Finding] = []
    for feature in features:
        values = []
        for row, value in enumerate(objects):
            good, reason, detail = convert(value.get(feature.name), feature)
            values.append(good)
            if reason is not None:
                found.append(Finding(reason, row, detail, feature.name))
        columns[feature.name] = pa.array(values, feature.arrow)
    return columns, found


def convert(value: Any, feature: Feature) -> tuple[Any, Reason | None, str]:
    """(value of the feature's type or None, what is wrong with it, detail)."""
    if not feature.is_list and isinstance(value, list):
        if len(value) != 1:
            return None, Reason.INVALID_VALUE_COUNT, f"{len(value)} values where one belongs"
        value = value[0]
    if value is None:
        return None, None, ""
    if not feature.is_list:
        return _convert_one(value, feature.type)
    items = []
    for item in value if isinstance(value, list) else [value]:
        if item is None:
            return None, Reason.INVALID_TYPE, "null inside a list"
        good, reason, detail = _convert_one(item, feature.type)
        if reason is not None:
            return None, reason, detail
        items.append(good)
    return items, None, ""


def _convert_one(value: Any, kind: FeatureType) -> tuple[Any, Reason | None, str]:
    if kind is FeatureType.INT:
        if isinstance(value, int) and -(2**63) <= value < 2**63:
            return int(value), None, ""
        return None, Reason.INVALID_TYPE, f"{truncated(value)} is not an INT"
    if kind is FeatureType.FLOAT:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None, Reason.INVALID_TYPE, f"{truncated(value)} is not a number"
        double = _double(value)
        if not math.isfinite(double):
            return None, Reason.NOT_FINITE, f"{truncated(value)} is not a finite number"
        return double, None, ""
    if isinstance(value, bool):
        return str(value).lower(), None, ""
    if not isinstance(value, str):
        return None, Reason.INVALID_TYPE, f"{truncated(value)} is not text"
    if not is_unicode(value):
        return None, Reason.INVALID_ENCODING, f"{truncated(value)} has half a surrogate pair"
    return value, None, ""


def _double(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _key_text(value: Any, name: str, record: bytes) -> str | None:
    """A key as it was written, none where it is neither text nor a number."""
    if isinstance(value, str):
        return value if is_unicode(value) else None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) or value == 0:
        return number_text(record, name)
    return str(value) if isinstance(value, int) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unknown_of(
    objects: Sequence[Mapping[str, Any]], known: set[str]
) -> tuple[dict[str, pa.Array], list[Finding]]:
    """(columns that the schema does not know, halves of surrogate pairs in them)."""
    names = dict.fromkeys(name for value in objects for name in value if name not in known)
    columns: dict[str, pa.Array] = {}
    halves: list[Finding] = []
    for name in names:
        if not is_unicode(name):
            why = f"the name {truncated(name)} has half a surrogate pair"
            halves += [
                Finding(Reason.INVALID_ENCODING, row, why)
                for row, value in enumerate(objects)
                if name in value
            ]
            continue
        values = [value.get(name) for value in objects]
        for row, value in enumerate(values):
            if isinstance(value, str) and not is_unicode(value):
                why = f"{truncated(value)} has half a surrogate pair"
                halves.append(Finding(Reason.INVALID_ENCODING, row, why, name))
                values[row] = None
        column = _inferred(values)
        if column is not None:
            columns[name] = column
    return columns, halves


def _inferred(values: Sequence[Any]) -> pa.Array | None:
    """The column of Arrow's choice; text where values are of several types, or a type rounds one.

    Lists and objects are not counted: None where there is nothing else.
    """
    scalars = [None if isinstance(value, list | dict) else value for value in values]
    present = [value for value in scalars if value is not None]
    if not present:
        return pa.nulls(len(values), pa.string()) if scalars == list(values) else None
    if all(isinstance(value, bool) for value in present):
        return pa.array(scalars, pa.bool_()).cast(pa.int64())
    if all(_is_number(value) for value in present):
        integers = [value for value in present if isinstance(value, int)]
        if len(integers) == len(present) and all(-(2**63) <= v < 2**63 for v in integers):
            return pa.array(scalars, pa.int64())
        floats = [value for value in present if isinstance(value, float)]
        if all(abs(v) < EXACT_INTEGERS for v in integers) and all(map(math.isfinite, floats)):
            return pa.array(scalars, pa.float64())
    return pa.array([_as_text(value) for value in scalars], pa.string())


def _as_text(value: Any) -> str | None:
    """A scalar as `columns.texts` has it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        text: str = texts(pa.array([value], pa.float64()))[0].as_py()
        return text
    return str(int(value)) if isinstance(value, int) else repr(value)
