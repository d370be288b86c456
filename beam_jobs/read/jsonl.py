"""Blocks of JSON Lines -> columns.

Arrow parses a whole block at once, but is lenient here and there and gives up on the first record
that does not fit. So its result counts only where it must be what a strict parser (RFC 8259)
finds; any doubt sends the block through orjson, record by record.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json
import pyarrow.types as pt

from beam_jobs.batch import Finding, Findings, Reason, gathered, truncated
from beam_jobs.read.columns import EXACT_INTEGERS, texts
from beam_jobs.read.lines import Block
from beam_jobs.read.strict_json import MAX_DEPTH, is_unicode, number_text, parse_object
from beam_jobs.schema import Feature, FeatureType

_NUMBER_WORDS = (b"NaN", b"Inf")
"""Arrow reads such words as numbers, JSON has none; each also begins the longer ones."""

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


def parse_at_once(
    block: Block,
    features: Sequence[Feature],
    key: str | None,
    allowed: Collection[str] | None = None,
) -> dict[str, pa.Array] | None:
    """{column: typed values} of a block without broken records, None where there is any doubt.

    Args:
        block: its records fill `data` from the first start to the last end.
        features: the schema's.
        key: a name whose values must be as they were written.
        allowed: names that may stand beside the features (a doubt otherwise); None for any.
    """
    if not len(block):
        return {}
    start, end = int(block.starts[0]), int(block.ends[-1])
    data = block.data[start:end]
    schema = pa.schema([(feature.name, feature.arrow) for feature in features])
    table = (
        _parsed(data, schema) if _flat_objects(data, block) and _few_lists(data, block) else None
    )
    if table is None or table.num_rows != len(block) or _has_others(table, schema, allowed):
        return None
    dates = [field.name for field in table.schema if pt.is_timestamp(field.type)]
    if dates:
        # Texts that look like dates: read as the texts they are.
        as_texts = [Feature(name, FeatureType.BYTES) for name in dates]
        return parse_at_once(block, [*features, *as_texts], key, allowed)
    columns: dict[str, pa.Array] = {}
    for field in table.schema:
        # A number has several spellings; only text and integers give a key as it was written.
        if field.name == key and not _is_exact(table.column(field.name), data):
            return None
        place = schema.get_field_index(field.name)
        if pt.is_nested(field.type) and place < 0:
            if any(word in data for word in _NUMBER_WORDS):
                return None
            continue  # not counted; and combining lists of nulls fails (pyarrow 10)
        column = _combined(table.column(field.name))
        if not _is_beyond_doubt(column, None if place < 0 else schema.field(place).type):
            return None
        kept = column if place >= 0 else _unknown(column)
        if kept is not None:
            columns[field.name] = kept
    return columns


def _parsed(data: bytes, schema: pa.Schema) -> pa.Table | None:
    """Arrow's reading of JSON Lines; None where it, or UTF-8, cannot."""
    try:
        data.decode()
        return pa_json.read_json(
            pa.BufferReader(data),
            read_options=pa_json.ReadOptions(block_size=len(data) + 1),
            parse_options=pa_json.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior="infer"
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
        return None


def _has_others(table: pa.Table, schema: pa.Schema, allowed: Collection[str] | None) -> bool:
    return allowed is not None and not set(table.column_names) <= {*schema.names, *allowed}


def _combined(chunks: pa.ChunkedArray) -> pa.Array:
    column = chunks.combine_chunks()
    return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column


def _is_beyond_doubt(column: pa.Array, expected: pa.DataType | None) -> bool:
    """Whether the values are what was written; of a column of the schema also its type.

    Args:
        column: as Arrow read it.
        expected: the feature's type; None of a column that the schema does not know.
    """
    if expected is None:
        return _all_finite(column) and _all_exact(column)
    # Another type: some value was no integer.
    return column.type == expected and not _has_nulls_inside(column) and _all_finite(column)


def _flat_objects(data: bytes, block: Block) -> bool:
    """Whether each line has one { at its start and one } at its end, so nothing but one object.

    Braces in texts and nested objects fail too, which only costs time.
    """
    buffer = np.frombuffer(block.data, np.uint8)
    return (
        bool((buffer[block.starts] == ord("{")).all())
        and bool((buffer[block.ends - 1] == ord("}")).all())
        and _count(data, "{") == _count(data, "}") == len(block)
    )


def _count(data: bytes, character: str) -> int:
    """As bytes.count, four times as fast, and other threads may work."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord(character)))


def _few_lists(data: bytes, block: Block) -> bool:
    """Whether no record has enough opening brackets to be nested too deeply."""
    if _count(data, "[") < MAX_DEPTH:
        return True
    brackets = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("[")) + int(block.starts[0])
    in_record = np.searchsorted(brackets, block.ends) - np.searchsorted(brackets, block.starts)
    return bool((in_record < MAX_DEPTH).all())


def _is_exact(column: pa.ChunkedArray, data: bytes) -> bool:
    """Whether the values, as text, are as they were written."""
    if pt.is_integer(column.type):
        return b"-0" not in data or pc.any(pc.equal(column, 0)).as_py() is not True
    return bool(pt.is_string(column.type) or pt.is_null(column.type))


def _all_exact(column: pa.Array) -> bool:
    """Whether no integer can have been rounded to a double."""
    if not pt.is_floating(column.type):
        return True
    return pc.all(pc.less(pc.abs(column), EXACT_INTEGERS)).as_py() is not False


def _has_nulls_inside(column: pa.Array) -> bool:
    return bool(pt.is_list(column.type) and column.flatten().null_count > 0)


def _all_finite(column: pa.Array) -> bool:
    """Whether no number is beyond the range of a double, and none is a word: Arrow reads both."""
    values = column.flatten() if pt.is_list(column.type) else column
    return not pt.is_floating(values.type) or pc.all(pc.is_finite(values)).as_py() is not False


def _unknown(column: pa.Array) -> pa.Array | None:
    """A column that the schema does not know, None where it is of no type that TFDV counts."""
    kind = column.type
    if pt.is_boolean(kind) or pt.is_integer(kind):
        return column.cast(pa.int64())
    if pt.is_floating(kind) or pt.is_string(kind):
        return column
    if pt.is_null(kind):
        return column.cast(pa.string())
    return None


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
