"""The command line as a process: odd terminals, closed pipes, errors of workers."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.cli import main
from beam_jobs.commands.command_line import INTERRUPTED
from beam_jobs.errors import InputError, RunError, UsageError, unwrap

COMMAND = [sys.executable, "-m", "beam_jobs"]


@pytest.fixture
def warehouse(tmp_path: Path) -> Any:
    import duckdb

    path = str(tmp_path / "ads.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE words AS SELECT 'Fraß ☃' AS word FROM range(20000)")
    return f"duckdb:{path}"


def test_a_terminal_without_unicode_gets_escapes(warehouse: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    command = [*COMMAND, "query", "SELECT word FROM words LIMIT 1", "--warehouse", warehouse]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert b"Fra\\xdf \\u2603" in done.stdout


def test_a_closed_pipe_is_no_error(warehouse: str) -> None:
    command = [*COMMAND, "query", "SELECT word FROM words", "--warehouse", warehouse]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), error) == (0, b"")


def test_our_error_is_found_among_the_causes() -> None:
    wrapped = RuntimeError("rewrapped")
    wrapped.__cause__ = InputError("a.csv: row 3 [while running 'Read/ParDo']")
    found = unwrap(wrapped)
    assert isinstance(found, InputError)
    assert str(found) == "a.csv: row 3"


@pytest.mark.parametrize("kind", [UsageError, RunError, InputError])
def test_our_error_is_found_in_the_text_of_another_process(kind: Any) -> None:
    text = f"Traceback ...\nbeam_jobs.errors.{kind.__name__}: a.csv: cut off [while running 'x']\n"
    found = unwrap(RuntimeError(text))
    assert type(found) is kind
    assert str(found) == "a.csv: cut off"


def test_an_error_that_is_not_ours_stays_unknown() -> None:
    assert unwrap(ValueError("UsageErrors are not meant here")) is None


def _type(monkeypatch: pytest.MonkeyPatch, data: Any) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_query_comes_from_an_argument_a_file_or_standard_input(
    warehouse: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = [f"--warehouse={warehouse}", "--csv"]
    sql = "SELECT count(*) AS n, NULL AS nothing, '' AS empty FROM words"
    file = tmp_path / "q.sql"
    file.write_text(f"\ufeff-- all words\n{sql};\n")
    for given in ([sql], ["-"], [f"--file={file}"]):
        _type(monkeypatch, sql.encode())
        assert main(["query", *given, *flags]) == 0
        assert capsys.readouterr().out == 'n,nothing,empty\r\n20000,,""\r\n'
    file.write_bytes(b"SELECT '\xff'")
    _type(monkeypatch, b"SELECT '\xff'")
    for given, message in (
        ([], "give either SQL, or - for standard input, or --file FILE"),
        ([sql, f"--file={file}"], "give either SQL"),
        ([sql, "--json"], "--csv or --json, not both"),
        ([f"--file={file}"], f"--file {file}: is not UTF-8 text"),
        (["-"], "standard input: is not UTF-8 text"),
        (["SELECT '\udcff'"], "SELECT '\\udcff': is not UTF-8 text"),
        (["SELECT 1", "--run=a", "--config=\udcff"], "--config=\\udcff: is not UTF-8 text"),
        ([f"--file={file}.no"], f"--file {file}.no: cannot be read (No such file"),
        ([""], "query: there is no statement in it"),
        (["SELECT 1; SELECT 2"], "query: several statements"),
        ([f"COPY words TO '{tmp_path}/out'"], "query: is COPY; only SELECT is allowed"),
    ):
        assert main(["query", *given, *flags]) == 2
        done = capsys.readouterr()
        assert (done.out, done.err.count("\n")) == ("", 1)
        assert message in done.err
    assert not (tmp_path / "out").exists()


def test_an_interrupt_while_a_job_plans_has_its_json_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("beam_jobs.commands.monthly.run_monthly", interrupted)
    needed = "--month=2026-10 --ads=a.csv --model=m --schema=s --runs=r --warehouse=duckdb:w"
    assert main(["monthly", "--json", *needed.split()]) == 130
    done = capsys.readouterr()
    assert json.loads(done.out)["error"] == INTERRUPTED
    assert done.err == f"beam-jobs: error: {INTERRUPTED}\n"
