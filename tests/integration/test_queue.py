"""The queue job as its users see it: files in, answers out, each once."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from beam_jobs import storage
from beam_jobs.read.splitting import candidate_ranges
from beam_jobs.request_files.groups import groups_of
from support.commands import Result, run_command
from support.fault_server import FaultServer
from support.queues import (
    answers_in,
    ask,
    assert_all_answered_once,
    delivered,
    good,
    published,
    put,
    queue_flags,
    warehouse_of,
)
from support.waiting import until

pytestmark = pytest.mark.integration
Run = Callable[..., Result]

HOLD = "[thresholds]\nquarantined_share_hold = 0.0\nquarantined_share = 0.0\n"
"""A policy that holds a run with one bad request."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    running = FaultServer(tmp_path_factory.mktemp("processes"))
    yield running
    running.stop()


@pytest.fixture
def requests(setup: Path, tmp_path: Path) -> Run:
    def run(*argv: str) -> Result:
        return run_command("requests", *queue_flags(setup, tmp_path, "--json", *argv))

    return run


def decide(folder: Path, *argv: str) -> Result:
    return run_command(*argv, f"--warehouse={warehouse_of(folder)}")


def version(path: Path) -> tuple[int, int]:
    return path.stat().st_ino, path.stat().st_mtime_ns


def answer(folder: Path, name: str) -> list[dict[str, Any]]:
    return answers_in(folder / "responses" / name)


BAD = {
    '{"id": "b1", "bid": 1': "MALFORMED_RECORD",
    '{"id": "b2", "bid": 1e400, "device": "tv"}': "NOT_FINITE",
    '{"id": "b3", "bid": "high", "device": "tv"}': "INVALID_TYPE",
    '{"id": "b4", "bid": 500, "device": "tv"}': "OUT_OF_RANGE",
    '{"id": "b5", "bid": 1, "device": "tv", "bidd": 2}': "MALFORMED_RECORD",
    '{"id": "b6", "bid": 1, "device": {"b64": "?"}}': "INVALID_TYPE",
    '{"id": "b7", "device": "tv"}': "MISSING_REQUIRED",
    '{"id": "a-0", "bid": 1, "device": "tv"}': "DUPLICATE_KEY",
    f'{{"id": "b8", "bid": 1, "device": "{"x" * (2 << 20)}"}}': "MALFORMED_RECORD",
    f'{{"id": "b9", "bid": {"[" * 300}{"]" * 300}, "device": "tv"}}': "MALFORMED_RECORD",
    '{"id": "b10", "bid": NaN, "device": "tv"}': "MALFORMED_RECORD",
    '{"id": "b11", "id": "b11", "bid": 1, "device": "tv"}': "MALFORMED_RECORD",
    '{"id": "b12", "bid": 1, "device": "\\ud800"}': "INVALID_ENCODING",
}


def test_every_request_has_its_answer_and_every_bad_one_a_row(
    requests: Run, tmp_path: Path
) -> None:
    put(tmp_path, "a.jsonl", good("a", 3))
    flagged = '{"id": "f", "bid": 7, "device": "fridge"}'
    put(tmp_path, "b.jsonl.gz", [flagged, *BAD, '{"bid": 1, "device": "tv"}', *good("b", 2)])
    columns = {"id": ["c1", "c2"], "bid": [10, 20], "device": ["tv", "tv"]}
    vertex = {"instance": {"bid": 30, "device": "tv"}, "key": 7}
    put(tmp_path, "c.jsonl", [{"inputs": columns}, vertex])
    put(tmp_path, "empty.jsonl", [])
    put(tmp_path, "half.jsonl.tmp", ["{"])
    done = requests("--gate=PUBLISH")
    assert (done.code, done.json["status"]) == (0, "PUBLISHED"), done.err
    run = done.json["run_id"]
    assert done.json["job"] == "requests"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", done.json["period"])
    rejected = len(BAD) + 1
    assert done.json["rows"] == {
        "read": 9 + rejected, "scored": 9, "quarantined": rejected
    }  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "responses").iterdir()) == [
        "a.jsonl", "b.jsonl.gz", "c.jsonl", "empty.jsonl"
    ]  # fmt: skip
    first = answer(tmp_path, "a.jsonl")[0]
    assert first.pop("model_version")
    assert first == {
        "id": "a-0", "status": "OK", "score": pytest.approx(0.005), "outputs": None, "flags": [],
        "reasons": [], "details": [], "run_id": run,
    }  # fmt: skip
    found = answer(tmp_path, "b.jsonl.gz")
    assert [row["id"] for row in found] == [
        "f", *(re.findall(r'"(?:id)": "([^"]+)"', line)[0] for line in BAD), "b-0", "b-1"
    ]  # fmt: skip
    assert (found[0]["status"], found[0]["flags"]) == ("OK", ["OUT_OF_DOMAIN"])
    for row, reason in zip(found[1:-2], BAD.values(), strict=True):
        assert (row["status"], row["score"]) == ("REJECTED", None)
        assert reason in row["reasons"]
        assert any(detail.startswith(f"{reason} ") for detail in row["details"])
    shapes = [(row["id"], row["score"]) for row in answer(tmp_path, "c.jsonl")]
    assert shapes == [(id_, pytest.approx(s)) for id_, s in (("c1", 0.1), ("c2", 0.2), ("7", 0.3))]
    assert answer(tmp_path, "empty.jsonl") == []
    rows = ask(tmp_path, "SELECT source_row, reasons, raw FROM quarantine ORDER BY source_row")
    assert [row for row, _, _ in rows] == list(range(2, 2 + rejected))
    for line, (_, reasons, raw) in zip(BAD, rows, strict=False):
        assert BAD[line] in reasons
        assert raw == line.encode()[: 64 << 10]
    assert rows[-1][1] == ["MISSING_KEY"]
    (volume,) = ask(tmp_path, "SELECT count(*) FROM anomalies WHERE kind = 'VOLUME'")
    assert volume == (0,)


def test_an_empty_queue_is_a_quick_success_without_heavy_libraries(
    setup: Path, tmp_path: Path
) -> None:
    code = (
        "import sys; from beam_jobs.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'tensorflow', 'apache_beam', 'tensorflow_data_validation'} & sys.modules.keys();"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    flags = queue_flags(setup, tmp_path)
    for argv in (["--json"], ["--plan"], []):
        done = subprocess.run(
            [sys.executable, "-c", code, "requests", *flags, *argv],
            check=False, capture_output=True, text=True, cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        if argv == ["--json"]:
            result = json.loads(done.stdout)
            assert (result["status"], result["run_id"]) == ("UNCHANGED", None)
            assert result["rows"] == {"read": 0, "scored": 0, "quarantined": 0}
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "ads.duckdb").exists()


def test_days_hold_many_runs_and_a_new_generation_is_a_new_file(
    requests: Run, tmp_path: Path
) -> None:
    first = put(tmp_path, "a.jsonl", good("a", 3))
    runs = [requests().json]
    second = put(tmp_path, "a.jsonl", good("again", 2))
    put(tmp_path, "b.jsonl", good("b", 4))
    runs.append(requests().json)
    assert [run["rows"]["read"] for run in runs] == [3, 6]
    assert runs[0]["period"] == runs[1]["period"]
    assert ask(tmp_path, "SELECT count(*), count(DISTINCT run_id) FROM current_scores") == [(9, 2)]
    assert ask(tmp_path, "SELECT status FROM runs") == [("PUBLISHED",)] * 2
    names = {
        (uri, generation): path.name for (uri, generation), path in delivered(tmp_path).items()
    }
    assert names[first.uri, first.generation] == "a.jsonl"
    assert names[second.uri, second.generation] == f"a~{second.generation}.jsonl"
    assert [row["id"] for row in answer(tmp_path, "a.jsonl")] == ["a-0", "a-1", "a-2"]
    drift = ask(tmp_path, "SELECT count(*) FROM feature_statistics WHERE drift IS NOT NULL")
    assert drift[0][0] > 0
    assert requests().json["status"] == "UNCHANGED"


def hold(requests: Run, tmp_path: Path, *argv: str) -> dict[str, Any]:
    """A held run of two files, one with a bad request in it."""
    (tmp_path / "hold.toml").write_text(HOLD)
    bad = ['{"id": "bad"}'] * 5
    put(tmp_path, "a.jsonl", good("a", 3))
    put(tmp_path, "b.jsonl", [*good("b", 2), *bad])
    held = requests(f"--policy={tmp_path}/hold.toml", *argv)
    assert (held.code, held.json["status"]) == (3, "HELD"), held.err
    found: dict[str, Any] = held.json
    return found


def test_a_held_run_keeps_its_files_and_answers_until_it_is_approved(
    requests: Run, tmp_path: Path
) -> None:
    held = hold(requests, tmp_path)
    assert not (tmp_path / "responses").exists()
    assert ask(tmp_path, "SELECT count(*) FROM current_scores") == [(0,)]
    put(tmp_path, "c.jsonl", good("c", 4))
    night = requests()
    assert (night.json["status"], night.json["rows"]["read"]) == ("PUBLISHED", 4)
    assert requests().json["status"] == "UNCHANGED"
    done = decide(tmp_path, "approve", held["run_id"])
    assert done.code == 0, done.err
    assert f"(requests {held['period']}) is PUBLISHED" in done.out
    assert [row["status"] for row in answer(tmp_path, "b.jsonl")] == ["OK"] * 2 + ["REJECTED"] * 5
    before = {path: version(path) for path in (tmp_path / "responses").iterdir()}
    assert decide(tmp_path, "approve", held["run_id"]).code == 0
    assert {path: version(path) for path in (tmp_path / "responses").iterdir()} == before
    assert ask(tmp_path, "SELECT count(*) FROM current_scores") == [(9,)]
    refused = decide(tmp_path, "rollback", "--month=2026-11", "--to", held["run_id"])
    assert refused.code == 2


def test_force_takes_the_files_of_a_held_run_and_never_answered_ones(
    requests: Run, tmp_path: Path
) -> None:
    put(tmp_path, "done.jsonl", good("done", 2))
    answered = requests().json
    held = hold(requests, tmp_path)
    put(tmp_path, "c.jsonl", good("c", 4))
    again = requests("--force", "--gate=PUBLISH")
    assert (again.json["status"], again.json["rows"]["read"]) == ("PUBLISHED", 14)
    assert dict(ask(tmp_path, "SELECT run_id, status FROM runs")) == {
        answered["run_id"]: "PUBLISHED", held["run_id"]: "SUPERSEDED",
        again.json["run_id"]: "PUBLISHED",
    }  # fmt: skip
    refused = decide(tmp_path, "approve", held["run_id"])
    assert (refused.code, "has its request files" in refused.err) == (2, True)
    assert requests("--force").json["status"] == "UNCHANGED"
    assert len(published(tmp_path)) == len(delivered(tmp_path)) == 4


def test_an_interrupted_release_is_finished_by_the_next_run_even_of_an_empty_queue(
    server: FaultServer, setup: Path, tmp_path: Path
) -> None:
    flags = queue_flags(setup, tmp_path, "--json")
    files = {(f.uri, f.generation): good(name, 3) for name in ("a", "b", "c")
             if (f := put(tmp_path, f"{name}.jsonl", good(name, 3)))}  # fmt: skip
    process = server.start("requests", *flags, "--plan")
    server.wait(process)
    whole = server.start("requests", *queue_flags(setup, tmp_path / "other",
                                                  f"--queue={tmp_path}/queue/*"))  # fmt: skip
    assert server.wait(whole).code == 0
    steps = server.steps(whole)
    first = next(
        n for n, step in enumerate(steps) if step.startswith("link ") and "a.jsonl" in step
    )
    killed = server.run("requests", *flags, die_after=first)
    assert killed.code == -9
    assert [path.name for path in (tmp_path / "responses").iterdir() if path.suffix != ".tmp"] == [
        "a.jsonl"
    ]
    kept = version(tmp_path / "responses" / "a.jsonl")
    done = server.run("requests", *flags)
    assert (done.code, done.json["status"]) == (0, "UNCHANGED")
    assert "delivered the answers" in done.err
    assert version(tmp_path / "responses" / "a.jsonl") == kept
    assert_all_answered_once(tmp_path, files, set(files))


def test_of_two_different_jobs_at_once_one_answers_and_the_other_leaves_no_trace(
    server: FaultServer, setup: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.toml").write_text("[thresholds]\nnumeric = 0.5\n")
    files = {}
    for name in ("a", "b"):
        file = put(tmp_path, f"{name}.jsonl", good(name, 5))
        files[file.uri, file.generation] = good(name, 5)
    flags = queue_flags(setup, tmp_path, "--json")
    jobs = [server.start("requests", *flags, *more)
            for more in ([], [f"--policy={tmp_path}/other.toml"])]  # fmt: skip
    ended = [server.wait(job) for job in jobs]
    assert [one.code for one in ended] == [0, 0], ended
    assert sorted(one.json["status"] for one in ended) == ["PUBLISHED", "UNCHANGED"]
    assert ask(tmp_path, "SELECT status FROM runs") == [("PUBLISHED",)]
    assert_all_answered_once(tmp_path, files, set(files))


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["--queue={tmp}/queue"], "--queue {tmp}/queue: is a folder"),
        (["--responses={tmp}/queue"], "--responses {tmp}/queue: --queue"),
        (["--queue={tmp}/**/*.jsonl"], "--responses {tmp}/responses: --queue"),
        (["--watch=-1"], "--watch -1"),
        (["--watch=0"], "--watch 0: expected seconds, more than 0"),
        (["--watch=nan"], "--watch nan"),
        (["--drift-rows=0"], "--drift-rows 0"),
        (["--timezone=Mars"], "--timezone Mars"),
        (["--model={tmp}/none"], "--model {tmp}/none"),
        (["--month=2026-10"], "unknown flag --month"),
    ],
)
def test_a_wrong_set_up_is_found_though_the_queue_is_empty(
    requests: Run, tmp_path: Path, argv: list[str], error: str
) -> None:
    (tmp_path / "queue").mkdir()
    done = requests(*(word.format(tmp=tmp_path) for word in argv))
    assert done.code == 2
    (line,) = done.err.strip().splitlines()
    assert error.format(tmp=tmp_path) in line


@pytest.mark.parametrize(
    "mode",
    [
        ["--direct_runner_bundle_repeat=2"],
        ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
    ],
)
def test_bundles_that_are_repeated_or_spread_change_no_answer(
    requests: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: list[str]
) -> None:
    monkeypatch.setattr("beam_jobs.request_files.groups.groups_of", partial(groups_of, max_files=2))
    files = {}
    for number in range(7):
        name = f"{number}.jsonl" + (".gz" if number % 2 else "")
        lines = good(str(number), number * 3)
        file = put(tmp_path, name, lines)
        files[file.uri, file.generation] = lines
    done = requests(*mode)
    assert (done.code, done.json["status"]) == (0, "PUBLISHED"), done.err
    assert_all_answered_once(tmp_path, files, set(files))
    left = [path.name for path in Path(done.json["run_folder"]).rglob("*")]
    assert not [name for name in left if name.endswith(".tmp") or name == "keys"]


def test_a_file_read_in_ranges_is_answered_in_order_and_no_id_twice(
    requests: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_ranges = partial(candidate_ranges, range_bytes=200)
    monkeypatch.setattr("beam_jobs.request_files.groups.candidate_ranges", in_ranges)
    lines = good("r", 40)
    put(tmp_path, "a.jsonl", [{"instances": lines[:4]}, *lines[4:], lines[20]])
    put(tmp_path, "b.jsonl", [lines[39]])
    done = requests("--direct_num_workers=2", "--direct_running_mode=in_memory")
    assert (done.code, done.json["rows"]["read"]) == (0, 42), done.err
    answers = answers_in(tmp_path / "responses" / "a.jsonl")
    assert [answer["id"] for answer in answers] == [f"r-{n}" for n in [*range(40), 20]]
    assert [answer["status"] for answer in answers] == ["OK"] * 40 + ["REJECTED"]
    found = answers[40]["details"] + answers_in(tmp_path / "responses" / "b.jsonl")[0]["details"]
    first = f"was first seen in {tmp_path}/queue/a.jsonl row"
    assert found == [f"DUPLICATE_KEY id: 'r-{n}' {first} {n + 1}" for n in (20, 39)]


def test_watching_answers_what_comes_survives_a_bad_file_and_ends_on_sigterm(
    server: FaultServer, setup: Path, tmp_path: Path
) -> None:
    (tmp_path / "queue").mkdir()
    watch = server.start("requests", *queue_flags(setup, tmp_path, "--watch=0.1"))
    responses = tmp_path / "responses"
    put(tmp_path, "a.jsonl", good("a", 3))
    until((responses / "a.jsonl").exists)
    broken = tmp_path / "queue" / "b.jsonl.gz"
    broken.write_bytes(b"no gzip")
    until(lambda: ask(tmp_path, "SELECT 1 FROM inputs WHERE rows IS NULL"))
    put(tmp_path, "c.jsonl", good("c", 3))
    until((responses / "c.jsonl").exists)
    assert server.is_running(watch)
    os.kill(watch, signal.SIGTERM)
    ended = server.wait(watch)
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    assert "b.jsonl.gz" in ended.err
    # Rounds with nothing to do say nothing.
    assert len(ended.out.splitlines()) == 3
    assert storage.match(f"{tmp_path}/runs/requests/*/*/released.json")


def test_watching_with_a_wrong_set_up_ends_at_once(requests: Run, tmp_path: Path) -> None:
    done = requests("--watch=1", f"--model={tmp_path}/none")
    assert done.code == 2
