"""Typed columns -> a batch with its reserved columns, the same for every format."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from beam_jobs.batch import (
    KEY,
    RAW,
    RESERVED_PREFIX,
    SOURCE_FILE,
    SOURCE_ROW,
    Findings,
    with_findings,
)
from beam_jobs.read import csv, jsonl
from beam_jobs.read.columns import all_null, empty_to_null, texts
from beam_jobs.read.lines import Block
from beam_jobs.schema import Feature


def wanted_columns(
    present: Sequence[str], features: Sequence[Feature], key_only: bool
) -> dict[str, Feature | None]:
    """{column to type: its feature}: the schema's in its order, then those it does not know."""
    if key_only:
        return {}
    known: dict[str, Feature | None] = {feature.name: feature for feature in features}
    return known | {name: None for name in present if name not in known}


def from_block(
    block: Block,
    header: Sequence[str],
    uri: str,
    first_row: int,
    features: Sequence[Feature],
    key: str | None,
    *,
    key_only: bool,
    is_csv: bool,
) -> pa.RecordBatch:
    """The batch of a block of CSV or JSON Lines records."""
    if is_csv:
        wanted = wanted_columns(header, features, key_only)
        typed, keys, found = csv.read_block(block, header, wanted, key)
    else:
        typed, keys, found = jsonl.read_block(block, features, key, key_only=key_only)
    return assemble(
        typed,
        () if key_only else features,
        rows=len(block),
        keys=keys,
        uri=uri,
        first_row=first_row,
        raw=raw_records(block),
        found=found,
    )


def assemble(
    typed: Mapping[str, pa.Array],
    features: Sequence[Feature],
    *,
    rows: int,
    keys: pa.Array | None,
    uri: str,
    first_row: int,
    raw: pa.Array,
    found: Sequence[Findings],
) -> pa.RecordBatch:
    """Features in the schema's order (null where absent), other columns, reserved columns.

    Columns of the data that bear a reserved name are left out.
    """
    columns = {f.name: typed[f.name] if f.name in typed else all_null(f, rows) for f in features}
    columns |= {
        name: column
        for name, column in typed.items()
        if name not in columns and not name.startswith(RESERVED_PREFIX)
    }
    columns |= {
        KEY: pa.nulls(rows, pa.string()) if keys is None else key_texts(keys),
        SOURCE_FILE: pa.repeat(pa.scalar(uri, pa.string()), rows),
        SOURCE_ROW: pa.array(np.arange(first_row, first_row + rows)),
        RAW: raw,
    }
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return with_findings(batch, found)


def key_texts(values: pa.Array) -> pa.Array:
    """Keys as text; an empty one, and one that is not UTF-8, is null."""
    if pt.is_binary(values.type):
        try:
            values = pc.cast(values, pa.string())
        except pa.ArrowInvalid:
            values = pa.array([_text(value) for value in values.to_pylist()], pa.string())
    elif not pt.is_string(values.type):
        values = texts(values)
    return empty_to_null(values)


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def raw_records(block: Block) -> pa.Array:
    """binary: each record as it was, with its line end; the block's own bytes, not copied.

    Blank lines between two records stick to the one before.
    """
    if not len(block):
        return pa.array([], pa.binary())
    # Offsets from zero: Arrow's IPC writer (pyarrow 10) cuts the values but keeps the offsets.
    first = int(block.starts[0])
    offsets = (np.append(block.starts, block.ends[-1]) - first).astype(np.int32)
    values = pa.py_buffer(block.data).slice(first)
    return pa.Array.from_buffers(pa.binary(), len(block), [None, pa.py_buffer(offsets), values])
