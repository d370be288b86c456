"""A small demo, made once: data, model, baseline and three runs."""

import contextlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from beam_jobs.cli import main
from beam_jobs.config import DemoConfig
from beam_jobs.demo.run import run_demo

ROWS = 3_000


class Result(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out.strip().splitlines()[-1])


Run = Callable[..., Result]


def run_command(*argv: str) -> Result:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(argv))
    return Result(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's folder; tests must not change what is in it."""
    folder = tmp_path_factory.mktemp("demo")
    before = os.getcwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            assert run_demo(DemoConfig(dir=str(folder), rows=ROWS), []) == 0
    finally:
        os.chdir(before)
    return folder


def monthly_flags(demo: Path, folder: Path, *argv: str, month: str = "2026-09") -> list[str]:
    """A monthly run of the demo's data; `folder` holds runs and warehouse, `argv` wins."""
    given = {word.split("=", 1)[0] for word in argv}
    flags = {
        "--month": month,
        "--ads": f"{demo}/ads/{{month}}/*",
        "--images": f"{demo}/banners",
        "--model": f"{demo}/models/ads",
        "--schema": f"{demo}/baseline/schema.pbtxt",
        "--baseline": f"{demo}/baseline/statistics.binpb",
        "--runs": str(folder / "runs"),
        "--warehouse": f"duckdb:{folder / 'ads.duckdb'}",
        "--key": "ad_id",
        "--label": "clicked",
    }
    return [*(f"{name}={value}" for name, value in flags.items() if name not in given), *argv]


@pytest.fixture
def monthly(demo: Path, tmp_path: Path) -> Run:
    """`beam-jobs monthly` on the demo's data, with a warehouse and runs of the test's own."""

    def run(*argv: str, month: str = "2026-09") -> Result:
        return run_command("monthly", *monthly_flags(demo, tmp_path, *argv, month=month))

    return run


@pytest.fixture
def ask(tmp_path: Path) -> Callable[[str], Any]:
    """The test's own warehouse, asked in SQL."""

    def query(sql: str) -> Any:
        found = run_command("query", sql, "--json", f"--warehouse=duckdb:{tmp_path / 'ads.duckdb'}")
        assert found.code == 0, found.err
        return json.loads(found.out)

    return query
