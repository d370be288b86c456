"""Answers: their lines by a JSON parser, their files by what a reader sees."""

import datetime
import gzip
import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs import records, storage
from beam_jobs.publish.runs import RunIdentity
from beam_jobs.records import DEFAULT_ACTIONS, Findings, Reason
from beam_jobs.requests.answers import answer_lines, release, write_answers
from beam_jobs.requests.queue import answer_names, list_queue, unconsumed

RUN = RunIdentity('run"1', "requests", datetime.date(2026, 11, 24), "3")
OUTPUTS = st.none() | st.dictionaries(
    st.text(max_size=3), st.floats(allow_nan=False, allow_infinity=False)
)
FOUND = st.lists(st.tuples(st.sampled_from(list(Reason)), st.text(max_size=5)), max_size=3)
ROWS = st.tuples(
    st.none() | st.text(min_size=1, max_size=5),
    st.none() | st.floats(),
    OUTPUTS,
    FOUND,
)


def batch_of(rows: list[tuple[Any, ...]], files: list[str] | None = None) -> pa.RecordBatch:
    """Scored rows: (key, score, outputs, [(reason, detail)])."""
    columns = {
        records.KEY: pa.array([row[0] for row in rows], pa.string()),
        records.SOURCE_FILE: pa.array(files or ["/q/a.jsonl"] * len(rows), pa.string()),
        records.SCORE: pa.array([row[1] for row in rows], pa.float64()),
        records.OUTPUTS: pa.array(
            [None if row[2] is None else json.dumps(row[2]) for row in rows], pa.string()
        ),
    }
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    found = [
        Findings(reason, [number], [detail])
        for number, row in enumerate(rows)
        for reason, detail in row[3]
    ]
    return records.with_findings(batch, found)


def expected(row: tuple[Any, ...]) -> dict[str, Any]:
    key, score, outputs, found = row
    rejected = score is None or any(reason is not Reason.OUT_OF_DOMAIN for reason, _ in found)
    codes = list(dict.fromkeys(reason.value for reason, _ in found))
    no_score = rejected or not math.isfinite(score)
    return {
        "id": key,
        "status": "REJECTED" if rejected else "OK",
        "score": None if no_score else score,
        "outputs": None if rejected else outputs,
        "flags": [] if rejected else codes,
        "reasons": codes if rejected else [],
        "details": [f"{reason.value} {detail}" for reason, detail in found],
        "model_version": "3",
        "run_id": 'run"1',
    }


@given(st.lists(ROWS, max_size=5))
def test_lines_read_back_as_what_was_found(rows: list[tuple[Any, ...]]) -> None:
    lines = answer_lines(batch_of(rows), RUN, DEFAULT_ACTIONS).to_pylist()
    assert len(lines) == len(rows)
    for row, line in zip(rows, lines, strict=True):
        if row[0] is None:
            assert line is None
            continue
        assert line.endswith("\n") and line.count("\n") == 1
        answer = json.loads(line)
        assert list(answer) == list(expected(row))
        # As texts: 0 and -0.0 are equal numbers.
        assert json.dumps(answer) == json.dumps(expected(row))


def write_all(batches: list[pa.RecordBatch], targets: dict[str, str]) -> None:
    passed = list(write_answers(iter(batches), targets, RUN, DEFAULT_ACTIONS))
    assert passed == batches


def ids_of(path: Path) -> list[str]:
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return [json.loads(line)["id"] for line in text.splitlines()]


def test_every_request_file_has_its_answers_in_order(tmp_path: Path) -> None:
    targets = {f"/q/{name}": str(tmp_path / name) for name in ("a.jsonl", "b.jsonl", "c.jsonl.gz")}
    targets["/q/none.jsonl"] = str(tmp_path / "none.jsonl")
    batches = [
        batch_of([("1", 0.1, None, []), ("2", 0.2, None, [])]),
        batch_of(
            [
                ("3", 0.3, None, []),
                (None, None, None, [(Reason.MISSING_KEY, "")]),
                ("5", 1, {}, []),
            ],
            ["/q/a.jsonl", "/q/b.jsonl", "/q/c.jsonl.gz"],
        ),
        batch_of([("6", 0.1, None, [])], ["/q/c.jsonl.gz"]),
    ]
    write_all(batches, targets)
    found = {path.name: ids_of(path) for path in tmp_path.iterdir()}
    assert found == {
        "a.jsonl": ["1", "2", "3"],
        "b.jsonl": [],
        "c.jsonl.gz": ["5", "6"],
        "none.jsonl": [],
    }
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_all(batches, targets)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_failure_leaves_no_half_of_a_file(tmp_path: Path) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield batch_of([("1", 0.1, None, [])])
        yield batch_of([("2", 0.1, None, []), ("3", 0.1, None, [])], ["/q/a.jsonl", "/q/b.jsonl"])
        raise ValueError("the next batch")

    targets = {f"/q/{name}.jsonl": str(tmp_path / f"{name}.jsonl") for name in "abc"}
    with pytest.raises(ValueError, match="the next batch"):
        list(write_answers(failing(), targets, RUN, DEFAULT_ACTIONS))
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
    assert ids_of(tmp_path / "a.jsonl") == ["1", "2"]


def test_answers_are_released_once_and_never_replaced(tmp_path: Path) -> None:
    file = storage.FileInfo("/queue/ads.jsonl.gz", 1, "77")
    out = str(tmp_path / "out")
    staged = []
    for number in range(4):
        staged.append(str(tmp_path / f"{number}"))
        storage.write_atomic(staged[-1], b"answers %d" % number)
    names = ["ads.jsonl.gz", "ads~77.jsonl.gz", "ads~77~2.jsonl.gz", "ads~77~3.jsonl.gz"]
    for number, name in enumerate(names):
        assert release(staged[number], out, answer_names(file)) == f"{out}/{name}"
    for number, name in enumerate(names):
        assert release(staged[number], out, answer_names(file)) == f"{out}/{name}"
        assert storage.read_bytes(f"{out}/{name}") == b"answers %d" % number
    assert sorted(path.name for path in Path(out).iterdir()) == sorted(names)


def test_releasing_at_once_gives_each_its_own_name(tmp_path: Path) -> None:
    file = storage.FileInfo("/queue/ads.jsonl", 1, "77")
    out = str(tmp_path / "out")
    staged = [str(tmp_path / f"{number}") for number in range(16)]
    for number, path in enumerate(staged):
        storage.write_atomic(path, b"answers %d" % number)
    start = threading.Barrier(len(staged))
    found: dict[str, str] = {}

    def one(path: str) -> None:
        start.wait()
        found[path] = release(path, out, answer_names(file))

    threads = [threading.Thread(target=one, args=(path,)) for path in staged]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found.values())) == len(staged)
    assert all(storage.same_bytes(path, uri) for path, uri in found.items())
    assert sorted(storage.match(f"{out}/*")) == sorted(map(storage.info, found.values()))


def test_the_queue_holds_what_waits(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl.gz", "c.jsonl.tmp", "d.jsonl.gz.tmp", "notes.txt"):
        (tmp_path / name).write_bytes(b"{}\n")
    queue = list_queue([f"{tmp_path}/*", f"{tmp_path}/*.jsonl"])
    names = [Path(file.uri).name for file in queue.files]
    assert names == ["a.jsonl.gz", "b.jsonl"]
    assert [Path(uri).name for uri in queue.unfinished] == ["c.jsonl.tmp", "d.jsonl.gz.tmp"]
    assert [Path(uri).name for uri in queue.strange] == ["notes.txt"]
    consumed = {(file.uri, file.generation) for file in queue.files}
    assert unconsumed(queue.files, consumed) == ()
    (tmp_path / "b.jsonl").write_bytes(b"{}\n{}\n")
    again = list_queue([f"{tmp_path}/*.jsonl"])
    assert unconsumed(again.files, consumed) == again.files
    assert list_queue([f"{tmp_path}/nothing*"]).files == ()
