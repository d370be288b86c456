"""Groups of request files -> batches."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from beam_jobs import storage
from beam_jobs.batch import (
    IMAGE,
    KEY,
    ROWS_PER_BATCH,
    SOURCE_FILE,
    SOURCE_ROW,
    column_or_none,
    set_column,
)
from beam_jobs.errors import InputError
from beam_jobs.read.batches import assemble
from beam_jobs.read.columns import parse as parse_cells
from beam_jobs.read.lines import BLOCK_BYTES, Block, Splitter, split
from beam_jobs.read.text_files import opened
from beam_jobs.request_files.groups import Group
from beam_jobs.request_files.parse import Parsed, RequestSpec, parse
from beam_jobs.schema import Feature, FeatureType

Tell = Callable[[int, InputError], None]
"""Told of a file that cannot be read to its end: its place in the group, and why."""

_BOM = b"\xef\xbb\xbf"


def read_requests(
    group: Group,
    spec: RequestSpec,
    first_row: int = 1,
    rows_per_batch: int = ROWS_PER_BATCH,
    skipped: Collection[int] = (),
) -> Iterator[pa.RecordBatch]:
    """The requests of a group, in order, as `batch` describes them.

    A batch may hold requests of several files: all of one, then all of the next. `SOURCE_ROW`
    counts the requests of a file from 1, which for one request a line is the line.

    Args:
        group: what to read.
        spec: what to make of it.
        first_row: `SOURCE_ROW` of the first request of the group's first file.
        rows_per_batch: at most.
        skipped: places in the group of files that are not read.

    Raises:
        InputError: a file cannot be read to its end, or is not the generation planned.
    """
    files = group.files
    counted, last = first_row - 1, 0  # requests of the file that the last row belongs to
    for lines in lines_of(group, spec.longest_line, rows_per_batch, skipped):
        for parsed in parse(lines.block, spec):
            owners = lines.owners[parsed.lines]
            begins = np.flatnonzero(np.diff(owners, prepend=-1))
            sizes = np.diff(begins, append=len(owners))
            numbers = np.arange(len(owners)) - np.repeat(begins, sizes) + 1
            numbers[owners == last] += counted
            counted, last = int(numbers[-1]), int(owners[-1])
            uris = pa.array([files[index].uri for index in owners[begins]], pa.string())
            places = pa.array(np.repeat(np.arange(len(begins)), sizes))
            batch = _batch_of(parsed, spec, uris.take(places), pa.array(numbers))
            yield from _in_parts(batch, rows_per_batch)


def _batch_of(
    parsed: Parsed, spec: RequestSpec, uris: pa.Array, numbers: pa.Array
) -> pa.RecordBatch:
    batch = assemble(
        parsed.columns,
        spec.features,
        rows=len(uris),
        keys=parsed.keys,
        uri="",
        first_row=1,
        raw=parsed.raw,
        found=parsed.found,
    )
    batch = set_column(batch, SOURCE_FILE, uris)
    batch = set_column(batch, SOURCE_ROW, numbers)
    if parsed.images:
        images = [parsed.images.get(row) for row in range(batch.num_rows)]
        batch = set_column(batch, IMAGE, pa.array(images, pa.binary()))
    return batch if spec.key is None else _with_key(batch, spec.key)


def _with_key(batch: pa.RecordBatch, key: str) -> pa.RecordBatch:
    """The batch with the requests' ids as values of the feature `key`, where it has none."""
    column, ids = column_or_none(batch, key), column_or_none(batch, KEY)
    if column is None or ids is None or pt.is_list(column.type) or not column.null_count:
        return batch
    if pt.is_integer(column.type):
        ids, _ = parse_cells(ids, Feature(key, FeatureType.INT))
    elif not pt.is_string(column.type):
        return batch
    return set_column(batch, key, pc.coalesce(column, ids))


def _in_parts(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    if batch.num_rows <= rows:
        yield batch
        return
    table = pa.Table.from_batches([batch])
    for first in range(0, batch.num_rows, rows):
        # Copied: Arrow's IPC writer (pyarrow 10) would send all of a slice's lists.
        places = np.arange(first, min(first + rows, batch.num_rows))
        yield from table.take(pa.array(places)).to_batches()


@dataclass(frozen=True)
class Lines:
    """Lines and, int64[n], the place of each one's file in the group."""

    block: Block
    owners: npt.NDArray[np.int64]


@dataclass
class _Pending:
    """Whole small files that wait to be split together."""

    parts: list[bytes] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    size: int = 0

    def add(self, owner: int, data: bytes) -> None:
        whole = data if data.endswith(b"\n") else data + b"\n"
        self.parts.append(whole)
        self.owners.append(owner)
        self.size += len(whole)

    def take(self, rows_per_batch: int, longest: int) -> Iterator[Lines]:
        if not self.parts:
            return
        data = b"".join(self.parts)
        starts = np.cumsum([0, *map(len, self.parts[:-1])])
        block, _ = split(data, 0, quoted=False, final=True, longest=longest)
        owners = np.array(self.owners)[np.searchsorted(starts, block.starts, side="right") - 1]
        self.parts, self.owners, self.size = [], [], 0
        for first in range(0, len(block), rows_per_batch):
            last = first + rows_per_batch
            yield Lines(block.slice(first, last), owners[first:last])


def lines_of(
    group: Group,
    longest: int,
    rows_per_batch: int = ROWS_PER_BATCH,
    skipped: Collection[int] = (),
    tell: Tell | None = None,
) -> Iterator[Lines]:
    """The lines of a group, in order.

    Args:
        group: what to read.
        longest: bytes that a line may have.
        rows_per_batch: lines at a time, at most.
        skipped: places in the group of files that are not read.
        tell: told of each file that cannot be read to its end. Lines of a large one may have been
            given by then; of a file that is read whole there are none.

    Raises:
        InputError: there is such a file, and nobody to be told.
    """
    places = [place for place in range(len(group.files)) if place not in skipped]
    pending = _Pending()
    with storage.open_ahead([group.files[place] for place in places]) as open_next:
        for place in places:
            try:
                if group.end is not None:
                    yield from _lines_of_range(group, group.end, rows_per_batch, longest)
                else:
                    file = group.files[place]
                    yield from _lines_of_file(
                        place, file, rows_per_batch, longest, open_next, pending
                    )
            except InputError as error:
                if tell is None:
                    raise
                tell(place, error)
            if pending.size >= BLOCK_BYTES:
                yield from pending.take(rows_per_batch, longest)
    yield from pending.take(rows_per_batch, longest)


def _lines_of_range(group: Group, end: int, rows_per_batch: int, longest: int) -> Iterator[Lines]:
    (file,) = group.files
    with opened(file) as stream:
        start = _first_line(stream, group.start)
        if start < end:
            splitter = _splitter(stream, start, rows_per_batch, longest, end)
            for block in splitter.blocks():
                yield Lines(block, np.zeros(len(block), np.int64))
    storage.check_unchanged(file)


def _first_line(stream: BinaryIO, at: int) -> int:
    """The byte of the first line that starts at or behind `at`; the file's end where none does."""
    if not at:
        return len(_BOM) if stream.read(len(_BOM)) == _BOM else 0
    stream.seek(at - 1)
    position = at - 1
    while data := stream.read(1 << 16):
        found = data.find(b"\n")
        if found >= 0:
            return position + found + 1
        position += len(data)
    return position


def _splitter(
    stream: BinaryIO, start: int, rows_per_batch: int, longest: int, end: int | None = None
) -> Splitter:
    stream.seek(start)
    return Splitter(
        stream,
        start,
        quoted=False,
        end=end,
        rows=rows_per_batch,
        block_bytes=max(BLOCK_BYTES, longest + 1),
        longest=longest,
    )


def _lines_of_file(
    place: int,
    file: storage.FileInfo,
    rows_per_batch: int,
    longest: int,
    open_next: Callable[[storage.FileInfo], BinaryIO],
    pending: _Pending,
) -> Iterator[Lines]:
    """The lines of a file, those that are pending before them; of a small one it is pending."""
    with opened(file, open_next) as stream:
        data = stream.read(BLOCK_BYTES)
        skipped = len(_BOM) if data.startswith(_BOM) else 0
        is_small = len(data) < BLOCK_BYTES and not stream.read(1)
        if not is_small:
            yield from pending.take(rows_per_batch, longest)
            for block in _splitter(stream, skipped, rows_per_batch, longest).blocks():
                yield Lines(block, np.full(len(block), place))
    storage.check_unchanged(file)
    if is_small:
        pending.add(place, data[skipped:])
