"""Blocks of CSV records -> RecordBatches (RFC 4180; the header decides the order)."""

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from beam_jobs.errors import InputError
from beam_jobs.features import Feature
from beam_jobs.read import columns
from beam_jobs.read.lines import COMMA, Block
from beam_jobs.records import Findings, Reason


def parse_header(record: bytes, uri: str) -> list[str]:
    """Column names; one without a name gets pandas' name for it, `Unnamed: POSITION`.

    Raises:
        InputError: not UTF-8, or a name stands twice.
    """
    try:
        cells = next(csv.reader(io.StringIO(record.decode(), newline="")), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{uri}: the header cannot be read ({error})") from error
    names = [cell or f"Unnamed: {position}" for position, cell in enumerate(cells)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{uri}: column {twice!r} stands twice in the header; rename one")
    return names


def read_block(
    block: Block, header: Sequence[str], wanted: Mapping[str, Feature | None]
) -> tuple[dict[str, pa.Array], dict[str, pa.Array], list[Findings]]:
    """The columns of a block's records.

    Args:
        block: from a `Splitter`.
        header: all columns of the file.
        wanted: columns to type; None for columns that the schema does not know (text).

    Returns:
        ({column: typed values}, {column: cells as they were, binary}, findings). Rows of broken
        records are null.
    """
    broken = dict(block.broken)
    cells = _parse(block, header, broken)
    if cells is None:
        broken |= _wrong_cell_counts(block, header, broken)
        cells = _parse(block, header, broken)
    if cells is None:
        raise AssertionError(f"{len(block)} CSV records at byte {block.offset} defy splitting")
    found = []
    if broken:
        rows = np.array(sorted(broken), np.int64)
        found.append(Findings(Reason.MALFORMED_RECORD, rows, [broken[row] for row in rows]))
    typed = {}
    for name, feature in wanted.items():
        if name not in cells:
            continue
        if feature is None:
            text, more = columns.decode(cells[name], name)
            typed[name] = columns.empty_to_null(text)
        else:
            typed[name], more = columns.parse(cells[name], feature)
        found += more
    return typed, cells, found


def _parse(
    block: Block, header: Sequence[str], broken: Mapping[int, str]
) -> dict[str, pa.Array] | None:
    """All cells as bytes; None where some record has too many or too few."""
    good = np.ones(len(block), bool)
    good[list(broken)] = False
    count = int(good.sum())
    if count == 0:
        return {name: pa.nulls(len(block), pa.binary()) for name in header}
    data = _bytes_of(block, good)
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(data),
            # One block and no rows skipped: row n of the table is record n.
            read_options=pa_csv.ReadOptions(column_names=header, block_size=data.size + 1),
            parse_options=pa_csv.ParseOptions(newlines_in_values=bool(len(block.quotes))),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.binary()), null_values=[]
            ),
        )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != count:
        return None
    arrays = {name: _one_chunk(table.column(name)) for name in header}
    if count == len(block):
        return arrays
    places = pa.array(np.cumsum(good) - 1, mask=~good)
    return {name: array.take(places) for name, array in arrays.items()}


def _bytes_of(block: Block, good: np.ndarray) -> pa.Buffer:
    """The good records' bytes: one slice, or the runs between broken ones joined."""
    whole = pa.py_buffer(block.data)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8)))
    runs = [
        (int(block.starts[first]), int(block.ends[last - 1]))
        for first, last in edges.reshape(-1, 2)
    ]
    if len(runs) == 1:
        start, end = runs[0]
        return whole.slice(start, end - start)
    return pa.py_buffer(b"\n".join(block.data[start:end] for start, end in runs))


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        return combined.chunk(0) if combined.num_chunks else pa.array([], column.type)
    return combined


def _wrong_cell_counts(
    block: Block, header: Sequence[str], broken: Mapping[int, str]
) -> dict[int, str]:
    """{record: what is wrong}: commas outside quotes, counted in every record."""
    commas = np.flatnonzero(np.frombuffer(block.data, np.uint8) == COMMA)
    record = np.searchsorted(block.ends, commas, side="right")
    inside = record < len(block)
    commas, record = commas[inside], record[inside]
    inside = commas >= block.starts[record]
    commas, record = commas[inside], record[inside]
    quotes_before = np.searchsorted(block.quotes, commas)
    quotes_before -= np.searchsorted(block.quotes, block.starts[record])
    cells = np.bincount(record[quotes_before % 2 == 0], minlength=len(block)) + 1
    return {
        row: f"the record has {cells[row]} cells, the header has {len(header)}"
        for row in np.flatnonzero(cells != len(header)).tolist()
        if row not in broken
    }
