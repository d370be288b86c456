"""Files as they come: line ends, marks, headers, nothing at all, and files that break off."""

import gzip
from pathlib import Path

import pytest

from beam_jobs import storage
from beam_jobs.errors import InputError, UsageError
from beam_jobs.read import format_of, peek_columns, read_range, resolve_ranges, scan_range
from beam_jobs.read.byte_range import ReadSpec
from beam_jobs.read.splitting import candidate_ranges
from beam_jobs.schema import Feature, FeatureType
from support.reading import CSV_HEADER, FEATURES, read_rows, write

BOM = b"\xef\xbb\xbf"
TEXT = [".csv", ".csv.gz", ".jsonl", ".jsonl.gz"]
CSV = [".csv", ".csv.gz"]


def lines_of(suffix: str) -> list[bytes]:
    if suffix.startswith(".csv"):
        return [b"id,n,x,note", b"a,1,0.5,", b"b,2,,x"]
    return [b'{"id": "a", "n": 1, "x": 0.5}', b'{"id": "b", "n": 2, "note": "x"}']


@pytest.mark.parametrize("suffix", TEXT)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize("last", [b"", b"end", b"\n\n"])
def test_line_ends_marks_and_blank_lines(
    tmp_path: Path, suffix: str, end: bytes, mark: bytes, last: bytes
) -> None:
    data = mark + end.join(lines_of(suffix)) + (end if last == b"end" else last)
    rows = read_rows(write(tmp_path / f"ads{suffix}", data))
    assert [
        (row.number, row.key, row.values["n"], row.values["x"], row.values["note"], row.reasons)
        for row in rows
    ] == [(1, "a", 1, 0.5, None, []), (2, "b", 2, None, "x", [])]
    assert [row.raw for row in rows] == lines_of(suffix)[-2:]


@pytest.mark.parametrize("suffix", TEXT)
@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n\n", BOM, BOM + b"\n"])
def test_an_empty_file_has_no_rows(tmp_path: Path, suffix: str, data: bytes) -> None:
    path = write(tmp_path / f"ads{suffix}", data)
    assert read_rows(path) == []
    assert peek_columns(storage.info(str(path))) == []


@pytest.mark.parametrize("suffix", CSV)
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
def test_a_header_only_has_no_rows(tmp_path: Path, suffix: str, end: bytes) -> None:
    path = write(tmp_path / f"ads{suffix}", BOM + b"id,n" + end)
    assert read_rows(path) == []
    assert peek_columns(storage.info(str(path))) == ["id", "n"]


@pytest.mark.parametrize("order", ["id,n,x", "x,n,id", "n,id,x"])
def test_the_header_decides_the_order(tmp_path: Path, order: str) -> None:
    cells = {"id": "a", "n": "1", "x": "0.5"}
    text = order + "\n" + ",".join(cells[name] for name in order.split(","))
    (row,) = read_rows(write(tmp_path / "ads.csv", text.encode()))
    assert list(row.values) == [feature.name for feature in FEATURES]
    assert row.values == {"id": "a", "n": 1, "x": 0.5, "tags": None}


def test_columns_without_a_name_get_one_by_their_place(tmp_path: Path) -> None:
    path = write(tmp_path / "ads.csv", b',id,"",n\n0,a,y,1\n')
    (row,) = read_rows(path)
    assert (row.values["Unnamed: 0"], row.values["Unnamed: 2"]) == ("0", "y")
    assert (row.key, row.values["n"], row.reasons) == ("a", 1, [])


def test_quoted_cells(tmp_path: Path) -> None:
    path = write(
        tmp_path / "ads.csv", b'"id","n",x,note\r\n"a","1",0.5,"x\r\n""y"", z"\r\n"",,"",\n'
    )
    first, second = read_rows(path)
    assert first.values == {"id": "a", "n": 1, "x": 0.5, "tags": None, "note": 'x\r\n"y", z'}
    assert first.raw == b'"a","1",0.5,"x\r\n""y"", z"'
    assert set(second.values.values()) == {None}
    assert [first.reasons, second.reasons, second.key] == [[], [], None]


def test_a_file_of_one_column(tmp_path: Path) -> None:
    path = write(tmp_path / "ads.csv", b'id\na\n\nb,c\n""\nd')
    rows = read_rows(path, (Feature("id", FeatureType.BYTES),))
    assert [row.values["id"] for row in rows] == ["a", None, None, "d"]
    assert [len(row.reasons) for row in rows] == [0, 1, 0, 0]


@pytest.mark.parametrize("suffix", CSV)
@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"id,n,id", "column 'id' appears twice in the header"),
        (b"id,\xff", "the header cannot be read .*0xff"),
        (b'id,"n', "the header cannot be read .*quote"),
        (b"id,n\0", "the header cannot be read .*NUL"),
        (b"id,n\r1,2\r3,4", "the header cannot be read .*carriage return"),
        (b"n" * (2 << 20), "the header cannot be read .*longer than"),
        (b"n" * (12 << 20), "the header cannot be read .*longer than"),
    ],
)
def test_a_header_that_cannot_be_read_is_an_error_that_names_the_file(
    tmp_path: Path, suffix: str, header: bytes, problem: str
) -> None:
    path = write(tmp_path / f"ads{suffix}", header + b"\na,1\n")
    with pytest.raises(InputError, match=rf"ads{suffix}: {problem}"):
        read_rows(path)
    with pytest.raises(InputError, match=rf"ads{suffix}: {problem}"):
        peek_columns(storage.info(str(path)))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("kept", [5, 0.5, -9, -1])
def test_a_truncated_gzip_is_an_error_that_names_it(
    tmp_path: Path, suffix: str, kept: float
) -> None:
    line = b"a,1,0.5,x\n" if suffix == ".csv" else b'{"id": "a"}\n'
    data = gzip.compress((CSV_HEADER if suffix == ".csv" else b"") + line * 5_000)
    path = tmp_path / f"ads{suffix}.gz"
    path.write_bytes(data[: int(len(data) * kept) if 0 < kept < 1 else int(kept)])
    with pytest.raises(InputError, match=rf"ads{suffix}\.gz: the gzip data is truncated"):
        read_rows(path)


@pytest.mark.parametrize(
    "data",
    [b"id,n\na,1\n", gzip.compress(b"id,n\na,1\n", mtime=0) + b"garbage"],
    ids=["text", "garbage behind it"],
)
def test_what_is_no_gzip_is_an_error_that_names_it(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "ads.csv.gz"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"ads\.csv\.gz: the gzip data is truncated or corrupt"):
        read_rows(path)


def test_gzip_data_with_a_wrong_checksum_is_an_error(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(b"id,n\na,1\n"))
    data[-8] ^= 1
    (tmp_path / "ads.csv.gz").write_bytes(data)
    with pytest.raises(InputError, match=r"ads\.csv\.gz: the gzip data is truncated or corrupt"):
        read_rows(tmp_path / "ads.csv.gz")


def test_gzip_files_that_were_joined_are_read_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "ads.csv.gz"
    path.write_bytes(gzip.compress(b"id,n\na,1\nb") + gzip.compress(b",2\nc,3\n"))
    assert [(row.key, row.values["n"]) for row in read_rows(path)] == [("a", 1), ("b", 2), ("c", 3)]


@pytest.mark.parametrize("suffix", TEXT)
def test_a_file_that_changes_or_goes_is_an_error_that_names_it(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"ads{suffix}", b"\n".join(lines_of(suffix)))
    (byte_range,) = candidate_ranges(storage.info(str(path)), 0)
    batches = read_range(byte_range, ReadSpec(FEATURES, "id"))
    next(batches)
    write(path, b"\n".join([*lines_of(suffix), b"more"]))
    with pytest.raises(InputError, match=rf"ads{suffix}: changed during the run"):
        list(batches)
    path.unlink()
    with pytest.raises(InputError, match=rf"ads{suffix}: was removed during the run"):
        list(read_range(byte_range, ReadSpec(FEATURES, "id")))


def test_many_byte_ranges_of_a_file_with_every_defect_give_the_rows_of_one(tmp_path: Path) -> None:
    record = [
        b"a,1,0.5,x",
        b'b,2,1.5,"x\ny"',
        b'c,3,"2.5,x',
        b"d,4",
        b"\xff,5,2.5,x",
        b"e\0,6,,",
        b"",
    ]
    data = CSV_HEADER + b"\n".join(record * 40)
    path = write(tmp_path / "ads.csv", data)
    whole = read_rows(path)
    assert [row.number for row in whole] == list(range(1, len(whole) + 1))
    for range_bytes in (37, 100, 1_000, 2_500):
        assert read_rows(path, range_bytes=range_bytes) == whole
    scans = [
        scan_range(byte_range) for byte_range in candidate_ranges(storage.info(str(path)), 0, 100)
    ]
    byte_ranges = resolve_ranges(scans)
    assert [byte_range.first_row for byte_range in byte_ranges] == sorted(
        {byte_range.first_row for byte_range in byte_ranges}
    )


@pytest.mark.parametrize("name", ["ads.txt", "ads.csv.bz2", "ads", "ads.CSV.zip"])
def test_an_unknown_suffix_is_a_users_mistake(name: str) -> None:
    with pytest.raises(UsageError, match=r"not a known format.*\.csv, \.csv\.gz"):
        format_of(name)
