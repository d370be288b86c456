"""The command line as a process: odd terminals, closed pipes, errors of workers."""

import os
import subprocess
import sys

import pytest

from beam_jobs.errors import InputError, RunError, UsageError, unwrap

COMMAND = [sys.executable, "-m", "beam_jobs"]


@pytest.fixture
def warehouse(tmp_path):
    import duckdb

    path = str(tmp_path / "ads.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE words AS SELECT 'Fraß ☃' AS word FROM range(20000)")
    return f"duckdb:{path}"


def test_a_terminal_without_unicode_gets_escapes(warehouse):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    command = [*COMMAND, "query", "SELECT word FROM words LIMIT 1", "--warehouse", warehouse]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert b"Fra\\xdf \\u2603" in done.stdout


def test_a_closed_pipe_is_no_error(warehouse):
    command = [*COMMAND, "query", "SELECT word FROM words", "--warehouse", warehouse]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), error) == (0, b"")


def test_our_error_is_found_among_the_causes():
    wrapped = RuntimeError("rewrapped")
    wrapped.__cause__ = InputError("a.csv: row 3 [while running 'Read/ParDo']")
    found = unwrap(wrapped)
    assert isinstance(found, InputError)
    assert str(found) == "a.csv: row 3"


@pytest.mark.parametrize("kind", [UsageError, RunError, InputError])
def test_our_error_is_found_in_the_text_of_another_process(kind):
    text = f"Traceback ...\nbeam_jobs.errors.{kind.__name__}: a.csv: cut off [while running 'x']\n"
    found = unwrap(RuntimeError(text))
    assert type(found) is kind
    assert str(found) == "a.csv: cut off"


def test_an_error_that_is_not_ours_stays_unknown():
    assert unwrap(ValueError("UsageErrors are not meant here")) is None
