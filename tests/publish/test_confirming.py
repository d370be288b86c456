"""What a person must confirm, and what is said before and after a decision."""

import itertools
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from beam_jobs import cli
from beam_jobs.commands import approve as approve_command
from beam_jobs.errors import RunError, UsageError
from beam_jobs.publish.decisions import (
    Change,
    change_to,
)
from beam_jobs.publish.part_writer import SourceCounts
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import RunRow, RunStatus
from beam_jobs.runs.summary import ScoreFigures, write_summary
from beam_jobs.storage import locks
from support.publishing import (
    OCTOBER,
    month_state,
    on_duckdb,
    run_row,
)
from support.summaries import summary


def _run(run_id: str, read: Any = 100, scored: Any = 90, order: int = 1) -> Any:
    counts = {0: SourceCounts(0, read=read, scored=scored, quarantined=read - scored)}
    return run_row(run_id, f"/none/{run_id}", counts, order=order)


@pytest.mark.parametrize(
    ("run", "replaced", "doubts"),
    [
        (_run("new"), None, []),
        (_run("new"), _run("old", order=0), []),
        (_run("new", read=51, scored=46), _run("old", order=0), []),
        (_run("new", 2738, 0), None, ["nothing is scored (0 of 2,738 rows)"]),
        (_run("new", 0, 0), None, ["nothing is scored (0 of 0 rows)"]),
        (
            _run("new", 50, 46),
            _run("old", order=0),
            ["rows read fall from 100 to 50"],
        ),
        (
            _run("new", 100, 45),
            _run("old", order=0),
            ["rows scored fall from 90 to 45"],
        ),
        (
            _run("new", order=0),
            _run("late"),
            ["the newer run late, started 2026-11-02 07:00 UTC, is published"],
        ),
    ],
)
def test_what_a_person_must_confirm(run: Any, replaced: Any, doubts: Any) -> None:
    change = Change(run, replaced, None, None)
    assert change.doubts(newer_counts=True) == doubts
    change.confirm(yes=True, newer_counts=True)
    if doubts:
        with pytest.raises(UsageError, match=r"run new: .*--yes publishes it all the same"):
            change.confirm(yes=False, newer_counts=True)
    else:
        change.confirm(yes=False, newer_counts=True)
    is_about_age = any("newer" in doubt for doubt in doubts)
    assert change.doubts(newer_counts=False) == ([] if is_about_age else doubts)


def _decide(warehouse: RunCatalog, *argv: Any) -> Any:
    return cli.main([*argv, "--warehouse", warehouse.url])


def _with_mean(run: Any, mean: Any) -> None:
    write_summary(RunFolder(run.run_folder), summary(score=ScoreFigures(mean, 0.0, 1.0)))


@on_duckdb
def test_approve_shows_what_it_changes_and_asks(
    warehouse: RunCatalog, make: Callable[..., RunRow], capsys: pytest.CaptureFixture[str]
) -> None:
    small = make("small", rows=10, status=RunStatus.HELD)
    large = make("large", rows=100)
    _with_mean(small, 0.25)
    _with_mean(large, 0.5)
    state = month_state(warehouse)
    assert _decide(warehouse, "approve", "small") == 2
    said = capsys.readouterr()
    lines = dict(line.split("  ", 1) for line in said.out.splitlines())
    assert {name.strip(): text.strip() for name, text in lines.items()} == {
        "publishes": "small",
        "replaces": f"large, published since {large.finished_at:%Y-%m-%d %H:%M} UTC",
        "rows read": "400 -> 40",
        "rows scored": "394 -> 34",
        "quarantined": "1.50% -> 15.00%",
        "mean score": "0.5 -> 0.25",
    }
    (error,) = said.err.splitlines()
    for doubt in ("rows read fall from 400 to 40", "the newer run large", "--yes"):
        assert doubt in error
    assert month_state(warehouse) == state
    assert _decide(warehouse, "approve", "small", "--yes", "--reason", "known", "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert (json.loads(line)["run_id"], json.loads(line)["status"]) == ("small", "PUBLISHED")
    assert _decide(warehouse, "approve", "small") == 0
    assert "small (monthly 2026-10) is PUBLISHED" in capsys.readouterr().out
    (*_, last) = warehouse.publications("monthly", OCTOBER)
    assert (last.action.value, last.reason, last.replaced_run_id) == ("APPROVED", "known", "large")


@on_duckdb
def test_rollback_asks_where_rows_fall_and_reject_takes_a_reason(
    warehouse: RunCatalog, make: Callable[..., RunRow], capsys: pytest.CaptureFixture[str]
) -> None:
    make("small", rows=10)
    make("large", rows=100)
    back = ("rollback", "--month=2026-10")
    assert _decide(warehouse, *back) == 2
    assert "rows read fall from 400 to 40; rows scored fall" in capsys.readouterr().err
    assert _decide(warehouse, *back, "--yes", "--reason=prices") == 0
    assert _decide(warehouse, *back, "--to=large") == 0
    make("held", status=RunStatus.HELD)
    assert _decide(warehouse, "reject", "held", "--reason=cut") == 0
    assert "held (monthly 2026-10) is REJECTED" in capsys.readouterr().out
    reasons = [each.reason for each in warehouse.publications("monthly", OCTOBER)]
    assert reasons == [None, None, "prices", None, "cut"]
    replaced = change_to(warehouse, warehouse.find_run("small")).replaced
    assert replaced is not None
    assert replaced.run_id == "large"


@on_duckdb
def test_answers_that_cannot_be_delivered_are_told_beside_what_stands(
    warehouse: RunCatalog,
    make: Callable[..., RunRow],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make("q1", job="requests", status=RunStatus.HELD)

    def fail(*_: Any) -> None:
        raise RunError("/responses: cannot be written")

    monkeypatch.setattr(approve_command, "deliver_left", fail)
    assert _decide(warehouse, "approve", "q1") == 1
    said = capsys.readouterr()
    assert "each run of the queue stands beside the others" in said.out
    assert said.err == (
        "beam-jobs: error: run q1 is PUBLISHED; what failed after it: /responses: cannot be"
        " written; the next `beam-jobs requests` delivers the answers\n"
    )


@on_duckdb
def test_a_decision_that_waits_says_for_whom_and_has_an_end(
    warehouse: RunCatalog,
    make: Callable[..., RunRow],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = make("a", status=RunStatus.HELD)
    times = itertools.count(0, 300)
    patience = locks.Patience(600.0, 0.0, lambda: float(next(times)), lambda _: None)
    monkeypatch.setattr(locks, "patience", patience)
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with RunFolder(run.run_folder).lock():
            taken.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    try:
        assert _decide(warehouse, "approve", "a") == 1
    finally:
        done.set()
        holder.join()
    told, error = capsys.readouterr().err.splitlines()
    assert f"{run.run_folder}: process " in told
    assert " works here since " in told
    assert f"{run.run_folder}: busy: process " in error
    assert warehouse.find_run("a").status is RunStatus.HELD
