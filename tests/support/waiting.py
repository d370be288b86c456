"""Waiting for events. How long they take is the machine's affair: no test depends on it."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 900.0
"""Seconds until what never comes is called a failure: it guards against hanging, nothing else."""

_T = TypeVar("_T")


def until(event: Callable[[], _T], what: str = "") -> _T:
    """Waits until `event` gives something true, and gives that.

    Args:
        event: a look; what it raises ends the wait.
        what: is waited for, for the message.
    """
    ends = time.monotonic() + PATIENCE
    while not (found := event()):
        assert time.monotonic() < ends, f"waited {PATIENCE:g} s for {what or event}"
        time.sleep(0.02)
    return found
