"""What the locks of local folders and of Cloud Storage share: how long they wait, and who may.

A thread that holds a lock and asks for it again gets it at once, as of a `threading.RLock`: no
order of calls can make a process wait for itself.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from beam_jobs.errors import BusyError
from beam_jobs.storage.holder import describe_holder
from beam_jobs.storage.interface import Tell


@dataclass(frozen=True)
class Patience:
    """How long a process waits for a lock.

    Attributes:
        seconds: after so many it gives up.
        pause: seconds between two attempts at a local lock.
        clock: seconds that only grow.
        sleep: waits for so many seconds.
    """

    seconds: float = 600.0
    pause: float = 0.2
    clock: Callable[[], float] = field(default=time.monotonic)
    sleep: Callable[[float], None] = field(default=time.sleep)


patience = Patience()
"""Of this process; tests set another one."""


class Wait:
    """One wait for a lock: told at once, once for each holder, and with an end."""

    def __init__(self, folder: str, waiting: Tell) -> None:
        """Begins to wait.

        Args:
            folder: whose lock it is.
            waiting: called with a sentence: for whom this process waits.
        """
        self._folder, self._waiting = folder, waiting
        self._began = patience.clock()
        self._told: set[str] = set()

    def more(self, holder: str, pause: float, hint: str = "") -> None:
        """Waits for a moment.

        Args:
            holder: the text in the lock.
            pause: seconds.
            hint: what else ends the wait.

        Raises:
            BusyError: this has lasted as long as a process waits.
        """
        who = describe_holder(holder)
        if who not in self._told:
            self._told.add(who)
            self._waiting(
                f"{self._folder}: {who}; waiting for it to end{hint}, for at most"
                f" {patience.seconds:g} s"
            )
        if patience.clock() - self._began >= patience.seconds:
            raise BusyError(
                f"{self._folder}: busy: {who}, and did not end within {patience.seconds:g} s; run"
                " the command again when it has ended"
            )
        patience.sleep(pause)


_held: dict[tuple[int, int, str], int] = {}
"""{(process, thread, folder): how often it is held there}."""


@contextlib.contextmanager
def once(folder: str, take: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Takes the lock of a folder, unless this thread holds it already.

    Args:
        folder: its absolute path.
        take: takes the lock, and waits for it.
    """
    # A forked child has its parent's entries, but none of its locks.
    key = (os.getpid(), threading.get_ident(), folder)
    with contextlib.ExitStack() as taken:
        if key not in _held:
            taken.enter_context(take())
        _held[key] = _held.get(key, 0) + 1
        try:
            yield
        finally:
            _held[key] -= 1
            if not _held[key]:
                del _held[key]
