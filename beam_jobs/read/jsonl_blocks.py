"""Blocks of JSON Lines that Arrow can read at once, if there is no doubt about any value."""

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json
import pyarrow.types as pt

from beam_jobs.read.columns import EXACT_INTEGERS
from beam_jobs.read.lines import Block
from beam_jobs.read.strict_json import MAX_DEPTH
from beam_jobs.schema import Feature, FeatureType

_NUMBER_WORDS = (b"NaN", b"Inf")
"""Arrow reads such words as numbers, JSON has none; each also begins the longer ones."""


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
