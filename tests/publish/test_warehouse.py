"""Opening the embedded warehouse: what can be wrong with it, and waiting one's turn."""

import os
import re
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import crash_kit
import duckdb
import pytest
from publish_kit import OCTOBER, expected_rows, month_state, write_run

from beam_jobs.errors import UsageError
from beam_jobs.publish import duckdb_engine
from beam_jobs.publish.publishing import publish_run
from beam_jobs.publish.warehouse import open_warehouse

KIT = str(Path(__file__).parent)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ads.duckdb"


@pytest.fixture
def published(path, tmp_path):
    warehouse = open_warehouse(f"duckdb:{path}")
    publish_run(warehouse, *write_run(str(tmp_path / "runs"), "r1"))
    return warehouse


def test_a_warehouse_that_does_not_exist_is_empty_and_is_not_made(path):
    warehouse = open_warehouse(f"duckdb:{path}")
    warehouse.check()
    assert warehouse.runs() == []
    assert warehouse.latest_published("monthly", OCTOBER) is None
    assert warehouse.anomalies() == (None, [])
    with pytest.raises(UsageError, match="does not exist yet; `beam-jobs monthly` makes it"):
        warehouse.query("SELECT 1")
    assert not path.exists()


def test_a_database_with_other_tables_is_an_empty_warehouse(path):
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE mine (x INTEGER)")
    warehouse = open_warehouse(f"duckdb:{path}")
    warehouse.check()
    assert warehouse.runs() == []


@pytest.mark.parametrize(
    "url", ["ads.duckdb", "duckdb:", "postgres:x", "", "bigquery", "bigquery:"]
)
def test_an_unknown_url_says_which_are_known(url):
    with pytest.raises(UsageError, match=re.escape(f"--warehouse {url}: not a known kind")):
        open_warehouse(url)


def _garbage(path):
    path.write_bytes(b"not a database" * 1000)


def _truncated(path):
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE t AS SELECT * FROM range(100000)")
    os.truncate(path, 5000)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_garbage, "cannot be opened as a DuckDB database"),
        (_truncated, "cannot be opened as a DuckDB database"),
        (Path.touch, "cannot be opened as a DuckDB database"),
        (Path.mkdir, "is a folder; name a file in it"),
    ],
)
def test_what_is_no_database_is_refused_in_one_line(path, spoil, message):
    spoil(path)
    warehouse = open_warehouse(f"duckdb:{path}")
    for look in (warehouse.check, warehouse.runs, lambda: warehouse.query("SELECT 1")):
        with pytest.raises(UsageError, match=f"--warehouse duckdb:{path}: {message}") as caught:
            look()
        assert "\n" not in str(caught.value)


def test_a_place_that_cannot_be_written_is_found_before_work(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match=r"/file cannot be written \(Not a directory\)"):
        open_warehouse(f"duckdb:{tmp_path}/file/w/ads.duckdb").check()
    with pytest.raises(UsageError, match="/proc cannot be written"):
        open_warehouse("duckdb:/proc/nowhere/ads.duckdb").check()


def test_a_read_only_file_is_found_before_work_and_can_be_read(published, path, monkeypatch):
    # Tests may run as root, to whom no file is read-only: the answer of the system is replaced.
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda place, mode: place != str(path) and access(place, mode)
    )
    with pytest.raises(UsageError, match="the file is read-only"):
        published.check()
    assert len(published.runs()) == 1


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", "Parser Error"),
        ("SELECT * FROM nope", "Table with name nope does not exist"),
        ("DELETE FROM scores", "read-only"),
        ("SELECT score / 'a' FROM scores", "Could not convert"),
    ],
)
def test_a_mistake_in_a_query_is_the_users(published, sql, message):
    before = month_state(published)
    with pytest.raises(UsageError, match=message):
        published.query(sql)
    assert month_state(published) == before


def test_a_query_gives_names_and_values(published):
    result = published.query("SELECT key, score > 0 AS good FROM scores ORDER BY key LIMIT 1")
    assert result.columns == ("key", "good")
    assert result.records() == [{"key": "a.csv-10", "good": True}]


class _Holder:
    """Another process that keeps the file open for writing."""

    def __init__(self, path: Path) -> None:
        code = (
            "import duckdb, sys\n"
            "connection = duckdb.connect(sys.argv[1])\n"
            "print('open', flush=True)\n"
            "sys.stdin.read()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"open\n"

    def release(self) -> None:
        self.process.communicate()


def test_a_locked_file_is_refused_after_a_while_and_names_the_holder(
    published, path, tmp_path, monkeypatch
):
    holder = _Holder(path)
    monkeypatch.setattr(duckdb_engine, "patience", duckdb_engine.Patience(read=0.2, write=0.2))
    try:
        message = rf"locked by process {holder.process.pid} \(.*python.*\), for 0.2 s already"
        for look in (published.check, published.runs):
            with pytest.raises(UsageError, match=message):
                look()
        with pytest.raises(UsageError, match=message):
            publish_run(published, *write_run(str(tmp_path / "runs"), "r2"))
    finally:
        holder.release()
    assert [run.run_id for run in published.runs()] == ["r1"]


def test_readers_and_writers_wait_for_a_lock_that_goes_away(published, path, tmp_path):
    holder = _Holder(path)
    timer = threading.Timer(0.5, holder.release)
    timer.start()
    assert [run.run_id for run in published.runs()] == ["r1"]
    timer.join()
    holder = _Holder(path)
    timer = threading.Timer(0.5, holder.release)
    timer.start()
    publish_run(published, *write_run(str(tmp_path / "runs"), "r2", order=1))
    timer.join()
    assert published.runs()[0].run_id == "r2"


def test_a_reader_in_another_process_sees_only_whole_months(url, tmp_path):
    runs = str(tmp_path / "runs")
    allowed = {
        frozenset(expected_rows(write_run(runs, name, rows=20 + order, order=order)[0]))
        for order, name in enumerate(("a", "b"))
    }
    process = crash_kit.process_of(crash_kit.publish_often, url, runs, ["a", "b"], 2)
    warehouse = open_warehouse(url)
    seen, lines, is_over = set(), set(), False
    while not is_over:
        is_over = not process.is_alive()  # one look more, at what it left
        if not warehouse.runs():
            continue
        state = month_state(warehouse)
        tables = {row for row in state if row[0] in ("scores", "quarantine", "anomalies")}
        tables |= {row for row in state if row[0] in ("feature_statistics", "inputs")}
        current = {run for status, run, _ in state if status == "PUBLISHED"}
        seen.add(frozenset(tables))
        lines.add((frozenset(run for _, run, _ in tables), frozenset(current)))
    assert process.exitcode == 0
    assert seen <= allowed
    assert lines <= {(frozenset("a"), frozenset("a")), (frozenset("b"), frozenset("b"))}
    assert seen


def test_two_publishers_at_once_take_turns(url, tmp_path):
    processes = [
        crash_kit.process_of(crash_kit.publish_often, url, str(tmp_path / name), [name], 3)
        for name in ("a", "b")
    ]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    warehouse = open_warehouse(url)
    statuses = {run.run_id: run for run in warehouse.runs()}
    assert sorted(run.status.value for run in statuses.values()) == ["PUBLISHED", "SUPERSEDED"]
    current = warehouse.latest_published("monthly", OCTOBER)
    assert current is not None
    assert month_state(warehouse) >= expected_rows(current)


def test_threads_of_one_process_take_turns(published, tmp_path):
    failures = []

    def publish(name):
        try:
            publish_run(published, *write_run(str(tmp_path / "runs"), name))
        except Exception as error:  # noqa: BLE001 (whatever it is fails the test)
            failures.append(error)

    threads = [threading.Thread(target=publish, args=(name,)) for name in ("x", "y")]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert published.runs()
        time.sleep(0.01)
    assert failures == []


_FULL = """
import resource, signal, sys
sys.path.insert(0, {kit!r})
from publish_kit import write_run
from beam_jobs.errors import RunError
from beam_jobs.publish.publishing import publish_run
from beam_jobs.publish.warehouse import open_warehouse
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
written = write_run({runs!r}, "r2", rows=30_000, order=1)
limit = {limit}
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    publish_run(open_warehouse({url!r}), *written)
except RunError as error:
    print(error)
"""


@pytest.mark.parametrize("spare", [0, 20_000, 700_000])
def test_a_full_disk_while_publishing_leaves_the_month(published, path, tmp_path, spare):
    before = month_state(published)
    script = _FULL.format(
        kit=KIT,
        runs=str(tmp_path / "runs"),
        url=published.url,
        limit=path.stat().st_size + spare,
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "publishing failed" in done.stdout
    assert done.stdout.count("\n") == 1
    assert month_state(published) == before
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    run, parts, tables = write_run(str(tmp_path / "runs"), "r2", rows=300, order=1)
    assert publish_run(published, run, parts, tables).rows_scored == run.rows_scored
    assert month_state(published) >= expected_rows(run)
