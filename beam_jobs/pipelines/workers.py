"""The workers of a portable job, as far as the process table of this machine shows them."""

import threading
from pathlib import Path

_PROC = Path("/proc")
_LOOPBACK_THREAD = "run_worker_"
"""How Beam names the thread of a worker within the launching process; its id follows."""


def workers_of(job: str) -> dict[str, int]:
    """{worker: processor time it used, in clock ticks} of a job's workers that live here.

    Whoever starts a worker process (a pool, a container's boot program, a job service) gives it its
    id as an argument; ids begin with the job's. Workers of `LOOPBACK` are threads of this process,
    their time is given as 0. Workers on other machines, in a hidden process table or on a system
    without one are not found.

    Args:
        job: what the ids of its workers begin with.
    """
    threads = [thread.name for thread in threading.enumerate()]
    found = {name: 0 for name in threads if name.startswith(f"{_LOOPBACK_THREAD}{job}")}
    for folder in _PROC.glob("[0-9]*"):
        try:
            # That of a process that has ended, and that nobody has asked for its end, is empty.
            if job.encode() in (folder / "cmdline").read_bytes():
                found[folder.name] = _ticks((folder / "stat").read_text())
        except OSError:  # it ended meanwhile
            continue
    return found


def _ticks(stat: str) -> int:
    """User and system time of a line of /proc/PID/stat; see proc(5)."""
    fields = stat.rpartition(")")[2].split()  # the name before may hold anything
    return int(fields[11]) + int(fields[12])
