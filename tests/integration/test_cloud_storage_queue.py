"""The queue job with requests, answers and runs in Cloud Storage."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from support.commands import run_command
from support.queues import answers_in, good, put, queue_flags
from support.servers.gcs import GcsServer

pytestmark = pytest.mark.integration


def answers(gcs: GcsServer) -> dict[str, list[dict[str, Any]]]:
    """{answer file: its answers without the run's id}."""
    found = {}
    for uri in gcs.names(gcs.uri("responses")):
        data = gcs.get(uri)
        text = gzip.decompress(data) if uri.endswith(".gz") else data
        found[uri.rpartition("/")[2]] = [json.loads(line) for line in text.splitlines()]
    return {name: [{**line, "run_id": ""} for line in lines] for name, lines in found.items()}


def test_answers_are_those_of_a_local_queue_and_come_once(
    setup: Path, gcs: GcsServer, tmp_path: Path
) -> None:
    put(tmp_path, "a.jsonl", [*good("a", 5), '{"id": "x", "bid": -1', '{"id": "y", "bid": 1000}'])
    put(tmp_path, "b.jsonl.gz", good("b", 3000))
    for number in range(30):
        put(tmp_path, f"small-{number:02d}.jsonl", good(f"s{number}", 2))
    gcs.put_folder(tmp_path / "queue", gcs.uri("queue"))
    gcs.put_folder(setup, gcs.uri("setup"))
    command = [
        "requests",
        *queue_flags(
            Path("setup"),
            tmp_path,
            f"--queue={gcs.uri('queue/*')}",
            f"--responses={gcs.uri('responses')}",
            f"--model={gcs.uri('setup/model')}",
            f"--schema={gcs.uri('setup/schema.pbtxt')}",
            f"--runs={gcs.uri('runs')}",
            f"--warehouse=duckdb:{tmp_path}/cloud.duckdb",
            "--json",
        ),
    ]
    gcs.fault("GET .*alt=media", "cut", times=3, skip=10, value=50)
    gcs.fault("POST .*/upload.*ifGenerationMatch=0", "lost", times=3, skip=5)
    gcs.fault("POST .*/upload", "status", times=3, skip=3, value=503)
    done = run_command(*command)
    assert done.code in (0, 3), done.err
    assert gcs.faults_left() == 0
    if done.code == 3:
        warehouse = f"--warehouse=duckdb:{tmp_path}/cloud.duckdb"
        assert run_command("approve", done.json["run_id"], warehouse).code == 0
    local = run_command("requests", *queue_flags(setup, tmp_path, "--json"))
    assert local.code == done.code, local.err
    if local.code == 3:
        warehouse = f"--warehouse=duckdb:{tmp_path}/ads.duckdb"
        assert run_command("approve", local.json["run_id"], warehouse).code == 0
    here = {path.name: answers_in(path) for path in (tmp_path / "responses").iterdir()}
    found = answers(gcs)
    assert len(found) == 32
    for name, lines in here.items():
        cloud, mine = found[name], [{**line, "run_id": ""} for line in lines]
        for line in [*cloud, *mine]:
            line.pop("model_version")
            line["details"] = [text.rpartition("/")[2] for text in line["details"]]
        assert cloud == mine, name
    again = run_command(*command)
    assert again.code == 0, again.err
    assert {name: len(lines) for name, lines in answers(gcs).items()} == {
        name: len(lines) for name, lines in here.items()
    }
    # The same name again is another file, and its answers stand beside the first ones.
    gcs.put(gcs.uri("queue/a.jsonl"), b'{"id": "new", "bid": 1.5, "device": "tv"}\n')
    third = run_command(*command)
    assert third.code == 0, third.err
    assert third.json["rows"]["read"] == 1
    assert len(answers(gcs)) == 33


def test_a_queue_whose_bucket_is_missing_or_closed_is_one_clear_line(
    setup: Path, gcs: GcsServer, tmp_path: Path
) -> None:
    def error(*flags: str) -> str:
        done = run_command("requests", *queue_flags(setup, tmp_path, *flags), "--plan")
        assert done.code == 2
        (line,) = done.err.strip().splitlines()
        return line

    pattern = "--queue=gs://nobody-has-this/*.jsonl"
    assert "--queue gs://nobody-has-this/*.jsonl: there is no bucket" in error(pattern)
    assert "--responses gs://nobody-has-this/x: there is no bucket" in error(
        "--responses=gs://nobody-has-this/x"
    )
    gcs.deny("list", "create")
    assert "roles/storage.objectViewer" in error(f"--queue={gcs.uri('*.jsonl')}")
    assert "roles/storage.objectCreator" in error(f"--responses={gcs.uri('responses')}")
