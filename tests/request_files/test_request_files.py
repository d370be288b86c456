"""Request files read together are what each of them is alone."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from beam_jobs import storage
from beam_jobs.batch import FINDINGS, KEY
from beam_jobs.errors import InputError
from beam_jobs.request_files.groups import Group, groups_of
from beam_jobs.request_files.ids import id_table, mark_duplicates
from beam_jobs.request_files.read import read_requests
from beam_jobs.validation.duplicates import write_duplicates
from beam_jobs.validation.keys import find_duplicates
from support.request_lines import SPEC, Row, read_group, read_rows, write


def request(name: str) -> bytes:
    return b'{"id": "%s", "bid": 0.5, "tags": ["x"]}' % name.encode()


def make_files(folder: Path) -> list[storage.FileInfo]:
    several = {"instances": [{"id": f"i{n}", "bid": n} for n in range(7)]}
    return [
        write(folder / "a.jsonl", [request("a1"), request("a2")]),
        write(folder / "b.jsonl", b"\xef\xbb\xbf" + request("b1") + b"\r\n\r\n" + request("b2")),
        write(folder / "c.jsonl", b""),
        write(folder / "d.jsonl.gz", [request("d1"), b"broken", json.dumps(several).encode()]),
        write(folder / "e.jsonl", b"\n \n" + request("e1")),
        write(folder / "f.jsonl.gz", b""),
        write(folder / "g.jsonl", [request("g1")]),
    ]


@pytest.mark.parametrize("rows_per_batch", [1, 2, 3, 100])
def test_together_as_alone(tmp_path: Path, rows_per_batch: int) -> None:
    files = make_files(tmp_path)
    together = read_rows(files, SPEC, rows_per_batch)
    assert together == [row for file in files for row in read_rows([file])]
    numbers = {file.uri: [r.number for r in together if r.file == file.uri] for file in files}
    assert list(numbers.values()) == [[1, 2], [1, 2], [], [*range(1, 10)], [1, 2], [], [1]]
    assert [row.key for row in together if not row.reasons] == (
        ["a1", "a2", "b1", "b2", "d1", *(f"i{n}" for n in range(7)), "e1", "g1"]
    )


def test_a_large_file_between_small_ones(tmp_path: Path) -> None:
    padding = "x" * 500
    large = [
        json.dumps({"instances": [{"id": f"{n}.{k}", "device": padding} for k in range(100)]})
        for n in range(200)
    ]
    files = [
        write(tmp_path / "a.jsonl", [request("a1")]),
        write(tmp_path / "b.jsonl", [line.encode() for line in large]),
        write(tmp_path / "c.jsonl", [request("c1")]),
    ]
    assert files[1].size > 8 << 20
    rows = read_rows(files, SPEC, 1_000)
    assert [row.key for row in rows] == [
        "a1", *(f"{n}.{k}" for n in range(200) for k in range(100)), "c1"
    ]  # fmt: skip
    assert [row.number for row in rows] == [1, *range(1, 20_001), 1]


@pytest.mark.usefixtures("tmp_path")
def test_groups_hold_every_file_once_in_order() -> None:
    sizes = [5, 5, 1, 30, 0, 0, 0, 9, 9 << 20, 9]
    files = [storage.FileInfo(f"{n}.jsonl", size, "") for n, size in enumerate(sizes)]
    groups = groups_of(files, max_bytes=10, max_files=2)
    assert [(g.first, [file.size for file in g.files], g.start, g.end) for g in groups] == [
        (0, [5, 5], 0, None),
        (2, [1], 0, None),
        (3, [30], 0, None),
        (4, [0, 0], 0, None),
        (6, [0, 9], 0, None),
        (8, [9 << 20], 0, 9 << 19),
        (8, [9 << 20], 9 << 19, 9 << 20),
        (9, [9], 0, None),
    ]
    assert [group.number for group in groups] == [*range(8)]
    assert [group.is_last for group in groups] == [True] * 5 + [False] + [True] * 2
    assert groups_of([]) == []


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_ranges_together_are_the_file(tmp_path: Path, mark: bytes) -> None:
    several = b'{"instances": [{"id": "i"}, {"id": "j"}]}'
    data = mark + b"\n".join([b"\n", request("a"), b"\r", several, b"", b"no", b"", b'{"id": 5}'])
    file = write(tmp_path / "a.jsonl", data)
    whole = read_rows([file])
    assert [row.key for row in whole] == ["a", "i", "j", None, "5"]
    for cut in range(1, len(data)):
        rows: list[Row] = []
        for start, end in ((0, cut), (cut, len(data))):
            rows += read_group(Group(0, 0, (file,), start, end), SPEC, len(rows) + 1)
        assert rows == whole


def test_a_range_begins_behind_a_long_line(tmp_path: Path) -> None:
    long = b'{"id": "a", "device": "%s"}' % (b"x" * 200_000)
    file = write(tmp_path / "a.jsonl", [long, request("b")])
    for cut in (1, 100_000, len(long), len(long) + 1):
        ranges = [Group(0, 0, (file,), 0, cut), Group(1, 0, (file,), cut, file.size)]
        assert [[row.key for row in read_group(some)] for some in ranges] == [["a"], ["b"]]


def test_files_that_changed_or_were_cut_are_errors(tmp_path: Path) -> None:
    changed = write(tmp_path / "a.jsonl", [request("a")])
    write(tmp_path / "a.jsonl", [request("a"), request("b")])
    with pytest.raises(InputError, match=r"a\.jsonl: changed during the run"):
        read_rows([changed])
    cut = write(tmp_path / "b.jsonl.gz", [request(f"b{n}") for n in range(1_000)])
    Path(cut.uri).write_bytes(Path(cut.uri).read_bytes()[:-20])
    with pytest.raises(InputError, match=r"b\.jsonl\.gz: the gzip data is truncated"):
        read_rows([storage.info(cut.uri)])


def test_the_first_request_with_an_id_keeps_it(tmp_path: Path) -> None:
    twice = b'{"instances": [{"id": "x"}, {"id": "y"}, {"id": "x"}]}'
    files = [
        write(tmp_path / "a.jsonl", [request("a"), b'{"id": "b", "bid": ', request("a")]),
        write(tmp_path / "b.jsonl", [request("c"), request("b"), twice]),
        write(tmp_path / "c.jsonl", [b'{"bid": 1}', request("y"), b'{"bid": 1}']),
    ]
    uris = [file.uri for file in files]
    group = Group(0, 0, tuple(files))
    batches = list(read_requests(group, SPEC, rows_per_batch=2))
    paths = []
    for number, batch in enumerate(batches):
        paths.append(str(tmp_path / f"{number}.parquet"))
        pq.write_table(id_table(batch, group), paths[-1])
    found = find_duplicates(paths, str(tmp_path))
    duplicates = write_duplicates(str(tmp_path / "duplicates.parquet"), found)
    marked = [
        (
            row[KEY],
            [
                f"{f['feature']}: {f['detail']}"
                for f in row[FINDINGS]
                if f["reason"] == "DUPLICATE_KEY"
            ],
        )
        for batch in batches
        for row in mark_duplicates(batch, duplicates, group, uris).to_pylist()
    ]
    assert marked == [
        ("a", []),
        ("b", []),
        ("a", [f"id: 'a' was first seen in {uris[0]} row 1"]),
        ("c", []),
        ("b", [f"id: 'b' was first seen in {uris[0]} row 2"]),
        ("x", []),
        ("y", []),
        ("x", [f"id: 'x' was first seen in {uris[1]} row 3"]),
        (None, []),
        ("y", [f"id: 'y' was first seen in {uris[1]} row 4"]),
        (None, []),
    ]
