"""Answers: their lines by a JSON parser, their files by what a reader sees."""

import datetime
import gzip
import json
import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs import storage
from beam_jobs.batch import (
    DEFAULT_ACTIONS,
    KEY,
    OUTPUTS,
    SCORE,
    SOURCE_FILE,
    SOURCE_ROW,
    Findings,
    Reason,
    with_findings,
)
from beam_jobs.errors import AuditError
from beam_jobs.request_files.answers import answer_lines
from beam_jobs.request_files.deliver import deliver_answers
from beam_jobs.request_files.queue import list_queue, unconsumed
from beam_jobs.request_files.staged import DELIVERED, AnswerPart, AnswerWriter, stage
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import RunIdentity

RUN = RunIdentity('run"1', "requests", datetime.date(2026, 11, 24), "3")
SOME_OUTPUTS = st.none() | st.dictionaries(
    st.text(max_size=3), st.floats(allow_nan=False, allow_infinity=False)
)
FOUND = st.lists(
    st.tuples(
        st.sampled_from(list(Reason)),
        st.text(max_size=5),
        st.none() | st.sampled_from(["a: b", ""]),
    ),
    max_size=3,
)
ROWS = st.tuples(
    st.none() | st.text(min_size=1, max_size=5),
    st.none() | st.floats(),
    SOME_OUTPUTS,
    FOUND,
)


def batch_of(
    rows: list[tuple[Any, ...]], files: list[str] | None = None, places: list[int] | None = None
) -> pa.RecordBatch:
    """Scored rows: (key, score, outputs, [(reason, detail, feature)])."""
    columns = {
        SOURCE_ROW: pa.array(places or range(1, len(rows) + 1), pa.int64()),
        KEY: pa.array([row[0] for row in rows], pa.string()),
        SOURCE_FILE: pa.array(files or ["/q/a.jsonl"] * len(rows), pa.string()),
        SCORE: pa.array([row[1] for row in rows], pa.float64()),
        OUTPUTS: pa.array(
            [None if row[2] is None else json.dumps(row[2]) for row in rows], pa.string()
        ),
    }
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    found = [
        Findings(reason, np.array([number]), [detail], feature)
        for number, row in enumerate(rows)
        for reason, detail, feature in row[3]
    ]
    return with_findings(batch, found)


def expected(row: tuple[Any, ...]) -> dict[str, Any]:
    key, score, outputs, found = row
    rejected = score is None or any(reason is not Reason.OUT_OF_DOMAIN for reason, *_ in found)
    codes = list(dict.fromkeys(reason.value for reason, *_ in found))
    no_score = rejected or not math.isfinite(score)
    return {
        "id": key,
        "status": "REJECTED" if rejected else "OK",
        "score": None if no_score else score,
        "outputs": None if rejected else outputs,
        "flags": [] if rejected else codes,
        "reasons": codes if rejected else [],
        "details": [
            f"{reason.value} {detail}" if feature is None else f"{reason.value} {feature}: {detail}"
            for reason, detail, feature in found
        ],
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
        assert line.endswith("\n")
        assert line.count("\n") == 1
        answer = json.loads(line)
        assert list(answer) == list(expected(row))
        # As texts: 0 and -0.0 are equal numbers.
        assert json.dumps(answer) == json.dumps(expected(row))


NAMES = ("a.jsonl", "b.jsonl", "c.jsonl.gz", "none.jsonl")
FILES = [storage.FileInfo(f"/q/{name}", 1, "77") for name in NAMES]
BATCHES = [
    batch_of([("1", 0.1, None, []), ("2", 0.2, None, [])]),
    batch_of(
        [
            ("3", 0.3, None, []),
            (None, None, None, [(Reason.MISSING_KEY, "", None)]),
            ("5", 1, {}, []),
        ],
        ["/q/a.jsonl", "/q/b.jsonl", "/q/c.jsonl.gz"],
        [3, 1, 1],
    ),
    # As the image stage gives them: in another order.
    batch_of(
        [(key, 0.1, None, []) for key in "86794"],
        ["/q/c.jsonl.gz"] * 4 + ["/q/a.jsonl"],
        [4, 2, 3, 5, 4],
    ),
]
ANSWERS = {
    "a.jsonl": list("1234"), "b.jsonl": [], "c.jsonl.gz": list("56789"), "none.jsonl": [],
}  # fmt: skip


def write_part(folder: RunFolder, *batches: pa.RecordBatch) -> AnswerPart:
    writer = AnswerWriter(folder.path, RUN, DEFAULT_ACTIONS)
    for batch in batches:
        writer.write(batch)
    return writer.close()


def ids_of(path: Path) -> list[str]:
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return [json.loads(line)["id"] for line in text.splitlines()]


@pytest.mark.parametrize("bundles", [[[0, 1, 2]], [[0], [1], [2]], [[2], [0, 1]], [[2, 0], [1]]])
def test_every_request_file_has_its_answers_in_order(
    tmp_path: Path, bundles: list[list[int]]
) -> None:
    folder = RunFolder(str(tmp_path / "run"))
    parts = [write_part(folder, *(BATCHES[number] for number in bundle)) for bundle in bundles]
    write_part(folder, BATCHES[2])  # of an attempt that failed after it
    stage(folder, str(tmp_path / "out"), FILES, parts)
    assert len(list((tmp_path / "run" / "answers").iterdir())) == len(parts)
    deliver_answers(folder)
    assert {path.name: ids_of(path) for path in (tmp_path / "out").iterdir()} == ANSWERS


def test_a_part_that_failed_leaves_nothing(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "run"))
    writer = AnswerWriter(folder.path, RUN, DEFAULT_ACTIONS)
    writer.write(BATCHES[0])
    writer.abort()
    assert list((tmp_path / "run" / "answers").iterdir()) == []


def test_a_part_that_changed_is_found_before_anything_is_published(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "run"))
    part = write_part(folder, BATCHES[0])
    path = tmp_path / "run" / "answers" / part.name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AuditError, match=f"{part.name}: has {part.bytes - 1} bytes"):
        stage(folder, str(tmp_path / "out"), FILES, [part])
    path.unlink()
    with pytest.raises(AuditError, match=f"{part.name}: is missing"):
        stage(folder, str(tmp_path / "out"), FILES, [part])


def run_with(tmp_path: Path, number: int, files: Sequence[storage.FileInfo] = FILES) -> RunFolder:
    """A run folder whose answers tell the run."""
    folder = RunFolder(str(tmp_path / f"run{number}"))
    batch = batch_of([(f"run {number}", 0.1, None, [])], [files[0].uri])
    stage(folder, str(tmp_path / "out"), files, [write_part(folder, batch)])
    return folder


def again(folder: RunFolder) -> None:
    """As a job does that follows one that was killed before it noted that all is released."""
    storage.remove(f"{folder.path}/{DELIVERED}")
    deliver_answers(folder)


def test_answers_are_released_once_and_never_replaced(tmp_path: Path) -> None:
    gz = [storage.FileInfo("/queue/ads.jsonl.gz", 1, "77")]
    folders = [run_with(tmp_path, number, gz) for number in range(4)]
    names = ["ads.jsonl.gz", "ads~77.jsonl.gz", "ads~77~2.jsonl.gz", "ads~77~3.jsonl.gz"]
    for folder in folders:
        deliver_answers(folder)
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert sorted(found) == sorted(names)
    for folder in folders[::-1]:
        again(folder)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == found
    for number, name in enumerate(names):
        assert ids_of(tmp_path / "out" / name) == [f"run {number}"]


def test_what_is_released_is_not_put_back_when_its_reader_took_it_away(tmp_path: Path) -> None:
    folder = run_with(tmp_path, 0)
    deliver_answers(folder)
    (tmp_path / "out" / "a.jsonl").unlink()
    deliver_answers(folder)
    assert not (tmp_path / "out" / "a.jsonl").exists()


def test_releasing_at_once_gives_each_its_own_name(tmp_path: Path) -> None:
    folders = [run_with(tmp_path, number, FILES[:1]) for number in range(8)] * 2
    start = threading.Barrier(len(folders))

    def one(folder: RunFolder) -> None:
        start.wait()
        again(folder)

    threads = [threading.Thread(target=one, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [ids_of(path) for path in (tmp_path / "out").iterdir()]
    assert sorted(found) == [[f"run {number}"] for number in range(8)]


def test_the_queue_holds_what_waits(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl.gz", "c.jsonl.tmp", "d.jsonl.gz.tmp", "notes.txt"):
        (tmp_path / name).write_bytes(b"{}\n")
    queue = list_queue([f"{tmp_path}/*", f"{tmp_path}/*.jsonl"])
    names = [Path(file.uri).name for file in queue.files]
    assert names == ["a.jsonl.gz", "b.jsonl"]
    assert [Path(uri).name for uri in queue.unfinished] == ["c.jsonl.tmp", "d.jsonl.gz.tmp"]
    assert [Path(uri).name for uri in queue.of_other_kinds] == ["notes.txt"]
    consumed = {(file.uri, file.generation) for file in queue.files}
    assert unconsumed(queue.files, consumed) == ()
    (tmp_path / "b.jsonl").write_bytes(b"{}\n{}\n")
    again = list_queue([f"{tmp_path}/*.jsonl"])
    assert unconsumed(again.files, consumed) == again.files
    assert list_queue([f"{tmp_path}/nothing*"]).files == ()
