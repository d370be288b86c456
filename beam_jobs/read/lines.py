"""Bytes -> records: where each one starts and ends, and which are broken.

RFC 4180: a line end inside a quoted cell is data; the parity of the quotes before a line end
tells whether it is. A quote where none may stand would carry one record's fault into all that
follow, so a record of several lines that is not well-formed, not closed, or longer than
`MAX_RECORD_BYTES` is cut at its first line end: that line is broken, and splitting resumes behind
it. What a record is depends on the bytes behind it only as far as `MAX_RECORD_BYTES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from beam_jobs.batch import RAW_LIMIT_BYTES, ROWS_PER_BATCH

MAX_RECORD_BYTES = 1 << 20
BLOCK_BYTES = 8 << 20
"""Read at a time; more than a record can have, so that a full block holds one or a broken one."""

BEYOND_BYTES = 1 << 16
"""Read behind a byte range's end at first, where its last record ends and the next one starts."""

NEWLINE, RETURN, QUOTE, COMMA = b'\n\r",'
BAD_QUOTES = "a quote is not closed, or stands inside an unquoted cell"
NUL_BYTE = "the record holds a NUL byte"
BARE_RETURN = "the record holds a carriage return that ends no line"


@dataclass(frozen=True)
class Block:
    """Records that follow each other in a file.

    Attributes:
        data: the bytes.
        starts: int64[n] first byte of each record in `data`.
        ends: int64[n] the byte behind each record, its line end not included.
        broken: {record: what is wrong with it}.
        quotes: int64[] positions of quotes in `data`; empty where quotes mean nothing.
        offset: of data[0] in the file.
    """

    data: bytes
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    broken: dict[int, str]
    quotes: npt.NDArray[np.int64]
    offset: int

    def __len__(self) -> int:
        return len(self.starts)

    def slice(self, first: int, last: int) -> "Block":
        """The records first..last-1."""
        broken = {row - first: why for row, why in self.broken.items() if first <= row < last}
        starts, ends = self.starts[first:last], self.ends[first:last]
        return Block(self.data, starts, ends, broken, self.quotes, self.offset)


@dataclass
class Splitter:
    """Splits a stream into blocks of records.

    Attributes:
        stream: at the first byte of a record.
        offset: that byte's place in the file.
        quoted: whether quotes hide line ends (CSV) or are data (JSON Lines).
        end: records that start at or behind this place belong to the next byte range; None for
        none.
        rows: records of a full block.
        block_bytes: read at a time.
        longest: bytes that a record may have, fewer than a block's; None for `MAX_RECORD_BYTES`.
        next_start: where the next byte range's first record starts, once all blocks were taken.
        last_byte: that was read; once all blocks of a file were taken, the file's.
    """

    stream: BinaryIO
    offset: int
    quoted: bool
    end: int | None = None
    rows: int = ROWS_PER_BATCH
    block_bytes: int = BLOCK_BYTES
    longest: int | None = None
    next_start: int | None = field(default=None, init=False)
    last_byte: int | None = field(default=None, init=False)

    def blocks(self) -> Iterator[Block]:
        """All blocks; blank lines are no records."""
        pending, final, offset = b"", False, self.offset
        wanted = self._wanted(offset)
        while not final or pending:
            while not final and len(pending) < wanted:
                more = self._more(wanted - len(pending))
                final = not more
                pending += more
            block, used = split(
                pending, offset, quoted=self.quoted, final=final, longest=self.longest
            )
            if used == 0 and not final and wanted < self.block_bytes:
                # A record that goes on far behind the byte range.
                wanted = self.block_bytes
                continue
            if used == 0 and pending:
                # One line fills the whole block.
                block = _only_record(pending[:RAW_LIMIT_BYTES], offset, self.longest)
                used, pending, final = self._skip_line(pending)
            elif len(block) > self.rows and not final:
                # Whole batches only, so that they do not depend on how reads fall.
                whole = len(block) - len(block) % self.rows
                if whole < len(block):
                    used = int(block.starts[whole])
                    block = block.slice(0, whole)
                pending = pending[used:]
            else:
                pending = pending[used:]
            for first in range(0, len(block), self.rows):
                part = self._own(block.slice(first, first + self.rows))
                if len(part):
                    yield part
            if self.next_start is not None:
                return
            offset += used
            wanted = self._wanted(offset)
        self.next_start = offset

    def _wanted(self, offset: int) -> int:
        """Bytes of a block: no more than needed behind the byte range, which others read."""
        if self.end is None:
            return self.block_bytes
        return min(self.block_bytes, max(self.end - offset, 0) + BEYOND_BYTES)

    def _more(self, size: int) -> bytes:
        data = self.stream.read(size)
        if data:
            self.last_byte = data[-1]
        return data

    def _own(self, block: Block) -> Block:
        if self.end is None or not len(block):
            return block
        own = int(np.searchsorted(block.starts + block.offset, self.end))
        if own < len(block):
            if self.next_start is None:
                self.next_start = block.offset + int(block.starts[own])
            return block.slice(0, own)
        return block

    def _skip_line(self, pending: bytes) -> tuple[int, bytes, bool]:
        """Reads on to the line's end: (its bytes, what follows it, whether the file has ended)."""
        used = len(pending)
        while more := self._more(self.block_bytes):
            found = more.find(b"\n")
            if found >= 0:
                return used + found + 1, more[found + 1 :], False
            used += len(more)
        return used, b"", True


def split(
    data: bytes, offset: int, *, quoted: bool, final: bool, longest: int | None = None
) -> tuple[Block, int]:
    """All records that `data` decides, and how many bytes they take.

    Args:
        data: begins with a record.
        offset: of data[0] in the file.
        quoted: whether quotes hide line ends.
        final: whether nothing follows.
        longest: bytes that a record may have, None for `MAX_RECORD_BYTES`; of no quoted one.
    """
    longest = longest or MAX_RECORD_BYTES
    buffer = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(buffer == NEWLINE)
    quotes = np.flatnonzero(buffer == QUOTE) if quoted else np.zeros(0, np.int64)
    if len(quotes):
        stops, bad = _stops_outside_quotes(buffer, newlines, quotes, final)
    else:
        stops, bad = newlines + 1, np.zeros(0, np.int64)
        if final and len(data) > (stops[-1] if len(stops) else 0):
            stops = np.append(stops, len(data))
    starts = np.concatenate([[0], stops[:-1]]).astype(np.int64) if len(stops) else stops
    ends = _without_line_end(buffer, starts, stops)
    broken = dict.fromkeys(np.searchsorted(stops, bad, side="right").tolist(), BAD_QUOTES)
    long = np.flatnonzero(stops - starts > longest).tolist()
    broken |= dict.fromkeys(long, too_long(longest))
    used = int(stops[-1]) if len(stops) else 0
    if data.find(b"\0", 0, used) >= 0:
        broken |= dict.fromkeys(_records_at(np.flatnonzero(buffer[:used] == 0), stops), NUL_BYTE)
    if quoted and data.find(b"\r", 0, used) >= 0:
        bare = _bare_returns(buffer[:used], starts, stops, quotes)
        broken |= dict.fromkeys(_records_at(bare, stops), BARE_RETURN)
    block = Block(data, starts, ends, broken, quotes, offset)
    return _without_blanks(block), used


def _stops_outside_quotes(
    buffer: npt.NDArray[np.uint8],
    newlines: npt.NDArray[np.int64],
    quotes: npt.NDArray[np.int64],
    final: bool,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(the byte behind each record, the first byte of each record with bad quotes).

    Linear, however many records are cut: only lines with an odd number of quotes open or close a
    record of several lines, so each of them is judged as if a record started there, and then the
    cuts tell which of them really start one.
    """
    size = len(buffer)
    ends = newlines + 1
    if final and size > (ends[-1] if len(ends) else 0):
        ends = np.append(ends, size)
    if not len(ends):
        return ends, ends
    begins = np.concatenate([[0], ends[:-1]])
    before = np.searchsorted(quotes, np.append(begins, ends[-1]))  # quotes before each line
    faults = _faults_by_parity(buffer, quotes)

    def faulty(
        first: npt.NDArray[np.int64], behind: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Whether a record of the lines first..behind-1 has a quote where none may be."""
        parity = before[first] % 2
        are: npt.NDArray[np.bool_] = faults[parity, before[behind]] > faults[parity, before[first]]
        return are

    odd = np.flatnonzero(np.diff(before) % 2)
    cut = np.zeros(len(odd), bool)
    if len(odd):
        first, last = odd[:-1], odd[1:]
        cut[:-1] = faulty(first, last + 1) | (ends[last] - begins[first] > MAX_RECORD_BYTES)
        cut[-1] = final or size - begins[odd[-1]] > MAX_RECORD_BYTES  # nothing closes it
    # Behind a cut the next odd line starts a record; otherwise they start and close in turn.
    number = np.arange(len(odd))
    last_cut = np.maximum.accumulate(np.concatenate([[-1], np.where(cut, number, -1)]))[:-1]
    starts = (number - last_cut) % 2 == 1
    opening = np.flatnonzero(starts & ~cut)
    decided = len(ends)
    if len(opening) and opening[-1] == len(odd) - 1:
        decided, opening = int(odd[-1]), opening[:-1]
    depth = np.zeros(decided, np.int8)
    depth[odd[opening]] = 1
    depth[odd[opening + 1]] = -1
    closes = np.cumsum(depth, dtype=np.int8) == 0  # bool[lines]: a record ends with the line
    first = np.flatnonzero(np.concatenate([[True], closes[:-1]])[:decided])
    last = np.flatnonzero(closes)
    was_cut = np.zeros(len(ends), bool)
    was_cut[odd[starts & cut]] = True
    bad = faulty(first, last + 1) | was_cut[first]
    return ends[last], begins[first[bad]]


def _faults_by_parity(
    buffer: npt.NDArray[np.uint8], quotes: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """int64[2, quotes + 1]: how many of the first n quotes stand where none may.

    Row 0 where quotes with an even number open a cell, row 1 where those with an odd one do.
    """
    size = len(buffer)
    before = buffer[np.maximum(quotes - 1, 0)]
    after = buffer[np.minimum(quotes + 1, size - 1)]
    may_open = (quotes == 0) | (before == COMMA) | (before == NEWLINE) | (before == QUOTE)
    may_close = (quotes == size - 1) | (after == COMMA) | (after == NEWLINE)
    may_close |= (after == RETURN) | (after == QUOTE)
    even = np.arange(len(quotes)) % 2 == 0
    faults = np.zeros((2, len(quotes) + 1), np.int64)
    np.cumsum(np.where(even, ~may_open, ~may_close), out=faults[0, 1:])
    np.cumsum(np.where(even, ~may_close, ~may_open), out=faults[1, 1:])
    return faults


def _without_line_end(
    buffer: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    ends = stops - (buffer[stops - 1] == NEWLINE)
    stripped: npt.NDArray[np.int64] = ends - (
        (ends > starts) & (buffer[np.maximum(ends - 1, 0)] == RETURN)
    )
    return stripped


def _bare_returns(
    buffer: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
    quotes: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Carriage returns outside quotes that no line feed (and not the file's end) follows."""
    returns = np.flatnonzero(buffer == RETURN)
    bare: npt.NDArray[np.int64] = returns[
        buffer[np.minimum(returns + 1, len(buffer) - 1)] != NEWLINE
    ]
    bare = bare[bare != len(buffer) - 1]
    if not len(quotes):
        return bare
    begins = starts[np.searchsorted(stops, bare, side="right")]
    is_outside = (np.searchsorted(quotes, bare) - np.searchsorted(quotes, begins)) % 2 == 0
    outside: npt.NDArray[np.int64] = bare[is_outside]
    return outside


def _records_at(positions: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> list[int]:
    found: list[int] = np.unique(np.searchsorted(stops, positions, side="right")).tolist()
    return found


def _without_blanks(block: Block) -> Block:
    kept = block.ends > block.starts
    if kept.all():
        return block
    number = np.cumsum(kept) - 1
    broken = {int(number[row]): why for row, why in block.broken.items() if kept[row]}
    starts, ends = block.starts[kept], block.ends[kept]
    return Block(block.data, starts, ends, broken, block.quotes, block.offset)


def too_long(longest: int | None = None) -> str:
    """What is wrong with a record of more bytes, of `MAX_RECORD_BYTES` where none are given."""
    return f"the record is longer than {longest or MAX_RECORD_BYTES:,} bytes"


def _only_record(data: bytes, offset: int, longest: int | None) -> Block:
    none = np.zeros(0, np.int64)
    return Block(data, np.array([0]), np.array([len(data)]), {0: too_long(longest)}, none, offset)
