"""Killed at any step, publishing leaves the old month or the new one, and can be repeated."""

import shutil
import time

import crash_kit
import pytest
from publish_kit import month_state, write_run

from beam_jobs.publish.publishing import publish_run
from beam_jobs.publish.runs import RunStatus
from beam_jobs.publish.warehouse import open_warehouse


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """A month with an older, a published and a held run; each test works on a copy."""
    folder = tmp_path_factory.mktemp("before")
    warehouse = open_warehouse(f"duckdb:{folder}/ads.duckdb")
    runs = str(folder / "runs")
    publish_run(warehouse, *write_run(runs, "older", order=0))
    publish_run(warehouse, *write_run(runs, "old", order=1))
    publish_run(warehouse, *write_run(runs, "held", order=1, status=RunStatus.HELD))
    return folder


def _copy(before, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(before / "ads.duckdb", path)


def _kill_everywhere(action, path, runs, reset, step):
    """Kills the action after every `step`-th statement; True in the list where it had happened."""
    reset()
    crash_kit.act(action, str(path), runs)
    after = month_state(open_warehouse(f"duckdb:{path}"))
    happened = []
    for number in range(0, 1000, step):
        reset()
        warehouse = open_warehouse(f"duckdb:{path}")
        old = month_state(warehouse)
        code = crash_kit.run_alone(crash_kit.dies_after_statement, number, action, str(path), runs)
        state = month_state(warehouse)
        assert state in (old, after)
        if code == 0:
            assert state == after
            return happened
        assert code == -9
        happened.append(state == after)
        crash_kit.act(action, str(path), runs)
        assert month_state(warehouse) == after
    raise AssertionError("the action does not end")


@pytest.mark.parametrize(
    ("action", "step"),
    [
        (crash_kit.publish, 1),
        (crash_kit.hold, 9),
        (crash_kit.approve, 9),
        (crash_kit.rollback, 9),
    ],
)
def test_killed_after_any_statement_the_month_is_whole(before, tmp_path, action, step):
    path = tmp_path / "ads.duckdb"
    happened = _kill_everywhere(
        action, path, str(before / "runs"), lambda: _copy(before, path), step
    )
    assert len(happened) * step > 25
    # Only the COMMIT, the last statement, makes it happen.
    assert not any(happened[:-1])
    assert happened[-1] or step > 1


def test_killed_while_the_warehouse_is_made_there_is_none_or_a_whole_one(tmp_path):
    path = tmp_path / "ads.duckdb"
    happened = _kill_everywhere(
        crash_kit.publish, path, str(tmp_path / "runs"), lambda: path.unlink(missing_ok=True), 9
    )
    assert not any(happened[:-1])


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.08, 0.11, 0.14, 0.17, 0.2, 0.25, 0.3])
def test_killed_at_any_time_the_month_is_whole(before, tmp_path, delay):
    path = tmp_path / "ads.duckdb"
    _copy(before, path)
    warehouse = open_warehouse(f"duckdb:{path}")
    old = month_state(warehouse)
    process = crash_kit.CONTEXT.Process(
        target=crash_kit.act, args=(crash_kit.publish, str(path), str(tmp_path / "runs"))
    )
    process.start()
    time.sleep(delay)
    process.kill()
    process.join()
    state = month_state(warehouse)
    crash_kit.act(crash_kit.publish, str(path), str(tmp_path / "runs"))
    after = month_state(warehouse)
    assert state in (old, after)
    assert ("PUBLISHED", "new", 1) in after
    assert not list((tmp_path / "runs").rglob("*.tmp"))
