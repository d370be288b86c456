"""Progress on standard error: a live bar on a terminal, a line now and then otherwise."""

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TextIO

from beam_jobs.terminal.text import console, is_terminal

POLL_SECONDS = 0.25
LINE_SECONDS = 5.0


@dataclass(frozen=True)
class Snapshot:
    """How far a run is.

    Attributes:
        stage: what it does now.
        rows: done so far.
        total: expected; None where it is not known.
        rate: rows a second since the stage began.
        elapsed: seconds since the run began.
    """

    stage: str
    rows: int
    total: int | None
    rate: float
    elapsed: float

    def rows_text(self) -> str:
        """`131,072 of 200,000 rows`."""
        done = f"{self.rows:,}"
        return f"{done} of {self.total:,} rows" if self.total is not None else f"{done} rows"

    def rate_text(self) -> str:
        """`54,000 rows/s`."""
        return f"{self.rate:,.0f} rows/s"

    def line(self) -> str:
        """`[  12 s] score: 131,072 of 200,000 rows, 54,000 rows/s`."""
        text = f"[{self.elapsed:4.0f} s] {self.stage}"
        return f"{text}: {self.rows_text()}, {self.rate_text()}" if self.rows else text


class _Display(Protocol):
    def show(self, now: Snapshot) -> None: ...

    def close(self, now: Snapshot, succeeded: bool) -> None: ...


class Progress:
    """Shows how far a run is while it runs.

        with Progress(counter) as progress:
            progress.stage("score")
            progress.rows(total)

    The counter is called from a thread of its own, several times a second; it returns the rows
    done so far and never goes back within a stage. So is `stage_now`, for a run whose stages begin
    elsewhere.
    """

    def __init__(
        self,
        count: Callable[[], int],
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        stage_now: Callable[[], str] | None = None,
    ) -> None:
        self._count = count
        self._stage_now = stage_now
        self._clock = clock
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._stage = "start"
        self._total: int | None = None

    def __enter__(self) -> "Progress":
        self._began = self._stage_began = self._clock()
        self._rows_before = self._count()
        can_animate = is_terminal(self._stream) and os.environ.get("TERM") != "dumb"
        self._display: _Display = _Bar(self._stream) if can_animate else _Lines(self._stream)
        self._thread = threading.Thread(target=self._poll, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._thread.join()
        self._display.close(self.now(), succeeded=kind is None)

    def stage(self, name: str) -> None:
        """Names what happens from now on; rows a second are those of the stage."""
        rows = self._count()
        with self._lock:
            self._stage = name
            self._stage_began = self._clock()
            self._rows_before = rows

    def rows(self, total: int | None) -> None:
        """Says how many rows there will be in all."""
        with self._lock:
            self._total = total

    def now(self) -> Snapshot:
        """How far the run is at this moment."""
        rows = self._count()
        with self._lock:
            time_now = self._clock()
            seconds = time_now - self._stage_began
            rate = (rows - self._rows_before) / seconds if seconds > 0 else 0.0
            return Snapshot(self._stage, rows, self._total, max(0.0, rate), time_now - self._began)

    def _poll(self) -> None:
        while not self._closing.wait(POLL_SECONDS):
            if self._stage_now is not None and (name := self._stage_now()) != self._stage:
                self.stage(name)
            self._display.show(self.now())


class _Lines:
    """For logs: one line at most every `LINE_SECONDS`, and one at the end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._due = LINE_SECONDS

    def show(self, now: Snapshot) -> None:
        if now.elapsed >= self._due:
            self._due = now.elapsed + LINE_SECONDS
            print(now.line(), file=self._stream, flush=True)

    def close(self, now: Snapshot, succeeded: bool) -> None:
        if succeeded:
            rate = now.rows / now.elapsed if now.elapsed > 0 else 0.0
            end = Snapshot("done", now.rows, None, rate, now.elapsed)
            print(end.line(), file=self._stream, flush=True)


class _Bar:
    """For a terminal; gone when it is done, because the summary follows."""

    def __init__(self, stream: TextIO) -> None:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[rows_text]}", markup=False),
            TextColumn("{task.fields[rate_text]}", markup=False),
            TimeElapsedColumn(),
            console=console(stream),
            expand=True,
            transient=True,
        )
        self._task = self._bar.add_task("start", total=None, rows_text="", rate_text="")
        self._bar.start()

    def show(self, now: Snapshot) -> None:
        self._bar.update(
            self._task,
            description=now.stage,
            completed=now.rows,
            total=now.total,
            rows_text=now.rows_text() if now.rows else "",
            rate_text=now.rate_text() if now.rows else "",
        )

    def close(self, now: Snapshot, succeeded: bool) -> None:
        del succeeded  # the bar goes either way
        self.show(now)
        self._bar.stop()
