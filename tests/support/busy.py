"""Runs a command while the machine is busy: python tests/busy.py PROCESSES_PER_CORE COMMAND...

A test that passes alone and fails here depends on speed.
"""

import os
import subprocess
import sys


def main(per_core: int, command: list[str]) -> int:
    count = per_core * len(os.sched_getaffinity(0))
    # Each ends with this process, however that ends: its input is closed then.
    spin = "import threading, sys; t = threading.Thread(target=sys.stdin.read); t.start()\n"
    spin += "while t.is_alive(): sum(range(10_000))"
    busy = [
        subprocess.Popen([sys.executable, "-S", "-c", spin], stdin=subprocess.PIPE)
        for _ in range(count)
    ]
    try:
        return subprocess.run(command, check=False).returncode
    finally:
        for process in busy:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
