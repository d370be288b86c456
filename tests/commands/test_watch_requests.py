"""A watch goes on whatever its rounds raise; pauses are asked for, not waited for."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs import errors
from beam_jobs.cli import main
from beam_jobs.commands import requests as requests_command
from beam_jobs.commands.watch import LONGEST_PAUSE_SECONDS, Interrupted, keep_traceback, watch
from beam_jobs.errors import BusyError, InputError, RunError, StorageTimeoutError, UsageError
from beam_jobs.plan import Job

Round = Exception | None


class Script:
    """Rounds that raise what is written, then an end; remembers pauses and what was told."""

    def __init__(self, rounds: Iterable[Round]) -> None:
        self._rounds: Iterator[Round] = iter(rounds)
        self.pauses: list[float] = []
        self.told: list[str] = []

    def play(self, seconds: float, rounds: int) -> None:
        def wait(pause: float) -> bool:
            self.pauses.append(pause)
            return len(self.pauses) == rounds

        watch(self._round, wait, lambda error: self.told.append(str(error)), seconds)

    def _round(self) -> None:
        found = next(self._rounds)
        if found is not None:
            raise found


def test_ten_thousand_failures_end_no_watch_and_pause_a_minute_at_most() -> None:
    script = Script(RunError("the queue is away") for _ in range(10_000))
    script.play(1.0, 10_000)
    assert script.pauses[:8] == [2, 4, 8, 16, 32, 60, 60, 60]
    assert set(script.pauses[8:]) == {60.0}
    assert script.told == ["the queue is away"]


def test_an_interrupted_round_ends_the_watch() -> None:
    script = Script([None, errors.RunInterruptedError("interrupted; run r1 is PUBLISHED"), None])
    with pytest.raises(errors.RunInterruptedError, match="run r1 is PUBLISHED"):
        script.play(1.0, 3)
    assert (len(script.pauses), script.told) == (1, [])


@given(st.floats(1e-3, 1.7e308), st.integers(1, 50))
def test_a_pause_is_never_shorter_than_asked_for_and_never_without_end(
    seconds: float, failures: int
) -> None:
    script = Script([RunError("x")] * failures + [None])
    script.play(seconds, failures + 1)
    assert script.pauses[-1] == seconds
    assert all(seconds <= pause <= max(seconds, LONGEST_PAUSE_SECONDS) for pause in script.pauses)
    assert script.pauses[:-1] == sorted(script.pauses[:-1])


@pytest.mark.parametrize(
    "problem",
    [
        UsageError("--model m: saved_model.pb is missing"),
        BusyError("another process holds the warehouse"),
        RunError("it failed"),
        InputError("changed"),
        StorageTimeoutError("no answer", "gs://bucket"),
        ValueError("a defect"),
        OSError("the network is down"),
        RecursionError(),
        MemoryError(),
    ],
)
def test_whatever_a_later_round_raises_the_watch_goes_on(problem: Exception) -> None:
    script = Script([None, problem, problem, None, problem, None])
    script.play(5.0, 6)
    assert script.pauses == [5, 10, 20, 5, 10, 5]
    assert script.told == [str(problem)] * (2 if str(problem) else 0)


def test_only_a_set_up_that_was_wrong_from_the_start_ends_a_watch() -> None:
    with pytest.raises(UsageError, match="--schema s"):
        Script([UsageError("--schema s: no such file")]).play(1.0, 9)
    for problem in (BusyError("busy"), RunError("failed"), ValueError("defect")):
        script = Script([problem, UsageError("half deployed"), None])
        script.play(1.0, 3)
        assert script.told == [str(problem), "half deployed"]


def test_who_listens_may_be_gone() -> None:
    def tell(_: Exception) -> None:
        raise BrokenPipeError

    pauses: list[float] = []

    def wait(pause: float) -> bool:
        pauses.append(pause)
        return len(pauses) == 2

    rounds = iter([RunError("x"), None])

    def one_round() -> None:
        if (problem := next(rounds)) is not None:
            raise problem

    watch(one_round, wait, tell, 1.0)
    assert pauses == [2, 1]


def test_the_longest_wait_of_all_can_be_interrupted() -> None:
    with Interrupted() as interrupted:
        waiting = threading.Timer(0, os.kill, (os.getpid(), signal.SIGTERM))
        waiting.start()
        assert interrupted.within(1e300)
        waiting.join()


def test_a_traceback_has_a_file_even_where_the_runs_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "runs", tmp_path / "file" / "runs"):
        try:
            raise ZeroDivisionError("a defect")
        except ZeroDivisionError:
            kept = Path(keep_traceback(str(folder)))
        assert "ZeroDivisionError: a defect" in kept.read_text()
        assert kept.is_relative_to(folder) == (folder == tmp_path / "runs")
        kept.unlink()


@pytest.fixture
def requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[Exception], list[str]], int]:
    """`beam-jobs requests` whose planning raises these, one a round; SIGTERM follows the last."""

    def run(problems: list[Exception], argv: list[str]) -> int:
        left = iter(problems)

        def plan(_: object) -> None:
            raise next(left)

        count = iter(range(1, len(problems) + 1))
        monkeypatch.setattr(requests_command, "plan_requests", plan)
        monkeypatch.setattr(Interrupted, "within", lambda *_: next(count) == len(problems))
        monkeypatch.chdir(tmp_path)
        flags = ["--queue=q/*.jsonl", "--model=m", "--schema=s", "--runs=runs"]
        return main(["requests", *flags, "--warehouse=duckdb:w.duckdb", *argv])

    return run


def test_a_watch_tells_each_failure_on_every_channel(
    requests: Callable[[list[Exception], list[str]], int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    problems = [RunError("no answer"), RunError("no answer"), UsageError("--model m: half"),
                ZeroDivisionError("a defect")]  # fmt: skip
    assert requests(problems, ["--watch=1", "--json"]) == 0
    out, err = capsys.readouterr()
    results = [json.loads(line) for line in out.splitlines()]
    trace = tmp_path / "runs" / "requests" / "failure.txt"
    defect = f"the round failed: ZeroDivisionError: a defect (see {trace})"
    assert [result["error"] for result in results] == ["no answer", "--model m: half", defect]
    assert {(r["status"], r["job"], r["run_id"]) for r in results} == {("FAILED", "requests", None)}
    lines = [line for line in err.splitlines() if line.startswith("beam-jobs: error: ")]
    assert lines == [f"beam-jobs: error: {result['error']}" for result in results]
    assert "Traceback" not in err
    assert "Traceback" in trace.read_text()
    alerts = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [alert["error"] for alert in alerts] == [result["error"] for result in results]


@pytest.mark.parametrize("argv", [[], ["--plan"], ["--watch=1"]])
def test_planning_that_fails_ends_with_its_line_of_json(
    requests: Callable[[list[Exception], list[str]], int],
    argv: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert requests([UsageError("--model m: none")], [*argv, "--json"]) == 2
    out, err = capsys.readouterr()
    result = json.loads(out.splitlines()[-1])
    assert len(out.splitlines()) == 1
    assert (result["status"], result["error"]) == ("FAILED", "--model m: none")
    assert err.splitlines()[-1] == "beam-jobs: error: --model m: none"


@pytest.mark.parametrize("job", [job.value for job in Job])
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--no-such-flag=1"], "unknown flag --no-such-flag"),
        ([], "required"),
        (["--gate"], "--gate"),
    ],
)
def test_a_command_line_that_is_wrong_ends_with_its_line_of_json(
    job: str,
    argv: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([job, "--json", *argv]) == 2
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    result = json.loads(line)
    assert (result["status"], result["job"], result["run_id"]) == ("FAILED", job, None)
    assert words in result["error"]
    assert err.splitlines()[-1] == f"beam-jobs: error: {result['error']}"
    assert main([job, *argv]) == 2
    assert capsys.readouterr().out == ""
