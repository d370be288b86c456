"""A small demo, made once: data, model, baseline and three runs."""

import contextlib
import fcntl
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import quick_beam

from beam_jobs.cli import main
from beam_jobs.config import DemoConfig
from beam_jobs.demo.run import run_demo

ROWS = 3_000

quick_beam.remember()


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
    """The demo's folder; tests must not change what is in it.

    Test processes that run side by side share it: the first one makes it, others wait.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, made = shared / "demo", shared / "demo-made"
    with open(shared / "demo-lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # free again when its holder ends, however that is
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _make_demo(folder)
            made.touch()
    return folder


def _make_demo(folder: Path) -> None:
    before = os.getcwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            assert run_demo(DemoConfig(dir=str(folder), rows=ROWS), []) == 0
    finally:
        os.chdir(before)


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
