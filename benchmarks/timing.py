"""Processes, and what they take."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PYTHON = sys.executable
ROOT = str(Path(__file__).parents[1])
FEW = 10  # rows of a run that is nothing but start-up
HELD = 3  # a result too: clean data against a small demo's baseline may be held


@dataclass(frozen=True)
class Timed:
    """One process: its own count of seconds, the whole from outside, processor time, memory."""

    seconds: float
    whole: float
    peak_mb: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s (process {self.whole:.1f} s), {self.peak_mb:.0f} MB"


def run(*arguments: str, is_timed: bool = True, interpreter: Sequence[str] = (PYTHON,)) -> Timed:
    """A Python process; `is_timed` ones end with a JSON line that has `seconds`.

    It runs in an empty folder, for a `beam-jobs.toml` in the current one is its user's, and so are
    the variables of his shell.
    """
    environment = {name: text for name, text in os.environ.items() if "BEAM_JOBS_" not in name}
    environment["PYTHONPATH"] = ROOT
    started = time.monotonic()
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as errors,
        tempfile.TemporaryDirectory() as nowhere,
    ):
        process = subprocess.Popen(
            [*interpreter, *arguments], stdout=out, stderr=errors, cwd=nowhere, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        whole = time.monotonic() - started
        if os.waitstatus_to_exitcode(status) not in (0, HELD):
            errors.seek(0)
            sys.exit(f"{' '.join(arguments)} failed:\n{errors.read()[-2000:]}")
        out.seek(0)
        seconds = json.loads(out.read().splitlines()[-1])["seconds"] if is_timed else whole
    cpu = usage.ru_utime + usage.ru_stime
    return Timed(seconds, whole, usage.ru_maxrss / 1024, cpu)  # KiB on Linux
