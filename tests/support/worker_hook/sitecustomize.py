"""Imported by each Python process that has this folder in PYTHONPATH: holds a worker in its work.

Where the folder HOLD_WORKERS has a file `hold`, a process that has written a file of keys tells its
id, as the name of a file, and waits until `hold` is gone. Whoever wants to kill a worker in the
middle of a bundle has all the time for it.
"""

import os
import time
from typing import Any

_replace = os.replace
_folder = os.environ.get("HOLD_WORKERS", "")


def _replacing(source: Any, target: Any) -> None:
    _replace(source, target)
    if os.path.basename(os.path.dirname(os.fspath(target))) != "keys":
        return
    hold = os.path.join(_folder, "hold")
    if os.path.exists(hold):
        open(os.path.join(_folder, str(os.getpid())), "w").close()
        while os.path.exists(hold):
            time.sleep(0.02)


if _folder:
    os.replace = _replacing  # type: ignore[assignment]
