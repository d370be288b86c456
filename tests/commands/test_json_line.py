"""`json = true` in beam-jobs.toml: as if --json were typed, also where the command is wrong."""

import json
from pathlib import Path

import duckdb
import pytest

from beam_jobs import cli

MODEL = ["monthly", "--month=2026-10", "--ads=none/*.csv", "--model=m"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BEAM_JOBS_WAREHOUSE", raising=False)
    return tmp_path


@pytest.mark.parametrize("file", ["json = true", "[monthly]\njson = true", "json = true\nkye = 1"])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["monthly"], "--warehouse is required"),
        ([*MODEL, "--schema=s", "--runs=r", "--warehouse=duckdb:w"], "matches no file"),
        (["monthly", "--modle=m"], "unknown flag --modle; did you mean --model?"),
        (["monthly", "--image-max-bytes=x"], "invalid int value: 'x'"),
        (["monthly", "--month"], "expected one argument"),
        (["monthly", "--key=\udcff"], "is not UTF-8 text"),
    ],
)
def test_a_mistake_of_the_command_line_ends_with_its_line(
    folder: Path,
    file: str,
    named: bool,
    argv: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / ("ads.toml" if named else "beam-jobs.toml")).write_text(file)
    assert cli.main([*argv, *(["--config=ads.toml"] if named else [])]) == 2
    done = capsys.readouterr()
    (line,) = done.out.splitlines()
    failed = json.loads(line)
    assert (failed["job"], failed["status"]) == ("monthly", "FAILED")
    assert done.err == f"beam-jobs: error: {failed['error']}\n"
    assert message in failed["error"] or ("kye" in file and "key 'kye'" in failed["error"])


@pytest.mark.parametrize(
    ("file", "argv"),
    [
        ("json = false", ["monthly"]),
        ("[requests]\njson = true", ["monthly"]),
        ("json = true\n[monthly]\njson = false", ["monthly"]),
        ("json = true", ["monthly", "--config=none.toml"]),
        ("json = true\nkey =", ["monthly"]),
        ("json = true", ["monthyl"]),
        ("json = true", ["approve"]),
        ("json = true", []),
    ],
)
def test_no_line_where_nobody_asked_for_it_or_no_job_was_named(
    folder: Path, file: str, argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "beam-jobs.toml").write_text(file)
    assert cli.main(argv) == 2
    done = capsys.readouterr()
    assert (done.out, done.err.count("\n")) == ("", 1)


def test_it_holds_for_verbs_that_look_and_the_line_wins(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    duckdb.connect(str(folder / "w.duckdb")).close()
    (folder / "beam-jobs.toml").write_text('json = true\nwarehouse = "duckdb:w.duckdb"')

    def printed(*argv: str) -> str:
        assert cli.main(list(argv)) == 0
        return capsys.readouterr().out

    assert printed("runs") == "[]\n"
    assert printed("query", "SELECT 1 AS n") == '[{"n": 1}]\n'
    assert printed("query", "SELECT 1 AS n", "--csv") == "n\r\n1\r\n"
    assert cli.main(["query", "SELECT 1 AS n", "--csv", "--json"]) == 2
    (folder / "beam-jobs.toml").write_text('json = "yes"')
    assert cli.main(["runs", "--warehouse=duckdb:w.duckdb"]) == 2
    assert "configuration: json must be true or false, not 'yes'" in capsys.readouterr().err
