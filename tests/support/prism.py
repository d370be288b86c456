"""Prism, Beam's portable runner, with worker processes of their own: all real, on this machine.

It is a Go program that PyPI does not carry: built once, kept in `.cache/prism/`.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.servers.ports import free_port
from support.waiting import PATIENCE, until

VERSION = "v2.71.0"
"""A Go module; it runs graphs of Beam's Python SDK of both stacks."""

_CACHE = Path(__file__).parents[2] / ".cache" / "prism"
_MODULE = "github.com/apache/beam/sdks/v2"


def prism_binary() -> Path:
    """The program; the test is skipped on a machine without Go, but never in CI."""
    binary = _CACHE / f"prism-{VERSION}"
    if not binary.exists():
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
        if go is None:
            reason = f"Prism {VERSION} is built with Go, and there is no `go` on the PATH"
            if os.environ.get("CI"):
                pytest.fail(f"{reason}; CI must have it")
            pytest.skip(reason)
        _build(go, binary)
    return binary


def _build(go: str, binary: Path) -> None:
    source = _CACHE / f"source-{os.getpid()}"
    source.mkdir(parents=True, exist_ok=True)
    (source / "go.mod").write_text(f"module prism\n\ngo 1.23\n\nrequire {_MODULE} {VERSION}\n")
    done = subprocess.run(
        [go, "build", "-o", "prism", f"{_MODULE}/go/cmd/prism"],
        check=False,
        cwd=source,
        env=os.environ | {"GOFLAGS": "-mod=mod"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    os.replace(source / "prism", binary)  # whole, also where two sessions build at once
    shutil.rmtree(source)


class Prism:
    """A running Prism and a pool that starts worker processes for it.

    Attributes:
        flags: for `beam-jobs`, to run there.
    """

    def __init__(self, folder: Path) -> None:
        self._log = open(folder / "prism.log", "wb")  # noqa: SIM115 (closed in stop)
        self._start()

    def _start(self) -> None:
        binary = prism_binary()
        job, pool = free_port(), free_port()
        # The pool starts `python`: it must be this one, and find the packages under test.
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        env = os.environ | {"PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}
        self._processes = [
            subprocess.Popen(command, stdout=self._log, stderr=self._log, env=env)
            for command in (
                [str(binary), f"-job_port={job}", "-serve_http=false", "-log_level=warn"],
                [
                    sys.executable,
                    *("-m", "apache_beam.runners.worker.worker_pool_main"),
                    f"--service_port={pool}",
                ],
            )
        ]
        for port in (job, pool):
            until(partial(self._answers, port), f"a server on port {port}")
        self.flags = [
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{job}",
            f"--artifact_endpoint=localhost:{job}",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{pool}",
        ]

    @property
    def process(self) -> int:
        """Prism's own process."""
        return self._processes[0].pid

    def ensure(self) -> None:
        """Starts it anew where Prism has ended: it does not outlive every death of a worker."""
        if self._ended():
            self._end()
            self._start()

    def stop(self) -> None:
        """Ends all of it; the pool ends its workers."""
        self._end()
        self._log.close()

    def _ended(self) -> list[Any]:
        return [process.args for process in self._processes if process.poll() is not None]

    def _end(self) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGINT)
        for process in self._processes:
            process.wait(PATIENCE)

    def _answers(self, port: int) -> bool:
        assert not self._ended(), f"{self._ended()} ended at once"
        with socket.socket() as probe:
            return probe.connect_ex(("localhost", port)) == 0


def stop_the_runner(element: tuple[str, int]) -> tuple[str, int]:
    """What a worker does: it tells its id, and stops the runner as its bundle ends.

    It stands here and not in a test's file: a worker imports what its functions stand in.
    """
    path, runner = element
    with open(f"{path}.tmp", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"{path}.tmp", path)
    os.kill(runner, signal.SIGSTOP)
    return element


def state_of(process: int) -> str:
    """As /proc tells it: T stopped, Z ended; empty where there is no such process."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""
