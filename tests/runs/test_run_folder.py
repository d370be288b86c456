"""The run folder: its paths, its lock, its manifest, and sweeping."""

import datetime
import os
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.errors import RunError, UsageError
from beam_jobs.runs.folder import RUN_TABLES, Manifest, RunFolder
from beam_jobs.storage.holder import user_name
from beam_jobs.warehouse.tables import arrow_schema
from support import crashes
from support.publishing import OCTOBER, write_run
from support.waiting import PATIENCE


def test_the_path_names_job_period_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = RunFolder.of("runs", "monthly", OCTOBER, "r1")
    assert folder.path == f"{tmp_path}/runs/monthly/2026-10/r1"
    assert folder.summary == f"{folder.path}/summary.json"
    day = RunFolder.of("/r", "requests", datetime.date(2026, 10, 5), "r1")
    assert day.path == "/r/requests/2026-10-05/r1"


def test_the_manifest_reads_back(tmp_path: Path) -> None:
    run, parts, _ = write_run(str(tmp_path), "r1")
    folder = RunFolder(run.run_folder)
    folder.write_manifest(Manifest(run, tuple(parts)))
    assert folder.read_manifest() == Manifest(run, tuple(sorted(parts)))


def test_a_folder_may_move(tmp_path: Path) -> None:
    run, parts, _ = write_run(str(tmp_path / "a"), "r1")
    RunFolder(run.run_folder).write_manifest(Manifest(run, tuple(parts)))
    moved = tmp_path / "elsewhere"
    os.rename(run.run_folder, moved)
    found = RunFolder(str(moved)).read_manifest()
    assert all(Path(part.uri).exists() for part in found.parts)


def test_sweep_leaves_what_is_listed_and_the_other_files(tmp_path: Path) -> None:
    run, parts, _ = write_run(str(tmp_path), "r1")
    folder = RunFolder(run.run_folder)
    folder.write(folder.plan, b"{}")
    left = [
        f"{folder.path}/plan.json.123.tmp",
        f"{folder.path}/scores/part-00009-00000-000000.parquet",
        f"{folder.path}/scores/part-00000-00000-000000.parquet.abc.tmp",
        f"{folder.path}/quarantine/part-00000-00000-000007.parquet",
    ]
    for path in left:
        Path(path).write_bytes(b"left behind")
    assert folder.sweep(parts) == sorted(left)
    kept = {str(path) for path in Path(folder.path).rglob("*") if path.is_file()}
    assert kept == {folder.plan, *(part.uri for part in parts)}
    assert folder.sweep(parts) == []


def test_sweep_of_an_unfinished_folder_is_nothing(tmp_path: Path) -> None:
    assert RunFolder(str(tmp_path / "none")).sweep([]) == []


def test_a_table_gets_the_runs_columns(tmp_path: Path) -> None:
    run, _, tables = write_run(str(tmp_path), "r1")
    folder = RunFolder(run.run_folder)
    folder.write_table("inputs", tables["inputs"], run)
    table = pq.read_table(folder.table("inputs"))
    assert table.schema == arrow_schema("inputs")
    assert table.to_pylist()[0]["period"] == OCTOBER
    assert table["run_id"].to_pylist() == ["r1", "r1"]
    with pytest.raises(ValueError, match="no column 'generation'"):
        folder.write_table("inputs", pa.table({"uri": ["x"]}), run)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    folder = RunFolder(str(tmp_path / "file" / "r1"))
    with pytest.raises(RunError, match="file/r1: cannot be written"), folder.lock():
        pass
    with pytest.raises(RunError, match=r"plan\.json: cannot be written"):
        folder.write(folder.plan, b"{}")


def test_a_second_process_waits_and_says_for_whom(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "r1"))
    holder = crashes.CONTEXT.Process(target=crashes.keep_lock, args=(folder.path,))
    holder.start()
    started = Path(folder.path, "locked")
    while not started.exists():
        assert holder.is_alive()
    told = []

    def waiting(sentence: str) -> None:
        told.append(sentence)
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGKILL)

    with folder.lock(waiting):
        pass
    holder.join()
    (line,) = told
    assert (
        f"{folder.path}: process {holder.pid} of {user_name()} on {socket.gethostname()} (" in line
    )
    assert line.endswith("; waiting for it to end, for at most 600 s")


def test_the_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    with pytest.raises(KeyError), folder.lock():
        raise KeyError
    told: list[Any] = []
    with folder.lock(told.append):
        assert told == []
        waiter = threading.Thread(target=lambda: folder.lock(told.append).__enter__(), daemon=True)
        waiter.start()
        while not told:
            assert waiter.is_alive()
    waiter.join(PATIENCE)
    assert not waiter.is_alive()


def test_what_an_earlier_version_wrote_is_refused_with_the_way_out(tmp_path: Path) -> None:
    run, parts, tables = write_run(str(tmp_path), "r1")
    folder = RunFolder(run.run_folder)
    for name in RUN_TABLES:
        folder.write_table(name, tables[name], run)
    folder.check(parts)
    texts = pa.array([["a text"]], pa.list_(pa.string()))
    for table, column in (("quarantine", "details"), ("feature_statistics", "drift_measure")):
        part = next((part for part in parts if part.table.value == table), None)
        uri = part.uri if part else folder.table(table)
        rows = pq.read_table(uri)
        place = rows.schema.get_field_index(column)
        other = rows.remove_column(place)
        if part:
            other = other.add_column(place, column, texts.take(pa.array([0] * len(rows))))
        pq.write_table(other, uri)
        listed = [replace(p, bytes=os.path.getsize(p.uri)) for p in parts]
        with pytest.raises(UsageError, match=rf"earlier version .*{table}\.{column}.* run the per"):
            folder.check(listed)
        pq.write_table(rows, uri)
