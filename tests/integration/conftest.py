"""A small demo, made once: data, model, baseline and three runs; and a small queue's set-up."""

import contextlib
import fcntl
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.config.verbs import DemoConfig
from beam_jobs.demo.run import run_demo
from support import quick_beam
from support.commands import ROWS, Result, Run, monthly_flags, run_command
from support.queues import make_setup

quick_beam.remember()


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


@pytest.fixture(scope="session")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the schema and the model of a small queue; see `queues.make_setup`."""
    folder = tmp_path_factory.mktemp("setup")
    make_setup(folder)
    return folder
