"""Blocks of CSV records -> RecordBatches (RFC 4180; the header decides the order)."""

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from beam_jobs.batch import Findings, Reason
from beam_jobs.errors import InputError
from beam_jobs.read import columns
from beam_jobs.read.lines import COMMA, Block
from beam_jobs.schema import Feature


def parse_header(record: bytes, uri: str) -> list[str]:
    """Column names; one without a name gets pandas' name for it, `Unnamed: POSITION`.

    Raises:
        InputError: not UTF-8, or a name appears twice.
    """
    try:
        cells = next(csv.reader(io.StringIO(record.decode(), newline="")), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{uri}: the header cannot be read ({error})") from error
    names = [cell or f"Unnamed: {position}" for position, cell in enumerate(cells)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{uri}: column {twice!r} appears twice in the header; rename one")
    return names


def read_block(
    block: Block,
    header: Sequence[str],
    wanted: Mapping[str, Feature | None],
    key: str | None = None,
) -> tuple[dict[str, pa.Array], pa.Array | None, list[Findings]]:
    """The columns of a block's records.

    Args:
        block: from a `Splitter`.
        header: all columns of the file.
        wanted: columns to type; None for columns that the schema does not know (text).
        key: column that identifies a row.

    Returns:
        ({column: typed values}, the key's cells as they were, binary, findings). Rows of broken
        records are null.
    """
    broken = dict(block.broken)
    # What is not wanted is split, which finds wrong cell counts, but not copied.
    names = [name for name in header if name in wanted or name == key] or header[:1]
    cells = _parse(block, header, names, broken)
    if cells is None:
        broken |= _wrong_cell_counts(block, header, broken)
        cells = _parse(block, header, names, broken)
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
    return typed, None if key is None else cells.get(key), found


def _parse(
    block: Block, header: Sequence[str], names: Sequence[str], broken: Mapping[int, str]
) -> dict[str, pa.Array] | None:
    """Cells of columns, binary, null in broken records; None where others have a wrong count."""
    data = _bytes_of(block, header, sorted(broken))
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(data),
            # One block and no rows skipped: row n of the table is record n.
            read_options=pa_csv.ReadOptions(column_names=header, block_size=data.size + 1),
            parse_options=pa_csv.ParseOptions(newlines_in_values=bool(len(block.quotes))),
            convert_options=pa_csv.ConvertOptions(
                include_columns=names,
                column_types=dict.fromkeys(names, pa.binary()),
                null_values=[],
            ),
        )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != len(block):
        return None
    arrays = {name: _one_chunk(table.column(name)) for name in names}
    if not broken:
        return arrays
    good = np.ones(len(block), bool)
    good[list(broken)] = False
    valid = pa.py_buffer(np.packbits(good, bitorder="little"))
    return {
        name: pa.Array.from_buffers(pa.binary(), len(block), [valid, *array.buffers()[1:]])
        for name, array in arrays.items()
    }


def _bytes_of(block: Block, header: Sequence[str], broken: Sequence[int]) -> pa.Buffer:
    """The block's bytes, with a record of the right number of cells for each broken one.

    So the parsed rows are the block's, and broken ones need no more than a validity bitmap.
    """
    start, end = int(block.starts[0]), int(block.ends[-1])
    if not broken:
        return pa.py_buffer(block.data).slice(start, end - start)
    stand_in = b"," * (len(header) - 1) or b"0"  # a blank line would be no record
    parts = []
    for row in broken:
        parts += [block.data[start : block.starts[row]], stand_in]
        start = int(block.ends[row])
    return pa.py_buffer(b"".join([*parts, block.data[start:end]]))


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        return combined.chunk(0) if combined.num_chunks else pa.array([], column.type)
    return combined


def _wrong_cell_counts(
    block: Block, header: Sequence[str], broken: Mapping[int, str]
) -> dict[int, str]:
    """{record: what is wrong}: commas outside quotes, counted in every record."""
    start, end = int(block.starts[0]), int(block.ends[-1])
    commas = start + np.flatnonzero(np.frombuffer(block.data, np.uint8)[start:end] == COMMA)
    cells = np.searchsorted(commas, block.ends) - np.searchsorted(commas, block.starts) + 1
    opening, closing, record = _quoted_cells(block, broken)
    hidden = np.searchsorted(commas, closing) - np.searchsorted(commas, opening)
    np.subtract.at(cells, record, hidden)
    return {
        row: f"the record has {cells[row]} cells, the header has {len(header)}"
        for row in np.flatnonzero(cells != len(header)).tolist()
        if row not in broken
    }


def _quoted_cells(
    block: Block, broken: Mapping[int, str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(opening quote, closing quote, record) of what is quoted in records that are not broken."""
    good = np.ones(len(block) + 1, bool)
    good[[*broken, -1]] = False  # the last one stands for what lies behind the records
    record = np.searchsorted(block.ends, block.quotes, side="right")
    kept = good[record] & (block.quotes >= block.starts[np.minimum(record, len(block) - 1)])
    quotes, record = block.quotes[kept], record[kept]
    # A good record has an even number of quotes: they come in pairs.
    return quotes[::2], quotes[1::2], record[::2]
