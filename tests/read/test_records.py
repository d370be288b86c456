"""Splitting bytes into records: against Python's csv, and the same for any byte range."""

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from beam_jobs import storage
from beam_jobs.batch import FINDINGS, RAW, RAW_LIMIT_BYTES, SOURCE_ROW
from beam_jobs.read import ReadSpec, candidate_ranges, read_range, resolve_ranges, scan_range
from beam_jobs.read.lines import Splitter
from beam_jobs.read.splitting import needs_scan
from beam_jobs.schema import Feature, FeatureType

NASTY = st.text(alphabet='ab,"\n\r', max_size=60)
Record = tuple[bytes, str | None]


def split_all(data: bytes, **how: int) -> list[Record]:
    splitter = Splitter(io.BytesIO(data), 0, quoted=True, **how)
    return [
        (block.data[block.starts[row] : block.ends[row]], block.broken.get(row))
        for block in splitter.blocks()
        for row in range(len(block))
    ]


@given(NASTY)
@example('1,"a\nb"\n2,c')
@settings(max_examples=500)
def test_without_broken_records_it_is_what_csv_reads(text: str) -> None:
    found = split_all(text.encode())
    if any(why for _, why in found):
        return
    cells = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    ours = [next(csv.reader(io.StringIO(r.decode(), newline=""))) for r, _ in found]
    assert ours == cells


@given(st.lists(st.lists(st.text('ab ,"\n\u00e9', min_size=1), min_size=2, max_size=3)))
def test_whatever_csv_writes_has_no_broken_record(rows: list[list[str]]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    found = split_all(out.getvalue().encode())
    assert [why for _, why in found] == [None] * len(rows)


@given(NASTY, st.integers(1, 5))
def test_rows_a_batch_do_not_matter(text: str, rows: int) -> None:
    assert split_all(text.encode(), rows=rows) == split_all(text.encode())


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ('1,"xy\n2,y\n3,z\n', [True, False, False]),
        ('1,"xy\n2,y\n3,"abc",4\n5,6', [True, False, False, False]),
        ('1,x"y\n2,y"\n3,4\n', [True, True, False]),
        ('"x"y,1\n2,3\n', [True, False]),
        ("a\0b\nc\n", [True, False]),
        ("a\rb\nc\r\nd\n", [True, False, False]),
    ],
)
def test_a_broken_record_costs_itself_only(text: str, broken: list[bool]) -> None:
    assert [why is not None for _, why in split_all(text.encode())] == broken


def test_a_cell_of_100_mb_is_one_broken_record() -> None:
    data = b"1,a\n2," + b"x" * 100_000_000 + b"\n3,c\n"
    found = split_all(data)
    assert [why is not None for _, why in found] == [False, True, False]
    assert len(found[1][0]) == RAW_LIMIT_BYTES


FEATURES = (Feature("a", FeatureType.BYTES), Feature("b", FeatureType.INT))


def read(path: Path, range_bytes: int) -> list[tuple[Any, ...]]:
    byte_ranges = candidate_ranges(storage.info(str(path)), 0, range_bytes)
    if needs_scan(byte_ranges):
        byte_ranges = resolve_ranges([scan_range(byte_range) for byte_range in byte_ranges])
    rows: list[Any] = []
    for byte_range in byte_ranges:
        for batch in read_range(byte_range, ReadSpec(FEATURES, "a")):
            table = pa.Table.from_batches([batch]).to_pydict()
            rows += zip(
                table["a"], table["b"], table[SOURCE_ROW], table[FINDINGS],
                strict=True,
            )  # fmt: skip
    return rows


@given(st.text(alphabet='a1,"\n\r', max_size=80), st.integers(1, 12))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=300,
)
def test_any_byte_ranges_give_the_records_of_one(
    tmp_path: Path, text: str, range_bytes: int
) -> None:
    path = tmp_path / "ads.csv"
    path.write_bytes(b"a,b\n" + text.encode())
    assert read(path, range_bytes) == read(path, 1 << 20)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_and_marks(tmp_path: Path, end: str, bom: bytes, last: bool) -> None:
    path = tmp_path / "ads.csv"
    text = end.join(["b,a", "1,x", "", '2,"y""z"']) + (end if last else "")
    path.write_bytes(bom + text.encode())
    assert read(path, 1 << 20) == [("x", 1, 1, []), ('y"z', 2, 2, [])]


@pytest.mark.parametrize("text", ["", "a,b\n", "a,b", "\n\n"])
def test_files_without_records(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ads.csv"
    path.write_text(text)
    assert read(path, 1 << 20) == []


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("0x10", "INVALID_TYPE"), (" 7 ", "INVALID_TYPE"), ("NaN", "INVALID_TYPE"),
        ("١٢", "INVALID_TYPE"), ("9223372036854775808", "INVALID_TYPE"), ("7.0", "INVALID_TYPE"),
        ("2026-10-01", "INVALID_TYPE"), ("1e999", "INVALID_TYPE"),
    ],
)  # fmt: skip
def test_cells_that_are_no_integer(tmp_path: Path, cell: str, reason: str) -> None:
    path = tmp_path / "ads.csv"
    path.write_text(f"a,b\nx,1\ny,{cell}\nz,-3\n")
    rows = read(path, 1 << 20)
    assert [(row[1], [f["reason"] for f in row[3]]) for row in rows] == [
        (1, []), (None, [reason]), (-3, []),
    ]  # fmt: skip
    assert repr(cell) in rows[1][3][0]["detail"]


def test_the_raw_records_survive_arrows_ipc(tmp_path: Path) -> None:
    path = tmp_path / "ads.csv"
    path.write_text("a,b\n" + "".join(f"x{row},{row}\n" for row in range(10)))
    (byte_range,) = candidate_ranges(storage.info(str(path)), 0)
    batches = list(read_range(byte_range, ReadSpec(FEATURES, "a"), rows_per_batch=4))
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        back = pa.ipc.open_stream(sink.getvalue()).read_all()
        assert back.to_pydict() == batch.to_pydict()
    raw = [value for batch in batches for value in batch.to_pydict()[RAW]]
    assert [value.rstrip(b"\n") for value in raw] == [f"x{row},{row}".encode() for row in range(10)]
