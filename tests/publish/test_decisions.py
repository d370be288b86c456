"""Approve, reject, roll back: who, when and why is kept, and the way back follows that history."""

import dataclasses
import datetime
import itertools
import json
import threading
import types

import pytest

from beam_jobs import cli
from beam_jobs.commands import approve as approve_command
from beam_jobs.errors import RunError, UsageError
from beam_jobs.publish import publishing
from beam_jobs.publish.decisions import (
    Change,
    approve,
    change_to,
    publish_again,
    reject,
    rollback,
)
from beam_jobs.publish.part_writer import SourceCounts
from beam_jobs.publish.publishing import fail_run, publish_run
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import RunStatus
from beam_jobs.runs.summary import ScoreFigures, write_summary
from beam_jobs.storage import locks
from beam_jobs.storage.holder import user_name
from support.publishing import (
    OCTOBER,
    ask,
    expected_rows,
    month_state,
    on_duckdb,
    run_row,
    write_run,
)
from support.summaries import summary

HELD, PUBLISHED = RunStatus.HELD, RunStatus.PUBLISHED


@pytest.fixture
def make(tmp_path, warehouse):
    """Writes and publishes a run; later ones start later."""
    count = iter(range(100))

    def publish(name, **options):
        order = options.pop("order", next(count))
        written = write_run(str(tmp_path / "runs"), name, order=order, **options)
        return publish_run(warehouse, *written)

    return publish


def _back(warehouse, to=None):
    return rollback(warehouse, "monthly", OCTOBER, to).run_id


def _history(warehouse):
    return [
        (each.run_id, each.action.value, each.replaced_run_id)
        for each in warehouse.publications("monthly", OCTOBER)
    ]


def test_the_way_back_is_the_order_of_publications(warehouse, make):
    """A published, C held, B published, C approved: before C there was B."""
    make("a")
    make("c", status=HELD)
    make("b")
    approve(warehouse, "c")
    assert _back(warehouse) == "b"
    assert _back(warehouse) == "a"
    with pytest.raises(UsageError, match="no run was published before a; runs that --to can name"):
        _back(warehouse)
    assert _back(warehouse, "c") == "c"
    assert _back(warehouse) == "b"
    make("d")
    assert _back(warehouse) == "b"


@on_duckdb
def test_the_same_run_asked_for_again_is_published_again(warehouse, make):
    """Champion 1, then 2, then 1 again, whose run's lock the job holds."""
    first, second = make("one"), make("two")
    existing = warehouse.find_run("one")
    assert existing.status is RunStatus.SUPERSEDED
    with RunFolder(first.run_folder).lock():
        assert publish_again(warehouse, existing).status is PUBLISHED
    assert month_state(warehouse) >= expected_rows(first)
    assert _history(warehouse) == [
        ("one", "PUBLISHED", None),
        ("two", "PUBLISHED", "one"),
        ("one", "PUBLISHED", "two"),
    ]
    assert _back(warehouse) == second.run_id
    assert _back(warehouse) == "one"
    with pytest.raises(UsageError, match="no run was published before one"):
        _back(warehouse)


def test_who_when_and_why_is_kept(warehouse, make):
    begun = datetime.datetime.now(datetime.UTC)
    make("a")
    make("b", status=HELD)
    make("c", status=HELD)
    approve(warehouse, "b", "the new site is expected")
    reject(warehouse, "c", "a file is cut")
    rollback(warehouse, "monthly", OCTOBER, reason="wrong prices")
    history = warehouse.publications("monthly", OCTOBER)
    assert [
        (each.run_id, each.action.value, each.reason, each.replaced_run_id) for each in history
    ] == [
        ("a", "PUBLISHED", None, None),
        ("b", "APPROVED", "the new site is expected", "a"),
        ("c", "REJECTED", "a file is cut", None),
        ("a", "ROLLED_BACK", "wrong prices", "b"),
    ]
    times = [each.at for each in history]
    assert begun <= times[0] < times[1] < times[2] < times[3]
    (who,) = {each.by for each in history}
    if warehouse.url.startswith("duckdb:"):
        assert who == user_name()
    else:
        assert who == ask(warehouse, "SELECT SESSION_USER() AS who").rows[0][0]
    assert {(each.job, each.period) for each in history} == {("monthly", OCTOBER)}


@on_duckdb
def test_publishing_the_published_run_again_is_no_decision(warehouse, make):
    for _ in range(2):
        make("a", order=0)
    make("a", order=0, status=HELD)
    approve(warehouse, "a")
    assert _history(warehouse) == [("a", "PUBLISHED", None)]


def test_the_order_holds_where_clocks_do_not(warehouse, make, monkeypatch):
    """The second machine's clock is a year behind."""
    make("a")
    late = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    clock = types.SimpleNamespace(now=lambda _: late)
    monkeypatch.setattr(
        publishing, "datetime", types.SimpleNamespace(datetime=clock, UTC=datetime.UTC)
    )
    make("b")
    reject(warehouse, make("c", status=HELD).run_id)
    assert [run for run, _, _ in _history(warehouse)] == ["a", "b", "c"]
    assert _back(warehouse) == "a"


def _as_before_the_table(warehouse):
    """What an earlier version left: no history, no errors.

    The emulator still shows a column that was dropped; that added ones appear is tested elsewhere.
    """
    with warehouse.engine.writing() as session:
        session.run("DROP TABLE publications", {})
        if warehouse.url.startswith("duckdb:"):
            session.run("ALTER TABLE runs DROP COLUMN error", {})


def test_a_warehouse_of_an_earlier_version_has_a_way_back(warehouse, make):
    make("a")
    make("c", status=HELD)
    make("b")
    approve(warehouse, "c")
    _as_before_the_table(warehouse)
    assert {run.error for run in warehouse.runs()} == {None}
    assert warehouse.publications("monthly", OCTOBER) == []
    assert _back(warehouse) == "b"
    assert _history(warehouse) == [
        ("a", "PUBLISHED", None),
        ("b", "PUBLISHED", "a"),
        ("c", "PUBLISHED", "b"),
        ("b", "ROLLED_BACK", "c"),
    ]
    assert _back(warehouse) == "a"


def test_publishing_into_a_warehouse_of_an_earlier_version_keeps_its_history(warehouse, make):
    make("a")
    make("b")
    _as_before_the_table(warehouse)
    failed = make("x", status=HELD)
    reject(warehouse, failed.run_id)
    make("c")
    assert _history(warehouse) == [
        ("a", "PUBLISHED", None),
        ("b", "PUBLISHED", "a"),
        ("x", "REJECTED", None),
        ("c", "PUBLISHED", "b"),
    ]
    assert [_back(warehouse), _back(warehouse)] == ["b", "a"]
    fail_run(warehouse, dataclasses.replace(failed, run_id="y", error="a.csv: cut off"))
    history = "SELECT run_id, status, error FROM run_history WHERE run_id IN ('x', 'y')"
    assert set(ask(warehouse, history).rows) == {
        ("x", "REJECTED", None),
        ("y", "FAILED", "a.csv: cut off"),
    }


def test_a_rejected_run_leaves_the_month_and_can_be_computed_again(warehouse, make):
    make("a")
    before = month_state(warehouse)
    make("b", status=HELD)
    assert reject(warehouse, "b").status is RunStatus.REJECTED
    assert month_state(warehouse) - before == {
        ("runs", "b", 1),
        ("REJECTED", "b", 1),
        ("REJECTED for none", "b", 1),
    }
    state = month_state(warehouse)
    assert reject(warehouse, "b").status is RunStatus.REJECTED
    assert month_state(warehouse) == state
    with pytest.raises(UsageError, match="b: was rejected; the same command computes it again"):
        approve(warehouse, "b")
    with pytest.raises(UsageError, match="--to b: is REJECTED and was never published"):
        _back(warehouse, "b")
    with pytest.raises(UsageError, match="a: is PUBLISHED; only a held run is rejected"):
        reject(warehouse, "a")
    assert month_state(warehouse) == state
    assert make("b", status=HELD).status is HELD
    assert approve(warehouse, "b").status is PUBLISHED


def test_a_rejected_run_of_the_queue_frees_its_files(warehouse, make):
    make("q1", job="requests", status=HELD)
    reject(warehouse, "q1")
    assert make("q2", job="requests").status is PUBLISHED
    (first, second) = warehouse.publications("requests", OCTOBER)
    assert (first.run_id, first.action.value) == ("q1", "REJECTED")
    assert (second.run_id, second.replaced_run_id) == ("q2", None)


# --- what a decision would change


def _run(run_id, read=100, scored=90, order=1):
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
def test_what_a_person_must_confirm(run, replaced, doubts):
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


def _decide(warehouse, *argv):
    return cli.main([*argv, "--warehouse", warehouse.url])


def _with_mean(run, mean):
    write_summary(RunFolder(run.run_folder), summary(score=ScoreFigures(mean, 0.0, 1.0)))


@on_duckdb
def test_approve_shows_what_it_changes_and_asks(warehouse, make, capsys):
    small = make("small", rows=10, status=HELD)
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
def test_rollback_asks_where_rows_fall_and_reject_takes_a_reason(warehouse, make, capsys):
    make("small", rows=10)
    make("large", rows=100)
    back = ("rollback", "--month=2026-10")
    assert _decide(warehouse, *back) == 2
    assert "rows read fall from 400 to 40; rows scored fall" in capsys.readouterr().err
    assert _decide(warehouse, *back, "--yes", "--reason=prices") == 0
    assert _decide(warehouse, *back, "--to=large") == 0
    make("held", status=HELD)
    assert _decide(warehouse, "reject", "held", "--reason=cut") == 0
    assert "held (monthly 2026-10) is REJECTED" in capsys.readouterr().out
    reasons = [each.reason for each in warehouse.publications("monthly", OCTOBER)]
    assert reasons == [None, None, "prices", None, "cut"]
    assert change_to(warehouse, warehouse.find_run("small")).replaced.run_id == "large"


@on_duckdb
def test_answers_that_cannot_be_delivered_are_told_beside_what_stands(
    warehouse, make, monkeypatch, capsys
):
    make("q1", job="requests", status=HELD)

    def fail(*_):
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
def test_a_decision_that_waits_says_for_whom_and_has_an_end(warehouse, make, monkeypatch, capsys):
    run = make("a", status=HELD)
    times = itertools.count(0, 300)
    patience = locks.Patience(600.0, 0.0, lambda: float(next(times)), lambda _: None)
    monkeypatch.setattr(locks, "patience", patience)
    taken, done = threading.Event(), threading.Event()

    def hold():
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
    assert warehouse.find_run("a").status is HELD
