"""Prism, Beam's portable runner, with worker processes of their own: all real, on this machine.

It is a Go program that PyPI does not carry: built once, kept in `.cache/prism/`.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

VERSION = "v2.71.0"
"""The newest Go module; it runs graphs of Beam's Python SDK 2.72."""

_CACHE = Path(__file__).parents[2] / ".cache" / "prism"
_MODULE = "github.com/apache/beam/sdks/v2"
_START_SECONDS = 60


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
        binary = prism_binary()
        job, pool = _free_port(), _free_port()
        # The pool starts `python`: it must be this one, and find the packages under test.
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        env = os.environ | {"PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}
        self._log = open(folder / "prism.log", "wb")  # noqa: SIM115 (closed in stop)
        self._processes = [
            subprocess.Popen(command, stdout=self._log, stderr=self._log, env=env)
            for command in (
                [binary, f"-job_port={job}", "-serve_http=false", "-log_level=warn"],
                [
                    sys.executable,
                    *("-m", "apache_beam.runners.worker.worker_pool_main"),
                    f"--service_port={pool}",
                ],
            )
        ]
        for port in (job, pool):
            _await_port(port, self._processes)
        self.flags = [
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{job}",
            f"--artifact_endpoint=localhost:{job}",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{pool}",
        ]

    def workers(self) -> list[int]:
        """Processes of the workers."""
        return children(self._processes[1].pid)

    def stop(self) -> None:
        """Ends all of it; the pool ends its workers."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGINT)
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._log.close()


def children(process: int) -> list[int]:
    """Ids of the processes that a process has started, and of theirs."""
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            direct = [int(child) for child in task.read_text().split()]
        except OSError:  # it ended meanwhile
            continue
        for child in direct:
            found += [child, *children(child)]
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_port(port: int, processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("localhost", port), 1).close()
            return
        except OSError:
            ended = [process.args for process in processes if process.poll() is not None]
            assert not ended, f"{ended} ended at once"
            assert time.monotonic() < deadline, f"nothing answers on port {port}"
            time.sleep(0.1)
