"""What processes of the crash and concurrency tests do; imported by a fork server, so it is quick.

A fork server has the libraries imported but no thread and no open database, so that a hundred
processes that die at a hundred places take seconds.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pandas  # noqa: F401 (Arrow imports it on first use; here it is imported once)
import requests

from beam_jobs.publish import decisions, publishing, statements
from beam_jobs.runs.catalog import RunCatalog, open_catalog
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import RunStatus
from beam_jobs.warehouse import ddl
from beam_jobs.warehouse import duckdb as duckdb_engine
from beam_jobs.warehouse.bigquery import engine, stage  # noqa: F401
from beam_jobs.warehouse.duckdb import DuckDbSession
from support.publishing import OCTOBER, write_run
from support.waiting import PATIENCE

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["support.crashes"])
ddl.for_duckdb(statements.views())  # the translator warms up once, in the server


def _start_server() -> None:
    """Once; the server of Python 3.11 finds its preloads by PYTHONPATH only."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def publish(warehouse: RunCatalog, runs: str) -> None:
    publishing.publish_run(warehouse, *write_run(runs, "new", order=2))


def hold(warehouse: RunCatalog, runs: str) -> None:
    written = write_run(runs, "new", order=2, status=RunStatus.HELD)
    publishing.publish_run(warehouse, *written)


def approve(warehouse: RunCatalog, _runs: str) -> None:
    decisions.approve(warehouse, "held")


def reject(warehouse: RunCatalog, _runs: str) -> None:
    decisions.reject(warehouse, "held", "wrong")


def rollback(warehouse: RunCatalog, _runs: str) -> None:
    decisions.rollback(warehouse, "monthly", OCTOBER, to="older")


Action = Callable[[RunCatalog, str], None]


def dies_after_step(number: int, action: Action, url: str, runs: str) -> None:
    """Runs the action and kills its own process after a SQL statement, or a call of BigQuery."""
    is_local = url.startswith("duckdb:")
    owner, name = (DuckDbSession, "_execute") if is_local else (requests.Session, "request")
    step = getattr(owner, name)
    count = 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        result = step(*arguments, **options)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        return result

    setattr(owner, name, counted)
    action(open_catalog(url), runs)


def act(action: Action, url: str, runs: str) -> None:
    action(open_catalog(url), runs)


def publish_often(url: str, runs: str, names: list[str], times: int) -> None:
    """Publishes the same runs of one month in turn, each by its own writing."""
    warehouse = open_catalog(url)
    for _ in range(times):
        for order, name in enumerate(names):
            publishing.publish_run(warehouse, *write_run(runs, name, rows=20 + order, order=order))


def process_of(target: Callable[..., None], *arguments: Any) -> Any:
    """A process, started; it sees this one's environment, not that of the fork server."""
    _start_server()
    process = CONTEXT.Process(target=_with_environment, args=(dict(os.environ), target, arguments))
    process.start()
    return process


def _with_environment(
    environment: dict[str, str], target: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    os.environ.update(environment)
    duckdb_engine.patience = duckdb_engine.Patience(read=PATIENCE, write=PATIENCE)
    target(*arguments)


def run_alone(target: Callable[..., None], *arguments: Any) -> int:
    """The exit code of a process of its own; -9 where it was killed."""
    process = process_of(target, *arguments)
    process.join()
    found: int = process.exitcode
    return found


def keep_lock(path: str) -> None:
    """Holds a run folder's lock until it is killed."""
    with RunFolder(path).lock():
        Path(path, "locked").touch()
        signal.pause()
