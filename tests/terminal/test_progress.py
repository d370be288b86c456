"""Progress on a terminal, and as lines where there is none."""

import io
import re
import threading
from typing import Any

import pytest
from rich.cells import cell_len

from beam_jobs import terminal
from beam_jobs.terminal import progress as progress_module
from support.terminals import FakeTerminal
from support.waiting import PATIENCE


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return FakeTerminal()


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> Any:
        return self.seconds


class TestProgress:
    def test_rate_is_that_of_the_stage(self) -> None:
        clock, rows = Clock(), [0]
        with terminal.Progress(lambda: rows[0], io.StringIO(), clock) as progress:
            clock.seconds, rows[0] = 10.0, 1_000
            progress.stage("score")
            progress.rows(5_000)
            clock.seconds, rows[0] = 12.0, 3_000
            now = progress.now()
        assert now == progress_module.Snapshot("score", 3_000, 5_000, 1_000.0, 12.0)
        assert now.line() == "[  12 s] score: 3,000 of 5,000 rows, 1,000 rows/s"

    def test_lines_are_seconds_apart_and_end_with_one(self) -> None:
        out = io.StringIO()
        lines = progress_module._Lines(out)
        for tenth in range(200):
            lines.show(progress_module.Snapshot("read", tenth, None, 10.0, tenth / 10))
        lines.close(progress_module.Snapshot("read", 200, 200, 10.0, 20.0), succeeded=True)
        assert out.getvalue() == (
            "[   5 s] read: 50 rows, 10 rows/s\n"
            "[  10 s] read: 100 rows, 10 rows/s\n"
            "[  15 s] read: 150 rows, 10 rows/s\n"
            "[  20 s] done: 200 rows, 10 rows/s\n"
        )

    def test_says_nothing_of_being_done_where_the_run_failed(self) -> None:
        out = io.StringIO()
        with pytest.raises(RuntimeError), terminal.Progress(lambda: 5, out):
            raise RuntimeError
        assert out.getvalue() == ""

    def test_draws_a_bar_of_80_columns_on_a_terminal_and_clears_it(
        self, screen: FakeTerminal
    ) -> None:
        polled = threading.Event()
        calls = []

        def count() -> Any:
            calls.append(threading.current_thread().name)
            if calls.count("progress") >= 2:
                polled.set()
            return 131_072

        with terminal.Progress(count, screen) as progress:
            progress.stage("score")
            progress.rows(200_000)
            assert polled.wait(PATIENCE)
        seen = screen.text()
        assert "131,072 of 200,000 rows" in seen
        assert "rows/s" in seen
        assert "━" in seen
        lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", screen.getvalue())
        assert all(cell_len(line) <= 80 for part in lines.split("\n") for line in part.split("\r"))
        assert "\x1b[2K" in screen.getvalue()
        assert not any(thread.name == "progress" for thread in threading.enumerate())

    def test_a_dumb_terminal_gets_lines(
        self, screen: FakeTerminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TERM", "dumb")
        with terminal.Progress(lambda: 7, screen):
            pass
        assert screen.getvalue().startswith("[   0 s] done: 7 rows")
