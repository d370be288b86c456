"""Processes that run `beam-jobs` at once: a server that has the libraries imported forks them.

A new interpreter imports TensorFlow, TFDV and Beam for many seconds; a fork of one that has done
so, and that has no thread yet, starts in milliseconds.
"""

import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, NamedTuple

from support import quick_beam
from support.waiting import PATIENCE


class Ended(NamedTuple):
    """What a process left; the code is -9 where it was killed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out.strip().splitlines()[-1])


class FaultServer:
    """The client's side."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turn = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._turn:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def start(
        self,
        *argv: str,
        die_after: int | None = None,
        file_bytes: int | None = None,
        lease: float = PATIENCE,
    ) -> int:
        """Starts a command; gives its process id.

        Args:
            argv: of `beam-jobs`.
            die_after: kills itself right behind this step, counted from 0; see `count_steps`.
            file_bytes: no file may grow beyond this size, as on a full disk.
            lease: seconds until a lock in Cloud Storage is free without a sign of life.
        """
        found: int = self._ask(
            argv=argv,
            die_after=die_after,
            file_bytes=file_bytes,
            lease=lease,
            folder=str(self._folder),
        )
        return found

    def is_running(self, process: int) -> bool:
        found: bool = self._ask(is_running=process)
        return found

    def wait(self, process: int) -> Ended:
        while self.is_running(process):
            time.sleep(0.02)
        code = self._ask(wait=process)
        out, err = (Path(self._folder, f"{process}.{name}").read_text() for name in ("out", "err"))
        return Ended(code, out, err)

    def run(self, *argv: str, **faults: Any) -> Ended:
        return self.wait(self.start(*argv, **faults))

    def steps(self, process: int) -> list[str]:
        """What `count_steps` counted, such as `sql COMMIT`."""
        lines = Path(self._folder, f"{process}.steps").read_text().splitlines()
        return [line.split(" ", 2)[2] for line in lines]

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)


def count_steps(die_after: int | None, log: IO[str]) -> None:
    """Counts what others could see of a run: files that appear, and SQL statements.

    Each step's name goes to the log; behind step `die_after` the process kills itself.
    """
    from beam_jobs.storage import streams
    from beam_jobs.warehouse.duckdb import DuckDbSession

    count = 0

    def step(name: str) -> None:
        nonlocal count
        log.write(f"step {count} {name}\n")
        log.flush()
        if count == die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    replace, link, execute = os.replace, os.link, DuckDbSession._execute

    def replacing(source: str, target: str) -> None:
        replace(source, target)
        step(f"file {target}")

    def linking(source: str, target: str) -> None:
        link(source, target)
        step(f"link {target}")

    def executing(self: Any, sql: str, *arguments: Any) -> Any:
        result = execute(self, sql, *arguments)
        step(f"sql {' '.join(sql.split())[:60]}")
        return result

    def uploading(uri: str, *arguments: Any) -> int:
        generation = upload(uri, *arguments)
        step(f"object {uri}")
        return generation

    upload = streams.upload
    streams.upload = uploading  # type: ignore[assignment]
    os.replace = replacing  # type: ignore[assignment]
    os.link = linking  # type: ignore[assignment]
    DuckDbSession._execute = executing  # type: ignore[method-assign, assignment]


def _child(request: dict[str, Any]) -> int:
    from beam_jobs.cli import main
    from beam_jobs.storage import leases, locks
    from beam_jobs.warehouse import duckdb as duckdb_engine

    for number, name in ((1, "out"), (2, "err")):
        path = os.path.join(request["folder"], f"{os.getpid()}.{name}")
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    with open(os.path.join(request["folder"], f"{os.getpid()}.steps"), "w") as log:
        if not request["file_bytes"]:  # the limit would be the log's, too
            count_steps(request["die_after"], log)
        locks.patience = locks.Patience(PATIENCE)
        duckdb_engine.patience = duckdb_engine.Patience(read=PATIENCE, write=PATIENCE)
        leases.terms = leases.Terms(request["lease"], heartbeat=0.2, poll=0.1)
        if request["file_bytes"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_bytes"],) * 2)
        code = main(request["argv"])
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _serve() -> None:
    logging.basicConfig(level=logging.ERROR)  # before a library's first warning sets another
    import tensorflow_data_validation  # noqa: F401

    import beam_jobs.demo.run
    import beam_jobs.pipelines.monthly
    import beam_jobs.pipelines.requests
    import beam_jobs.pipelines.watch
    import beam_jobs.storage.cloud
    import beam_jobs.warehouse.duckdb  # noqa: F401
    from beam_jobs.publish import statements
    from beam_jobs.warehouse import ddl

    ddl.for_duckdb(statements.views())  # the translator warms up once, here
    quick_beam.remember()

    ended: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        reply: Any
        if "argv" in request:
            reply = os.fork()
            if reply == 0:
                code = 70
                try:
                    code = _child(request)
                finally:
                    os._exit(code)
        elif "wait" in request:
            process = request["wait"]
            if process not in ended:
                ended[process] = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            reply = ended[process]
        else:
            process = request["is_running"]
            if process not in ended:
                found, status = os.waitpid(process, os.WNOHANG)
                if found:
                    ended[process] = os.waitstatus_to_exitcode(status)
            reply = process not in ended
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    _serve()
