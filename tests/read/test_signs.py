"""What a reader sees of a file as a whole, in every format and however it is split."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs import storage
from beam_jobs.batch import Reason
from beam_jobs.read import ReadSpec, candidate_ranges, peek_columns, read_range, resolve_ranges
from beam_jobs.read.signs import FileSign, foreign_content
from beam_jobs.read.splitting import needs_scan, scan_range
from support.reading import CSV_GOOD, CSV_HEADER, FEATURES, JSON_GOOD, read_rows, write

HTML = b"""<!DOCTYPE html>
<html lang="en">
<body class="x"><p>502 "Bad, Gateway"</p>
</body></html>
"""
ROWS = b"\n".join(CSV_GOOD) + b"\n"
CUT, NO_NEWLINE = {FileSign.CUT}, {FileSign.NO_LAST_NEWLINE}
FOREIGN, NO_COLUMNS = {FileSign.FOREIGN}, {FileSign.WITHOUT_COLUMNS}


def signs(path: Path, range_bytes: int = 1 << 20) -> set[FileSign]:
    byte_ranges = candidate_ranges(storage.info(str(path)), 0, range_bytes)
    if needs_scan(byte_ranges):
        byte_ranges = resolve_ranges([scan_range(byte_range) for byte_range in byte_ranges])
    told: list[FileSign] = []
    for byte_range in byte_ranges:
        for _ in read_range(byte_range, ReadSpec(FEATURES, "id"), tell=told.append):
            pass
    return set(told)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (CSV_HEADER + ROWS, set()),
        (CSV_HEADER + ROWS + b"\n\n", set()),
        (CSV_HEADER + ROWS.replace(b"\n", b"\r\n"), set()),
        (CSV_HEADER + ROWS[:-1], NO_NEWLINE),
        (CSV_HEADER + ROWS + b"c,3", CUT),
        (CSV_HEADER + ROWS + b'c,3,0.5,"hel', CUT),
        (CSV_HEADER + ROWS + b'c,3,0.5,"hel\n', CUT),
        (CSV_HEADER + ROWS + b'c,3,0.5,"hel\nlo', CUT),
        # A line that is wrong, but whole, is only a wrong line.
        (CSV_HEADER + ROWS + b"2 rows\n", set()),
        (CSV_HEADER, set()),
        (b"", NO_COLUMNS),
        (b"other,names\n1,2\n", NO_COLUMNS),
        (HTML, FOREIGN),
        (b"\n  " + HTML.lower(), FOREIGN),
        (b'{"error": {"code": 502}}\n', FOREIGN),
        (b"PK\x03\x04\0\0\n\0\n", FOREIGN),
        (CSV_HEADER.decode().encode("utf-16") + b"\n", FOREIGN),
    ],
)
def test_csv(tmp_path: Path, suffix: str, data: bytes, expected: set[FileSign]) -> None:
    path = write(tmp_path / f"ads{suffix}", data)
    assert signs(path) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\n".join(JSON_GOOD) + b"\n", set()),
        (b"\n".join(JSON_GOOD), set()),
        (b"\n".join(JSON_GOOD) + b'\n{"id": "c", "n"', CUT),
        (b'{"other": 1}\n' * 3, NO_COLUMNS),
        (b"not json\n" + JSON_GOOD[0] + b"\n", set()),
        (b"[1, 2]\n", NO_COLUMNS),
        (HTML, FOREIGN),
    ],
)
def test_json_lines(tmp_path: Path, data: bytes, expected: set[FileSign]) -> None:
    assert signs(write(tmp_path / "ads.jsonl", data)) == expected


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "ads.parquet"
    pq.write_table(pa.table({"id": ["a"]}), path)
    assert signs(path) == set()
    pq.write_table(pa.table({"other": ["a"]}), path)
    assert signs(path) == NO_COLUMNS


@pytest.mark.parametrize("end", [b"", b"\n", b"x"])
def test_however_a_file_is_split(tmp_path: Path, end: bytes) -> None:
    path = write(tmp_path / "ads.csv", CSV_HEADER + ROWS * 50 + b"c,3,0.5," + end)
    whole = signs(path)
    assert whole == (set() if end == b"\n" else NO_NEWLINE)
    assert all(signs(path, size) == whole for size in (100, 333, 1_000))


def test_foreign_content_is_rows_that_say_so_however_it_is_split(tmp_path: Path) -> None:
    path = write(tmp_path / "ads.csv", HTML * 20)
    rows = read_rows(path)
    assert [row.number for row in rows] == list(range(1, 81))
    assert {tuple(row.reasons) for row in rows} == {(Reason.MALFORMED_RECORD,)}
    assert rows[0].details == ["the file is an HTML page"]
    assert rows[0].raw == b"<!DOCTYPE html>"
    assert read_rows(path, range_bytes=200) == rows
    assert [row.raw for row in read_rows(path, (), key_only=True)] == [row.raw for row in rows]
    assert peek_columns(storage.info(str(path))) == []


@pytest.mark.parametrize(
    "head",
    [CSV_HEADER, b"a<b,c\n", b'"id","n"\n', b"[x],y\n", b"{x},y\n", b"id\n", b"", b"<5 days,x\n"],
)
def test_csv_is_not_foreign(head: bytes) -> None:
    assert foreign_content(head, is_csv=True) is None


def test_json_is_foreign_to_csv_alone() -> None:
    data = json.dumps({"id": "a"}).encode()
    assert foreign_content(data, is_csv=True) == "JSON"
    assert foreign_content(data, is_csv=False) is None
    assert foreign_content(gzip.compress(data), is_csv=False) == "gzip data"
