"""Rounds over the queue, one after the other, until somebody asks for an end."""

import contextlib
import itertools
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

from beam_jobs import errors, storage
from beam_jobs.errors import BusyError, UsageError

LONGEST_PAUSE_SECONDS = 60.0
"""Between rounds that fail one after the other, unless new files are looked for less often."""


def watch(
    one_round: Callable[[], object],
    wait: Callable[[float], bool],
    report: Callable[[Exception], None],
    seconds: float,
) -> None:
    """Runs rounds until `wait` says that somebody asked for an end.

    What fails is reported, and the next round tries again: what a round needs may be away for a
    while, or only half there, and the files still wait. What fails again in the same words is not
    reported again, and tried more and more slowly.

    Args:
        one_round: answers what waits.
        wait: lets so many seconds pass; whether somebody asked for an end.
        report: called with an exception, while it is handled.
        seconds: between rounds that do not fail.

    Raises:
        UsageError: the first round found that the set-up is wrong.
        errors.RunInterruptedError: somebody interrupted a round.
    """
    pause, reported = seconds, ""
    for number in itertools.count():
        try:
            one_round()
            pause, reported = seconds, ""
        except errors.RunInterruptedError:
            raise
        except Exception as error:  # a watch outlives defects, too
            if not number and isinstance(error, UsageError) and not isinstance(error, BusyError):
                raise
            pause = min(2 * pause, max(seconds, LONGEST_PAUSE_SECONDS))
            if str(error) != reported:
                with contextlib.suppress(OSError):  # whoever was to read it may be gone
                    report(error)
            reported = str(error)
        if wait(pause):
            return


class Interrupted:
    """Whether somebody asked this process to end; the second signal ends it at once."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupted":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: FrameType | None) -> None:
        signal.signal(number, self._before[number])
        self._asked.set()

    def within(self, seconds: float) -> bool:
        """Waits so long, or until somebody asks; whether somebody has asked."""
        return self._asked.wait(min(seconds, threading.TIMEOUT_MAX))


def keep_traceback(folder: str) -> str:
    """Writes the traceback of the exception that is handled into the folder; the file.

    Where the folder cannot be written, which may be the very exception, it is a temporary file.
    """
    text = traceback.format_exc().encode()
    uri = storage.join(storage.absolute(folder), "failure.txt")
    try:
        storage.write_atomic(uri, text)
    except Exception:  # noqa: BLE001 (whatever keeps a service from taking it)
        with tempfile.NamedTemporaryFile(
            prefix="beam-jobs-", suffix=".txt", delete=False
        ) as stream:
            stream.write(text)
        return stream.name
    return uri
