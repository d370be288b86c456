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
import publish_kit

from beam_jobs.publish import publishing, statements
from beam_jobs.publish.duckdb_engine import DuckDbEngine, DuckDbSession
from beam_jobs.publish.run_folder import RunFolder
from beam_jobs.publish.runs import RunStatus
from beam_jobs.publish.warehouse import Warehouse

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["crash_kit"])
statements.for_duckdb(statements.views())  # the translator warms up once, in the server


def _start_server() -> None:
    """The server of Python 3.11 finds its preloads by PYTHONPATH only."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


if multiprocessing.parent_process() is None and "pytest" in sys.modules:
    _start_server()


def publish(warehouse: Warehouse, runs: str) -> None:
    publishing.publish_run(warehouse, *publish_kit.write_run(runs, "new", order=2))


def hold(warehouse: Warehouse, runs: str) -> None:
    written = publish_kit.write_run(runs, "new", order=2, status=RunStatus.HELD)
    publishing.publish_run(warehouse, *written)


def approve(warehouse: Warehouse, runs: str) -> None:
    publishing.approve(warehouse, "held")


def rollback(warehouse: Warehouse, runs: str) -> None:
    publishing.rollback(warehouse, "monthly", publish_kit.OCTOBER, to="older")


Action = Callable[[Warehouse, str], None]


def dies_after_statement(number: int, action: Action, path: str, runs: str) -> None:
    """Runs the action and kills its own process right after one of its SQL statements."""
    execute = DuckDbSession._execute
    count = 0

    def counted(self: DuckDbSession, *arguments: Any) -> Any:
        nonlocal count
        result = execute(self, *arguments)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        return result

    DuckDbSession._execute = counted  # type: ignore[method-assign]
    action(Warehouse(DuckDbEngine(path)), runs)


def act(action: Action, path: str, runs: str) -> None:
    action(Warehouse(DuckDbEngine(path)), runs)


def publish_often(path: str, runs: str, names: list[str], times: int) -> None:
    """Publishes the same runs of one month in turn, each by its own writing."""
    warehouse = Warehouse(DuckDbEngine(path))
    for _ in range(times):
        for order, name in enumerate(names):
            publishing.publish_run(
                warehouse, *publish_kit.write_run(runs, name, rows=20 + order, order=order)
            )


def run_alone(target: Callable[..., None], *arguments: Any) -> int:
    """The exit code of a process of its own; -9 where it was killed."""
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    process.join(120)
    if process.exitcode is None:
        process.kill()
        sys.exit("the process does not end")
    return process.exitcode


def keep_lock(path: str) -> None:
    """Holds a run folder's lock until it is killed."""
    with RunFolder(path).lock():
        Path(path, "locked").touch()
        signal.pause()
