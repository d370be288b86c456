"""A request file that cannot be read costs itself: the others are answered in the same round."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from beam_jobs import storage
from beam_jobs.commands import execute as execute_module
from beam_jobs.commands import requests as requests_command
from beam_jobs.read.splitting import candidate_ranges
from beam_jobs.request_files import transforms
from beam_jobs.request_files.groups import groups_of
from beam_jobs.validation.keys import files_with_repeats
from support.commands import Result, run_command
from support.queues import (
    answers_in,
    ask,
    assert_all_answered_once,
    good,
    put,
    queue_flags,
    warehouse_of,
)

pytestmark = pytest.mark.integration
Run = Callable[..., Result]


@pytest.fixture
def requests(setup: Path, tmp_path: Path) -> Run:
    def run(*argv: str) -> Result:
        return run_command("requests", *queue_flags(setup, tmp_path, "--json", *argv))

    return run


def put_cut(folder: Path, name: str, count: int = 300) -> storage.FileInfo:
    """A gzip file that ends too early."""
    file = put(folder, name, good(name, count))
    data = Path(file.uri).read_bytes()
    Path(file.uri).write_bytes(data[:-20])
    return storage.info(file.uri)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "responses").iterdir())


def alerts(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]


def test_it_is_set_aside_told_everywhere_and_not_tried_again_until_it_is_replaced(
    requests: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beam_jobs.request_files.groups.groups_of", partial(groups_of, max_files=2))
    lines = {name: good(name, 3) for name in ("a", "c", "d")}
    files = {}
    for name, some in lines.items():
        file = put(tmp_path, f"{name}.jsonl", some)
        files[file.uri, file.generation] = some
    cut = put_cut(tmp_path, "b.jsonl.gz")
    done = requests()
    assert (done.code, done.json["status"]) == (0, "PUBLISHED"), done.err
    assert done.json["rows"] == {"read": 9, "scored": 9, "quarantined": 0}
    (error,) = done.json["unreadable"]
    assert error.startswith(f"{cut.uri}: the gzip data is truncated or corrupt")
    assert done.json["changed"] == []
    (line,) = alerts(done)
    assert (line["severity"], line["unreadable"]) == ("WARNING", [error])
    assert line["message"].endswith("1 request files set aside")
    found = ask(tmp_path, "SELECT severity, description FROM anomalies"
                          " WHERE code = 'UNREADABLE_FILES'")  # fmt: skip
    assert [severity for severity, _ in found] == ["WARN"]
    assert error in found[0][1]
    ledger = ask(tmp_path, "SELECT uri, generation, rows FROM inputs ORDER BY uri")
    assert [(uri, rows) for uri, _, rows in ledger] == [
        (f"{tmp_path}/queue/{name}", rows)
        for name, rows in (("a.jsonl", 3), ("b.jsonl.gz", None), ("c.jsonl", 3), ("d.jsonl", 3))
    ]
    assert names(tmp_path) == ["a.jsonl", "c.jsonl", "d.jsonl"]
    assert requests().json["status"] == "UNCHANGED"
    whole = put(tmp_path, "b.jsonl.gz", good("b", 4))
    again = requests()
    assert (again.json["rows"]["read"], again.json["unreadable"]) == (4, [])
    files[whole.uri, whole.generation] = good("b", 4)
    assert [row["id"] for row in answers_in(tmp_path / "responses" / "b.jsonl.gz")] == [
        f"b-{n}" for n in range(4)
    ]
    assert set(files) <= {(uri, g) for uri, g, rows in ask(
        tmp_path, "SELECT uri, generation, rows FROM inputs") if rows is not None}  # fmt: skip


def test_a_summary_for_people_names_it(setup: Path, tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", good("a", 3))
    cut = put_cut(tmp_path, "b.jsonl.gz")
    done = run_command("requests", *queue_flags(setup, tmp_path))
    assert done.code == 0, done.err
    assert f"{cut.uri}: the gzip data is truncated" in " ".join(done.out.split())
    assert "set aside, unanswered, until they are replaced" in done.out


def test_alone_it_is_set_aside_too_and_force_tries_once_more(
    requests: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = put_cut(tmp_path, "b.jsonl.gz")
    done = requests()
    assert (done.code, done.json["status"], done.json["rows"]["read"]) == (0, "PUBLISHED", 0)
    assert requests().json["status"] == "UNCHANGED"
    # As if what kept it from being read were mended, without a new generation.
    monkeypatch.setattr(transforms, "scan_ids", lambda *_: iter(()))
    monkeypatch.setattr(transforms, "read_requests", lambda *_, **__: iter(()))
    forced = requests("--force")
    assert (forced.json["status"], forced.json["unreadable"]) == ("PUBLISHED", [])
    assert ask(tmp_path, "SELECT generation, rows FROM inputs") == [(cut.generation, 0)]
    assert names(tmp_path) == ["b.jsonl.gz"]
    assert requests("--force").json["status"] == "UNCHANGED"


def test_a_held_run_that_set_a_file_aside_is_approved_without_it(
    requests: Run, tmp_path: Path
) -> None:
    put(tmp_path, "a.jsonl", good("a", 3))
    put_cut(tmp_path, "b.jsonl.gz")
    held = requests("--gate=HOLD_ALWAYS")
    assert (held.code, len(held.json["unreadable"])) == (3, 1)
    assert requests().json["status"] == "UNCHANGED"
    run = held.json["run_id"]
    done = run_command("approve", run, f"--warehouse={warehouse_of(tmp_path)}")
    assert done.code == 0, done.err
    assert names(tmp_path) == ["a.jsonl"]


def test_a_file_in_ranges_and_ids_that_come_again_leave_it_out_alike(
    requests: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of two requests with an id is in a file that is left out: the second keeps it."""
    in_ranges = partial(candidate_ranges, range_bytes=200)
    monkeypatch.setattr("beam_jobs.request_files.groups.candidate_ranges", in_ranges)
    gone = put(tmp_path, "a.jsonl", good("r", 40))
    cut = put_cut(tmp_path, "b.jsonl.gz", 40)
    put(tmp_path, "c.jsonl", [*good("r", 5), *good("b.jsonl.gz", 5), *good("r", 2)])
    compute = execute_module.compute

    def vanishes(*arguments: Any) -> Any:
        os.remove(gone.uri)
        return compute(*arguments)

    monkeypatch.setattr(requests_command, "compute", vanishes)
    done = requests("--direct_runner_bundle_repeat=2", "--gate=PUBLISH")
    assert (done.code, done.json["rows"]["read"]) == (0, 12), done.err
    assert done.json["changed"] == [f"{gone.uri}: was removed during the run"]
    assert [error.split(":")[0] for error in done.json["unreadable"]] == [cut.uri]
    answers = answers_in(tmp_path / "responses" / "c.jsonl")
    assert [answer["status"] for answer in answers] == ["OK"] * 10 + ["REJECTED"] * 2
    assert ask(tmp_path, "SELECT DISTINCT source_file FROM scores") == [
        (f"{tmp_path}/queue/c.jsonl",)
    ]


def change_behind_the_scan(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[int], object]
) -> list[int]:
    """Calls `change` with 1, 2, ... when all files are scanned, and none is read; the calls."""
    whole = files_with_repeats
    calls: list[int] = []

    def changed(*arguments: Any) -> Any:
        calls.append(len(calls) + 1)
        change(calls[-1])
        return whole(*arguments)

    monkeypatch.setattr(transforms, "files_with_repeats", changed)
    return calls


def test_one_that_is_replaced_behind_the_scan_waits_and_leaves_no_trace_of_the_attempt(
    requests: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = put(tmp_path, "a.jsonl", good("a", 3))
    put(tmp_path, "log.jsonl", good("log", 1))
    calls = change_behind_the_scan(
        monkeypatch, lambda n: put(tmp_path, "log.jsonl", good("log", n + 1))
    )
    done = requests()
    assert (done.code, done.json["status"], done.json["rows"]["read"]) == (0, "PUBLISHED", 3)
    assert calls == [1, 2]
    assert "log.jsonl: changed during the run" in done.err
    assert [line["status"] for line in alerts(done)] == ["PUBLISHED"]
    assert ask(tmp_path, "SELECT status FROM runs") == [("PUBLISHED",)]
    assert_all_answered_once(
        tmp_path, {(kept.uri, kept.generation): good("a", 3)}, {(kept.uri, kept.generation)}
    )
    monkeypatch.undo()
    assert requests().json["rows"]["read"] == 3


def test_a_queue_whose_files_have_all_changed_leaves_no_run(
    requests: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = put(tmp_path, "a.jsonl", good("a", 3))
    compute = execute_module.compute

    def vanishes(*arguments: Any) -> Any:
        os.remove(gone.uri)
        return compute(*arguments)

    monkeypatch.setattr(requests_command, "compute", vanishes)
    done = requests()
    assert (done.code, done.json["status"]) == (0, "UNCHANGED"), done.err
    assert "all request files have changed" in done.err
    assert not (tmp_path / "ads.duckdb").exists() or ask(tmp_path, "SELECT * FROM runs") == []
