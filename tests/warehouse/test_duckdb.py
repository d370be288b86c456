"""Opening the embedded warehouse: what can be wrong with it, and waiting one's turn."""

import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from beam_jobs.errors import BusyError, UsageError
from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import RunCatalog, open_catalog
from beam_jobs.warehouse import duckdb as duckdb_engine
from beam_jobs.warehouse.duckdb import DuckDbEngine
from support import crashes
from support.publishing import OCTOBER, expected_rows, month_state, write_run

KIT = str(Path(__file__).parents[1])


@pytest.fixture
def path(tmp_path: Path) -> Any:
    return tmp_path / "ads.duckdb"


@pytest.fixture
def published(path: Any, tmp_path: Path) -> Any:
    warehouse = open_catalog(f"duckdb:{path}")
    publish_run(warehouse, *write_run(str(tmp_path / "runs"), "r1"))
    return warehouse


def test_a_warehouse_that_does_not_exist_is_empty_and_is_not_made(path: Any) -> None:
    warehouse = open_catalog(f"duckdb:{path}")
    warehouse.check()
    assert warehouse.runs() == []
    assert warehouse.latest_published("monthly", OCTOBER) is None
    assert warehouse.anomalies() == (None, [])
    with pytest.raises(UsageError, match="does not exist yet; `beam-jobs monthly` makes it"):
        warehouse.query("SELECT 1")
    assert not path.exists()


def test_a_database_with_other_tables_is_an_empty_warehouse(path: Any) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE mine (x INTEGER)")
    warehouse = open_catalog(f"duckdb:{path}")
    warehouse.check()
    assert warehouse.runs() == []


@pytest.mark.parametrize(
    "url", ["ads.duckdb", "duckdb:", "postgres:x", "", "bigquery", "bigquery:"]
)
def test_an_unknown_url_says_which_are_known(url: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"--warehouse {url}: not a known kind")):
        open_catalog(url)


def _garbage(path: Any) -> None:
    path.write_bytes(b"not a database" * 1000)


def _truncated(path: Any) -> None:
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
def test_what_is_no_database_is_refused_in_one_line(path: Any, spoil: Any, message: str) -> None:
    spoil(path)
    warehouse = open_catalog(f"duckdb:{path}")
    for look in (warehouse.check, warehouse.runs, lambda: warehouse.query("SELECT 1")):
        with pytest.raises(UsageError, match=f"--warehouse duckdb:{path}: {message}") as caught:
            look()
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    ("name", "neighbour"),
    [("runs[1]", "runs1"), ("r*ns", "runs"), ("r?ns", "runs"), ("job=a", "b"), ("a\\b'\"", "a")],
)
def test_no_path_of_ours_is_a_pattern(tmp_path: Path, name: str, neighbour: Any) -> None:
    """Parts, tables and the file itself; a folder a=b is no column."""
    run, parts, tables = write_run(str(tmp_path / name), "r1")
    shutil.copytree(tmp_path / name, tmp_path / neighbour)
    warehouse = open_catalog(f"duckdb:{tmp_path}/[a]*%#'.duckdb")
    for _ in range(2):
        published = publish_run(warehouse, run, parts, tables)
        assert published.rows_scored == run.rows_scored
        assert month_state(warehouse) >= expected_rows(run)
    found = warehouse.query("SELECT DISTINCT job, period FROM scores")
    assert found.rows == [("monthly", OCTOBER)]


@pytest.mark.parametrize("character", "?\\")
def test_a_path_that_duckdb_loses_is_refused_before_any_work(
    tmp_path: Path, character: Any
) -> None:
    with pytest.raises(UsageError, match=r"DuckDB cannot keep a file under a path with"):
        open_catalog(f"duckdb:{tmp_path}/a{character}b.duckdb").check()


def test_a_place_that_cannot_be_written_is_found_before_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match=r"/file cannot be written \(Not a directory\)"):
        open_catalog(f"duckdb:{tmp_path}/file/w/ads.duckdb").check()
    with pytest.raises(UsageError, match="/proc cannot be written"):
        open_catalog("duckdb:/proc/nowhere/ads.duckdb").check()


def test_a_read_only_file_is_found_before_work_and_can_be_read(
    published: Any, path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        ("DELETE FROM scores", "query: is DELETE; only SELECT is allowed"),
        ("", "there is no statement"),
        (" ; -- nothing\n/* at all */", "there is no statement"),
        ("SELECT 1; SELECT 2", "several statements"),
        ("SELECT 1; DROP TABLE scores", "several statements"),
        ("COPY scores TO '{out}'", "is COPY; only SELECT"),
        ("COPY (SELECT 1) TO '{out}' (FORMAT parquet)", "is COPY; only SELECT"),
        ("EXPORT DATABASE '{out}'", "is EXPORT; only SELECT"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'", "own tables only"),
        ("EXPLAIN ANALYZE DELETE FROM scores", "read-only"),
        ("ATTACH '{out}' AS other", "is ATTACH; only SELECT"),
        ("INSTALL httpfs", "is LOAD; only SELECT"),
        ("SET memory_limit = '1GB'", "is SET; only SELECT"),
        ("PRAGMA enable_profiling", "is PRAGMA; only SELECT"),
        ("CREATE TEMP TABLE x AS SELECT 1", "is CREATE; only SELECT"),
        ("CREATE SECRET (TYPE s3)", "is CREATE; only SELECT"),
        ("CHECKPOINT", "is CALL; only SELECT"),
        ("UPDATE runs SET status = 'HELD' RETURNING *", "is UPDATE; only SELECT"),
        ("SELECT * FROM read_csv('/etc/passwd')", "own tables only"),
        ("SELECT * FROM read_text('/etc/hostname')", "own tables only"),
        ("SELECT * FROM glob('/*')", "own tables only"),
        ("FROM '/etc/passwd'", "query: "),
        ("SELECT * FROM 'http://127.0.0.1:1/a.parquet'", "own tables only"),
        ("SELECT * FROM query('COPY scores TO $${out}$$')", "query: "),
        ("SELECT * FROM settings", "Table with name settings does not exist"),
        ("SELECT score / 'a' FROM scores", "Could not convert"),
    ],
)
def test_a_query_reads_one_select_and_can_do_nothing_else(
    published: Any, tmp_path: Path, sql: str, message: str
) -> None:
    before = month_state(published)
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=message):
        published.query(sql.format(out=out))
    assert month_state(published) == before
    assert not out.exists()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS x;",
        "-- one\nSELECT 1 AS x; -- and no more",
        "WITH a AS (SELECT 1 AS x) SELECT x FROM a",
        "FROM scores SELECT 1 AS x LIMIT 1",
        "VALUES (1)",
        "PIVOT (SELECT 'a' AS name, 1 AS x) ON name USING sum(x)",
        "SELECT 1 FROM runs WHERE date_trunc('month', started_at) <= started_at",
    ],
)
def test_every_way_to_ask_is_taken(published: Any, sql: str) -> None:
    assert published.query(sql).rows == [(1,)]


def test_what_describes_is_a_question_too(published: Any) -> None:
    for sql in ("DESCRIBE scores", "SHOW TABLES", "SUMMARIZE runs", "EXPLAIN SELECT 1"):
        assert published.query(sql).rows


def test_a_query_gives_names_and_values(published: Any) -> None:
    result = published.query("SELECT key, score > 0 AS good FROM scores ORDER BY key LIMIT 1")
    assert result.columns == ("key", "good")
    assert result.records() == [{"key": "a.csv-10", "good": True}]


class _Holder:
    """Another process that keeps the file open."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        code = (
            "import duckdb, sys\n"
            f"connection = duckdb.connect(sys.argv[1], read_only={read_only})\n"
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


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_others_use_is_refused_after_a_while_and_they_are_named(
    published: Any, path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    """Also where they only read it, as a notebook does: then it can be read, not written."""
    holder = _Holder(path, read_only)
    monkeypatch.setattr(duckdb_engine, "patience", duckdb_engine.Patience(read=0.2, write=0.2))
    told: list[Any] = []
    who = rf"process {holder.process.pid} \(.*python.*\)"
    try:
        warehouse = RunCatalog(DuckDbEngine(str(path), told.append))
        looks: list[Callable[[], object]] = [
            warehouse.check,
            warehouse.runs,
            lambda: publish_run(warehouse, *write_run(str(tmp_path / "runs"), "r2")),
        ]
        for look in looks[2:] if read_only else looks:
            told.clear()
            with pytest.raises(BusyError, match=rf"locked by {who}, for 0.2 s already") as caught:
                look()
            assert caught.value.exit_code == 1
            (line,) = told
            assert re.search(rf"waiting up to 0.2 s for {who}$", line)
    finally:
        holder.release()
    assert [run.run_id for run in published.runs()] == ["r1"]


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("read_only", [False, True])
def test_who_waits_says_so_at_once_and_goes_on_when_the_file_is_free(
    path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    """The holder lets go when it is said for whom the other waits, not some time later."""
    holders = [_Holder(path, read_only)]
    monkeypatch.setattr(duckdb_engine, "patience", duckdb_engine.Patience(read=600, write=600))
    patient = RunCatalog(DuckDbEngine(str(path), lambda _: holders.pop().release()))
    publish_run(patient, *write_run(str(tmp_path / "runs"), "r2", order=1))
    assert holders == []
    holders.append(_Holder(path))
    assert [run.run_id for run in patient.runs()] == ["r2", "r1"]
    assert holders == []


def test_a_file_that_this_process_has_open_elsewhere_is_busy(
    published: Any, path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook that uses these functions beside a connection of its own."""
    monkeypatch.setattr(duckdb_engine, "patience", duckdb_engine.Patience(read=0.05))
    with duckdb.connect(str(path), read_only=True) as own:
        with pytest.raises(BusyError, match=rf"this process itself \({os.getpid()}\)"):
            published.query("SELECT 1")
        own.execute("SET threads = 1")  # its settings are its own
    assert published.query("SELECT 1 AS x").rows == [(1,)]


def test_every_duckdb_since_1_0_reads_the_file(published: Any, path: Any, tmp_path: Path) -> None:
    """The version in the file's header, https://duckdb.org/docs/stable/internals/storage."""

    def version() -> Any:
        header = path.read_bytes()[:20]
        assert header[8:12] == b"DUCK"
        return int.from_bytes(header[12:20], "little")

    assert version() == 64
    publish_run(published, *write_run(str(tmp_path / "runs"), "r2", order=1))
    assert version() == 64


def test_a_reader_in_another_process_sees_only_whole_months(url: str, tmp_path: Path) -> None:
    runs = str(tmp_path / "runs")
    allowed = {
        frozenset(expected_rows(write_run(runs, name, rows=20 + order, order=order)[0]))
        for order, name in enumerate(("a", "b"))
    }
    process = crashes.process_of(crashes.publish_often, url, runs, ["a", "b"], 2)
    warehouse = open_catalog(url)
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


def test_two_publishers_at_once_take_turns(url: str, tmp_path: Path) -> None:
    processes = [
        crashes.process_of(crashes.publish_often, url, str(tmp_path / name), [name], 3)
        for name in ("a", "b")
    ]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    warehouse = open_catalog(url)
    statuses = {run.run_id: run for run in warehouse.runs()}
    assert sorted(run.status.value for run in statuses.values()) == ["PUBLISHED", "SUPERSEDED"]
    current = warehouse.latest_published("monthly", OCTOBER)
    assert current is not None
    assert month_state(warehouse) >= expected_rows(current)


def test_threads_of_one_process_take_turns(published: Any, tmp_path: Path) -> None:
    failures = []

    def publish(name: str) -> None:
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
from support.publishing import write_run
from beam_jobs.errors import RunError
from beam_jobs.publish.publishing import publish_run
from beam_jobs.runs.catalog import open_catalog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
written = write_run({runs!r}, "r2", rows=30_000, order=1)
limit = {limit}
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    publish_run(open_catalog({url!r}), *written)
except RunError as error:
    print(error)
"""


@pytest.mark.parametrize("spare", [0, 20_000, 700_000])
def test_a_full_disk_while_publishing_leaves_the_month(
    published: Any, path: Any, tmp_path: Path, spare: Any
) -> None:
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
