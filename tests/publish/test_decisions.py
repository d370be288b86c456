"""Approve, reject, roll back: who, when and why is kept, and the way back follows that history."""

import dataclasses
import datetime
import types
from collections.abc import Callable
from typing import Any

import pytest

from beam_jobs.errors import UsageError
from beam_jobs.publish import publishing
from beam_jobs.publish.decisions import (
    approve,
    publish_again,
    reject,
    rollback,
)
from beam_jobs.publish.publishing import fail_run
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import RunRow, RunStatus
from beam_jobs.storage.holder import user_name
from support.publishing import (
    OCTOBER,
    ask,
    expected_rows,
    month_state,
    on_duckdb,
)

HELD, PUBLISHED = RunStatus.HELD, RunStatus.PUBLISHED


def _back(warehouse: RunCatalog, to: Any = None) -> Any:
    return rollback(warehouse, "monthly", OCTOBER, to).run_id


def _history(warehouse: RunCatalog) -> Any:
    return [
        (each.run_id, each.action.value, each.replaced_run_id)
        for each in warehouse.publications("monthly", OCTOBER)
    ]


def test_the_way_back_is_the_order_of_publications(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
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
def test_the_same_run_asked_for_again_is_published_again(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
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


def test_who_when_and_why_is_kept(warehouse: RunCatalog, make: Callable[..., RunRow]) -> None:
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
def test_publishing_the_published_run_again_is_no_decision(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
    for _ in range(2):
        make("a", order=0)
    make("a", order=0, status=HELD)
    approve(warehouse, "a")
    assert _history(warehouse) == [("a", "PUBLISHED", None)]


def test_the_order_holds_where_clocks_do_not(
    warehouse: RunCatalog, make: Callable[..., RunRow], monkeypatch: pytest.MonkeyPatch
) -> None:
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


def _as_before_the_table(warehouse: RunCatalog) -> None:
    """What an earlier version left: no history, no errors.

    The emulator still shows a column that was dropped; that added ones appear is tested elsewhere.
    """
    with warehouse.engine.writing() as session:
        session.run("DROP TABLE publications", {})
        if warehouse.url.startswith("duckdb:"):
            session.run("ALTER TABLE runs DROP COLUMN error", {})


def test_a_warehouse_of_an_earlier_version_has_a_way_back(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
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


def test_publishing_into_a_warehouse_of_an_earlier_version_keeps_its_history(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
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


def test_a_rejected_run_leaves_the_month_and_can_be_computed_again(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
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


def test_a_rejected_run_of_the_queue_frees_its_files(
    warehouse: RunCatalog, make: Callable[..., RunRow]
) -> None:
    make("q1", job="requests", status=HELD)
    reject(warehouse, "q1")
    assert make("q2", job="requests").status is PUBLISHED
    (first, second) = warehouse.publications("requests", OCTOBER)
    assert (first.run_id, first.action.value) == ("q1", "REJECTED")
    assert (second.run_id, second.replaced_run_id) == ("q2", None)


# --- what a decision would change
