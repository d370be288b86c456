"""Killed, crowded, on a full disk or with many workers: a month is whole, or as it was before."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from beam_jobs.runs.catalog import open_catalog
from support.commands import ROWS, Run, monthly_flags
from support.fault_server import Ended, FaultServer

pytestmark = pytest.mark.integration
Flags = Callable[..., list[str]]

POLICY = """\
[thresholds]
quarantined_share = 1
quarantined_share_hold = 1
prediction = {prediction}
[severities]
SCHEMA = "WARN"
SKEW = "WARN"
PREDICTION = "WARN"
QUALITY = "WARN"
"""
OLD, NEW = "old.toml", "new.toml"
MONTH = "2026-10"  # the one with rows for quarantine


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    running = FaultServer(tmp_path_factory.mktemp("processes"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def before(demo: Path, server: FaultServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose warehouse holds the month already, by another policy: another run."""
    folder = tmp_path_factory.mktemp("before")
    (folder / OLD).write_text(POLICY.format(prediction=0.5))
    (folder / NEW).write_text(POLICY.format(prediction=0.6))
    given = monthly_flags(demo, folder, f"--policy={folder}/{OLD}", month=MONTH)
    done = server.run("monthly", *given)
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def flags(demo: Path, before: Path, tmp_path: Path) -> Flags:
    """Flags of a run in the test's own copy of `before`'s warehouse."""
    shutil.copy(before / "ads.duckdb", tmp_path)

    def of(policy: str, *argv: str) -> list[str]:
        given = monthly_flags(
            demo, tmp_path, f"--policy={before}/{policy}", "--json", *argv, month=MONTH
        )
        return ["monthly", *given]

    return of


def current(folder: Path) -> list[tuple[str, int, int]]:
    """(run, rows, places that the rows stem from) of all that analysts see of the month."""
    found = open_catalog(f"duckdb:{folder}/ads.duckdb").query(
        "SELECT run_id, count(*), count(DISTINCT (source_file, source_row)) FROM current_scores"
        " GROUP BY run_id"
    )
    return [tuple(row) for row in found.rows]


def whole(result: dict[str, Any]) -> list[tuple[str, int, int]]:
    """What `current` finds where this run's month stands."""
    return [(result["run_id"], result["rows"]["scored"], result["rows"]["scored"])]


def assert_each_row_once(folder: Path, result: dict[str, Any]) -> None:
    with duckdb.connect(f"{folder}/ads.duckdb", read_only=True) as connection:
        rows = connection.execute(
            "SELECT run_id, source_file, source_row FROM scores"
            " UNION ALL SELECT run_id, source_file, source_row FROM quarantine"
        ).fetchall()
        runs = connection.execute("SELECT run_id FROM runs WHERE status = 'PUBLISHED'").fetchall()
    assert len(rows) == len(set(rows)) == ROWS
    assert {row[0] for row in rows} == {result["run_id"]}
    assert runs == [(result["run_id"],)]
    left = [path.name for path in Path(result["run_folder"]).rglob("*")]
    assert not [name for name in left if name.endswith(".tmp") or name == "keys"]


def test_killed_at_any_step_the_month_is_whole_and_the_command_finishes_it(
    server: FaultServer, flags: Flags, before: Path, tmp_path: Path
) -> None:
    def reset() -> None:
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        (tmp_path / "ads.duckdb.wal").unlink(missing_ok=True)
        shutil.copy(before / "ads.duckdb", tmp_path)

    old = current(tmp_path)
    process = server.start(*flags(NEW))
    new = whole(server.wait(process).json)
    steps = server.steps(process)
    published = len(steps) - 1 - steps[::-1].index("sql COMMIT")
    moments = random.Random(7)
    for step in (
        moments.randrange(1, 13),  # while files of keys and rows appear
        moments.randrange(13, published - 20),  # the run's tables, staging and audit
        moments.randrange(published - 14, published),  # within the transaction
        published,  # the month is there, and nothing else of what follows
    ):
        reset()
        killed = server.run(*flags(NEW), die_after=step)
        assert killed.code == -9, steps[step]
        found = current(tmp_path)
        done = server.run(*flags(NEW))
        assert (done.code, done.json["status"]) == (0, "PUBLISHED"), done.err
        assert current(tmp_path) == whole(done.json) == new != old
        assert found == (new if step >= published else old), steps[step]
        assert_each_row_once(tmp_path, done.json)


def test_the_same_month_twice_at_once_is_computed_once(
    server: FaultServer, flags: Flags, tmp_path: Path
) -> None:
    processes = [server.start(*flags(NEW)) for _ in range(2)]
    results = [server.wait(process) for process in processes]
    assert [done.code for done in results] == [0, 0], results
    assert sorted(done.json["status"] for done in results) == ["PUBLISHED", "UNCHANGED"]
    assert results[0].json["rows"] == results[1].json["rows"]
    assert current(tmp_path) == whole(results[0].json)
    assert_each_row_once(tmp_path, results[0].json)


def test_a_reader_sees_whole_months_while_two_runs_publish_them(
    server: FaultServer, flags: Flags, tmp_path: Path
) -> None:
    """Two different runs of one month, at once and again, beside a reader that never stops."""
    seen = [current(tmp_path)]
    results: list[Ended] = []
    while len(seen) <= 10:  # a reader that had no time to look sees nothing
        processes = [server.start(*flags(policy, "--force")) for policy in (OLD, NEW)]
        while any(server.is_running(process) for process in processes):
            seen.append(current(tmp_path))
        results = [server.wait(process) for process in processes]
        assert [(done.code, done.json["status"]) for done in results] == [(0, "PUBLISHED")] * 2
        seen.append(current(tmp_path))
    months = [whole(done.json) for done in results]
    assert months[0] != months[1]
    assert [found for found in seen if found not in months] == []
    last = next(done.json for done in results if whole(done.json) == seen[-1])
    assert_each_row_once(tmp_path, last)


def test_a_full_disk_is_one_clear_line_and_publishes_nothing(
    server: FaultServer, flags: Flags, tmp_path: Path
) -> None:
    """Files that cannot grow stand for the disk: the same error as far as the program can see."""
    old = current(tmp_path)
    for file_bytes, place, promise in (
        (2_000, "plan.json", "nothing was published"),
        (20_000, "scores/part-", "nothing was published"),
        (200_000, "ads.duckdb", "nothing was published"),
    ):
        full = server.run(*flags(NEW), file_bytes=file_bytes)
        assert (full.code, full.json["status"]) == (1, "FAILED")
        assert "Traceback" not in full.err
        error = full.err.splitlines()[-1]
        assert error.startswith("beam-jobs: error: ")
        assert place in error
        assert promise in error
        assert current(tmp_path) == old
    done = server.run(*flags(NEW))
    assert (done.code, done.json["status"]) == (0, "PUBLISHED"), done.err
    assert current(tmp_path) == whole(done.json) != old
    assert_each_row_once(tmp_path, done.json)


def rows_of(folder: str, table: str) -> pd.DataFrame:
    rows = pq.read_table(f"{folder}/{table}").to_pandas()
    return rows.sort_values(["source_file", "source_row"], ignore_index=True)


@pytest.fixture(scope="module")
def alone(demo: Path) -> Path:
    """The month's run by one thread of one process, as the demo made it."""
    (folder,) = (demo / "runs/monthly" / MONTH).iterdir()
    return folder


@pytest.mark.usefixtures("tmp_path")
@pytest.mark.parametrize(
    "mode",
    [
        ["--direct_runner_bundle_repeat=2"],
        ["--direct_running_mode=in_memory", "--direct_num_workers=2"],
        ["--direct_running_mode=multi_threading", "--direct_num_workers=2"],
    ],
)
def test_however_many_workers_the_result_is_the_same(
    demo: Path, alone: Path, monthly: Run, mode: list[str]
) -> None:
    previous = next((demo / "runs/monthly/2026-09").iterdir()) / "statistics.binpb"
    done = monthly("--json", f"--previous={previous}", *mode, month=MONTH)
    assert done.code == 3, done.err
    folder = done.json["run_folder"]
    for table in ("scores", "quarantine"):
        found, expected = rows_of(folder, table), rows_of(str(alone), table)
        assert len(found) > 0
        pd.testing.assert_frame_equal(
            found.drop(columns="run_id"), expected.drop(columns="run_id"), rtol=1e-6
        )
    anomalies = [
        pq.read_table(f"{where}/anomalies.parquet").to_pandas() for where in (folder, alone)
    ]
    names = ["slice", "feature", "kind", "code", "severity"]
    found, expected = (sorted(map(tuple, table[names].values)) for table in anomalies)
    assert found == expected
