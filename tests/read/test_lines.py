"""Splitting bytes into records, against a byte-by-byte reading of the rules in `lines`."""

import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beam_jobs.read import lines
from beam_jobs.read.lines import Splitter

PIECES = st.sampled_from(
    ["a", ",", '"', "\n", '""', '"\n', '\n"', ',"', '",', '"\r\n', "\n\n", "ab"]
)
NASTY = st.lists(PIECES, max_size=40).map("".join)
Split = list[tuple[bytes, bool]]


def reference(data: bytes, longest: int) -> Split:
    """The records with their line ends, and whether each is broken."""
    found: Split = []
    start = 0
    while start < len(data):
        stop, faulty = _first_record(data, start)
        first_line = data.find(b"\n", start) + 1 or len(data)
        several = first_line < (stop or len(data) + 1)
        if several and (stop is None or faulty or stop - start > longest):
            stop, faulty = first_line, True
        stop = stop or len(data)
        found.append((data[start:stop], faulty or stop - start > longest))
        start = stop
    return [(record, broken) for record, broken in found if record not in (b"\n", b"\r\n")]


def _first_record(data: bytes, start: int) -> tuple[int | None, bool]:
    """(the byte behind the record at `start`, None if not closed; whether it is faulty)."""
    inside = faulty = False
    for place in range(start, len(data)):
        byte = data[place : place + 1]
        if byte == b'"' and not inside:
            faulty |= place > start and data[place - 1 : place] not in (b",", b'"')
            inside = True
        elif byte == b'"':
            faulty |= place + 1 < len(data) and data[place + 1 : place + 2] not in (
                b",", b"\n", b"\r", b'"',
            )  # fmt: skip
            inside = False
        elif byte == b"\n" and not inside:
            return place + 1, faulty
    if inside and b"\n" not in data[start:]:
        return len(data), True
    return (None if inside else len(data)), faulty


def ours(data: bytes, **how: int) -> Split:
    splitter = Splitter(io.BytesIO(data), 0, quoted=True, **how)
    return [
        (block.data[block.starts[row] : block.ends[row]], row in block.broken)
        for block in splitter.blocks()
        for row in range(len(block))
    ]


def without_line_ends(split: Split) -> Split:
    return [
        (record.removesuffix(b"\n").removesuffix(b"\r") or record[:1], broken)
        for record, broken in split
    ]


@given(NASTY)
@settings(max_examples=1000)
@example('"a\n"b\n')
@example('a,"\n"\n"')
def test_records_are_those_of_the_rules(text: str) -> None:
    data = text.replace("\r\n", "\n").encode()
    assert ours(data) == without_line_ends(reference(data, lines.MAX_RECORD_BYTES))


@given(NASTY, st.integers(2, 12), st.integers(1, 12), st.integers(1, 4))
@settings(max_examples=1000)
@example('"\n\n\n\n\n\n"\na\n', 4, 1, 1)
def test_however_long_records_may_be_and_reads_fall(
    text: str, longest: int, more: int, rows: int
) -> None:
    data = text.replace("\r\n", "\n").encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "MAX_RECORD_BYTES", longest)
        found = ours(data, block_bytes=longest + more, rows=rows)
        expected = without_line_ends(reference(data, longest))
    assert [broken for _, broken in found] == [broken for _, broken in expected]
    for (record, _), (whole, _) in zip(found, expected, strict=True):
        # A line that fills a whole read is kept as far as it was read.
        assert record == whole if len(whole) < longest else whole.startswith(record)


@pytest.mark.parametrize(
    "line", [b'1,"x\n', b'1,x"\n', b'"a"b,1\n', b'"\n', b'1,"x"\n', b'1,"\n2"\n']
)
def test_a_quote_in_each_of_many_lines(line: bytes) -> None:
    data = b"".join(b"%d,ab\n" % row if row % 3 else line for row in range(2_000))
    expected = without_line_ends(reference(data, lines.MAX_RECORD_BYTES))
    assert ours(data) == expected
    assert ours(data, rows=7) == expected
