"""Killed at any step, publishing leaves the old month or the new one, and can be repeated."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import open_catalog
from beam_jobs.runs.run_row import RunStatus
from support import crashes
from support.publishing import month_state, write_run

RUNS = ("older", "old", "held")


def _fill(url: str, runs: Any) -> None:
    """A month with an older, a published and a held run."""
    warehouse = open_catalog(url)
    for order, name in enumerate(RUNS):
        status = RunStatus.HELD if name == "held" else RunStatus.PUBLISHED
        publish_run(warehouse, *write_run(runs, name, order=order, status=status))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Folder of a DuckDB file, and of the runs, as `_fill` makes them."""
    folder = tmp_path_factory.mktemp("before")
    _fill(f"duckdb:{folder}/ads.duckdb", str(folder / "runs"))
    return folder


@pytest.fixture(scope="module")
def datasets() -> Any:
    """{PROJECT.DATASET: folder of the runs}, as `_fill` makes them; the first test does."""
    return {}


@pytest.fixture(params=["duckdb", "bigquery"])
def before(
    request: Any, tmp_path: Path, datasets: Any, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """Gives a filled warehouse of its own with each call: (URL, folder of the runs)."""
    if request.param == "duckdb":
        filled = request.getfixturevalue("filled")

        def copy() -> Any:
            shutil.copy(filled / "ads.duckdb", tmp_path / "ads.duckdb")
            return f"duckdb:{tmp_path}/ads.duckdb", str(filled / "runs")

        return copy
    server = request.getfixturevalue("bigquery")
    if not datasets:
        original, runs = server.new_dataset(), str(tmp_path_factory.mktemp("runs"))
        _fill(f"bigquery:{original}", runs)
        datasets[original] = runs
    ((original, runs),) = datasets.items()
    return lambda: (f"bigquery:{server.copy_dataset(original)}", runs)


@pytest.fixture
def empty(request: Any, url: str, tmp_path: Path) -> Any:
    """Gives a warehouse without tables with each call."""

    def remove() -> Any:
        if url.startswith("bigquery:"):
            return f"bigquery:{request.getfixturevalue('bigquery').new_dataset()}", runs
        (tmp_path / "w/ads.duckdb").unlink(missing_ok=True)
        return url, runs

    runs = str(tmp_path / "new-runs")
    return remove


def _kill_everywhere(action: Any, fresh: Any, step: int) -> Any:
    """Kills the action after every `step`-th step; True in the list where it had happened."""
    url, runs = fresh()
    old = month_state(open_catalog(url))
    crashes.act(action, url, runs)
    after = month_state(open_catalog(url))
    happened: list[Any] = []
    for number in range(0, 1000, step):
        url, runs = fresh()
        warehouse = open_catalog(url)
        code = crashes.run_alone(crashes.dies_after_step, number, action, url, runs)
        state = month_state(warehouse)
        assert state in (old, after)
        if code == 0:
            assert state == after
            return happened
        assert code == -9
        happened.append(state == after)
        crashes.act(action, url, runs)
        assert month_state(warehouse) == after
    raise AssertionError("the action does not end")


@pytest.mark.parametrize(
    ("before", "action", "step"),
    [
        ("duckdb", crashes.publish, 1),
        ("duckdb", crashes.hold, 9),
        ("duckdb", crashes.approve, 9),
        ("duckdb", crashes.reject, 5),
        ("duckdb", crashes.rollback, 9),
        ("bigquery", crashes.publish, 5),
        ("bigquery", crashes.hold, 21),
        ("bigquery", crashes.approve, 21),
        ("bigquery", crashes.reject, 11),
        ("bigquery", crashes.rollback, 21),
    ],
    indirect=["before"],
)
def test_killed_after_any_step_the_month_is_whole(before: Any, action: Any, step: int) -> None:
    happened = _kill_everywhere(action, before, step)
    assert len(happened) * step > 25
    # Only the transaction, at the very end, makes it happen.
    assert happened == sorted(happened)
    assert not any(happened[: -(2 if step > 1 else 1)])
    assert happened[-1] or step > 1


@pytest.mark.parametrize(("url", "step"), [("duckdb", 9), ("bigquery", 15)], indirect=["url"])
def test_killed_while_the_warehouse_is_made_there_is_none_or_a_whole_one(
    empty: Any, step: int
) -> None:
    happened = _kill_everywhere(crashes.publish, empty, step)
    assert happened == sorted(happened)
    assert not any(happened[:-1])


DELAYS = {"duckdb": (0.0, 0.02, 0.05, 0.08, 0.11, 0.14, 0.17, 0.2, 0.25, 0.3),
          "bigquery": (0.2, 0.4, 0.6)}  # fmt: skip


@pytest.mark.parametrize(
    ("before", "delay"), [(kind, s) for kind, d in DELAYS.items() for s in d], indirect=["before"]
)
def test_killed_at_any_time_the_month_is_whole(before: Any, tmp_path: Path, delay: Any) -> None:
    url, _ = before()
    runs = str(tmp_path / "new-runs")
    warehouse = open_catalog(url)
    old = month_state(warehouse)
    process = crashes.process_of(crashes.act, crashes.publish, url, runs)
    time.sleep(delay)
    process.kill()
    process.join()
    state = month_state(warehouse)
    crashes.act(crashes.publish, url, runs)
    after = month_state(warehouse)
    assert state in (old, after)
    assert ("PUBLISHED", "new", 1) in after
    assert not list((tmp_path / "new-runs").rglob("*.tmp"))
