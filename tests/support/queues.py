"""A small queue: schema, model, request files, and what must hold of the answers."""

import gzip
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from beam_jobs import storage
from beam_jobs.runs.catalog import open_catalog

SCHEMA = """
feature { name: "bid" type: FLOAT presence { min_fraction: 1 min_count: 1 }
          float_domain { min: 0 max: 100 } shape { dim { size: 1 } } }
feature { name: "device" type: BYTES domain: "device" presence { min_fraction: 1 min_count: 1 }
          shape { dim { size: 1 } } }
string_domain { name: "device" value: "mobile" value: "desktop" value: "tv" }
"""

Request = Mapping[str, Any]


def make_setup(folder: Path) -> None:
    """A schema of two features, and a model whose score is bid / 100."""
    (folder / "schema.pbtxt").write_text(SCHEMA)
    module = tf.Module()
    specs = [tf.TensorSpec([None], tf.float32, "bid"), tf.TensorSpec([None], tf.string, "device")]
    module.serve = tf.function(
        lambda bid, device: {
            "score": bid / 100 + 0 * tf.cast(tf.strings.length(device), bid.dtype)
        },
        input_signature=specs,
    )
    tf.saved_model.save(module, str(folder / "model"), {"serving_default": module.serve})


def queue_flags(setup: Path, folder: Path, *argv: str) -> list[str]:
    """Flags of a run; `folder` holds queue, responses, runs and warehouse, `argv` wins."""
    given = {word.split("=", 1)[0] for word in argv}
    flags = {
        "--queue": f"{folder}/queue/*",
        "--responses": f"{folder}/responses",
        "--model": f"{setup}/model",
        "--schema": f"{setup}/schema.pbtxt",
        "--runs": f"{folder}/runs",
        "--warehouse": warehouse_of(folder),
    }
    return [*(f"{name}={value}" for name, value in flags.items() if name not in given), *argv]


def warehouse_of(folder: Path) -> str:
    return f"duckdb:{folder}/ads.duckdb"


def put(folder: Path, name: str, requests: Sequence[Request | str]) -> storage.FileInfo:
    """Puts a request file into the queue as a producer does, in one moment."""
    target = folder / "queue" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    lines = [r if isinstance(r, str) else json.dumps(r) for r in requests]
    data = "".join(f"{line}\n" for line in lines).encode()
    aside = target.with_name(f"{name}.{uuid.uuid4().hex}.tmp")
    aside.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    found = storage.info(str(aside))
    os.replace(aside, target)
    return storage.FileInfo(str(target), found.size, found.generation)


def good(name: str, count: int) -> list[Request]:
    return [
        {"id": f"{name}-{n}", "bid": n % 50 + 0.5, "device": ("mobile", "desktop", "tv")[n % 3]}
        for n in range(count)
    ]


def answers_in(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return [json.loads(line) for line in text.splitlines()]


def ask(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    return open_catalog(warehouse_of(folder)).query(sql).rows


def published(folder: Path) -> dict[tuple[str, str], str]:
    """{(request file, generation): the run that answered it}; no file may have two."""
    rows = ask(
        folder,
        "SELECT i.uri, i.generation, i.run_id FROM inputs AS i"
        " JOIN runs AS r ON r.run_id = i.run_id AND r.status = 'PUBLISHED'",
    )
    found = {(uri, generation): run for uri, generation, run in rows}
    assert len(found) == len(rows), "a request file has two published runs"
    return found


def delivered(folder: Path) -> dict[tuple[str, str], Path]:
    """{(request file, generation): its answer file}, as the run folders have it."""
    found: dict[tuple[str, str], Path] = {}
    for note in folder.glob("runs/requests/*/*/released.json"):
        for uri, generation, answer in json.loads(note.read_text())["answers"]:
            assert (uri, generation) not in found
            found[uri, generation] = Path(answer)
    return found


def assert_all_answered_once(
    folder: Path,
    written: Mapping[tuple[str, str], Sequence[Request]],
    waiting: set[tuple[str, str]],
) -> None:
    """Promise 4, of everything that was ever in the queue.

    Args:
        folder: of queue, responses, runs and warehouse.
        written: {(request file, generation): its requests, each with an id}.
        waiting: those that are in the queue now; the others were replaced, read or not.
    """
    runs, answers = published(folder), delivered(folder)
    assert waiting <= runs.keys() <= written.keys()
    assert answers.keys() == runs.keys()
    assert len(set(answers.values())) == len(answers)
    here = {path for path in (folder / "responses").iterdir() if path.suffix != ".tmp"}
    assert set(answers.values()) == here
    for file, path in answers.items():
        found = answers_in(path)
        assert [answer["id"] for answer in found] == [request["id"] for request in written[file]]
        assert {answer["run_id"] for answer in found} <= {runs[file]}
    sums = ask(
        folder,
        "SELECT run_id, rows_read, rows_scored + rows_quarantined FROM runs"
        " WHERE status = 'PUBLISHED'",
    )
    assert {run for run, _, _ in sums} == set(runs.values())
    assert all(read == done for _, read, done in sums)
    assert sum(read for _, read, _ in sums) == sum(len(written[file]) for file in runs)
    rows = ask(
        folder,
        "SELECT run_id, source_file, source_row FROM scores"
        " UNION ALL SELECT run_id, source_file, source_row FROM quarantine",
    )
    expected = [
        (run, uri, place + 1)
        for (uri, generation), run in runs.items()
        for place in range(len(written[uri, generation]))
    ]
    assert sorted(rows) == sorted(expected)
