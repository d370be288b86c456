"""The jobs with worker processes of their own: Beam's, and Prism's. Results are the local ones."""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import Result, monthly_flags, run_command
from prism_kit import Prism, children
from queue_kit import good, make_setup, put, queue_flags

from beam_jobs.pipelines import watch
from beam_jobs.publish.warehouse import open_warehouse

pytestmark = pytest.mark.integration

JOBS = ("monthly", "requests")
RUNNERS = ("multi_processing", "prism")
MONTH = "2026-10"


class Runner(NamedTuple):
    """Flags that choose a runner, and the processes of its workers."""

    flags: list[str]
    workers: Callable[[], list[int]]


class Inputs(NamedTuple):
    """What the jobs read; tests must not change it."""

    demo: Path
    queue: Path

    def command(self, job: str, folder: Path, *argv: str) -> list[str]:
        """A run of a job whose runs, answers and warehouse are in `folder`."""
        if job == "requests":
            return ["requests", *queue_flags(self.queue, folder, self._queue, "--json", *argv)]
        before = next((self.demo / "runs/monthly/2026-09").iterdir()) / "statistics.binpb"
        more = (f"--previous={before}", "--slice=device", "--gate=PUBLISH", "--json")
        return ["monthly", *monthly_flags(self.demo, folder, *more, *argv, month=MONTH)]

    @property
    def _queue(self) -> str:
        return f"--queue={self.queue}/queue/*"


@pytest.fixture(scope="module")
def inputs(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    queue = tmp_path_factory.mktemp("queue")
    make_setup(queue)
    put(queue, "a.jsonl", [*good("a", 300), '{"id": "broken', {"id": "x", "bid": 1000}])
    put(queue, "b.jsonl.gz", [*good("b", 200), {"id": "a-7", "bid": 1, "device": "tv"}])
    put(queue, "empty.jsonl", [])
    return Inputs(demo, queue)


@pytest.fixture(scope="module")
def local(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """{job: folder of a run by the local runner, in one thread of one process}."""
    folders = {job: tmp_path_factory.mktemp(job) for job in JOBS}
    for job, folder in folders.items():
        done = run_command(*inputs.command(job, folder))
        assert done.code == 0, done.err
    return folders


@pytest.fixture(scope="module")
def prism(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prism]:
    running = Prism(tmp_path_factory.mktemp("prism"))
    yield running
    running.stop()


@pytest.fixture
def runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(watch, "STALL_SECONDS", 8.0)
    if request.param == "prism":
        prism: Prism = request.getfixturevalue("prism")
        return Runner(prism.flags, prism.workers)
    flags = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    return Runner(flags, _beam_workers)


def _beam_workers() -> list[int]:
    found = []
    for process in children(os.getpid()):
        try:
            if b"sdk_worker_main" in Path(f"/proc/{process}/cmdline").read_bytes():
                found.append(process)
        except FileNotFoundError:  # it ended meanwhile
            continue
    return found


def assert_one_line(done: Result, *texts: str) -> None:
    """The run failed, and the user reads why in one line."""
    assert (done.code, done.json["status"]) == (1, "FAILED"), done.err
    assert "Traceback" not in done.err
    lines = [line for line in done.err.splitlines() if not re.match(r'\[ *\d+ s\]|\{"event"', line)]
    assert len(lines) == 1, lines
    assert lines[0].startswith("beam-jobs: error: ")
    for text in texts:
        assert text in lines[0]


def assert_nothing_published(folder: Path) -> None:
    warehouse = open_warehouse(f"duckdb:{folder}/ads.duckdb")
    assert [run.status.value for run in warehouse.runs()] == ["FAILED"]
    assert warehouse.query("SELECT * FROM scores").rows == []
    assert not list(folder.glob("responses/*"))


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("runner", RUNNERS, indirect=True)
def test_a_worker_is_killed_and_the_same_command_finishes_the_run(
    inputs: Inputs,
    local: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    runner: Runner,
    job: str,
) -> None:
    # Relative paths are those of the user's folder, wherever workers are.
    monkeypatch.chdir(tmp_path)
    relative = ("--runs=runs", "--warehouse=duckdb:ads.duckdb")
    command = inputs.command(job, tmp_path, *relative, *runner.flags)
    with killed_when_keys_are_read(tmp_path, runner.workers):
        killed = run_command(*command)
    assert_one_line(killed, "a worker process died", "run the command again")
    assert_nothing_published(tmp_path)
    done = run_command(*command)
    assert (done.code, done.json["status"]) == (0, "PUBLISHED"), done.err
    assert_equal(tmp_path, local[job])
    left = [path.name for path in tmp_path.rglob("*")]
    assert not [name for name in left if name.endswith(".tmp") or name == "keys"]


class killed_when_keys_are_read:
    """Kills a worker when the first pass of the run is done, and the second has begun."""

    def __init__(self, folder: Path, workers: Callable[[], list[int]]) -> None:
        self._folder, self._workers = folder, workers
        self._thread = threading.Thread(target=self._watch)
        self._victims: list[int] = []

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: Any) -> None:
        self._thread.join()
        assert self._victims, "no worker was there to be killed"

    def _watch(self) -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not self._victims:
            if list(self._folder.glob("runs/*/*/*/keys/*.parquet")):
                self._victims = self._workers()[-1:]
                for process in self._victims:
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.005)


def _rows(folder: Path, table: str) -> pd.DataFrame:
    (run,) = folder.glob("runs/*/*/*/manifest.json")
    path = run.parent / table
    frame = pq.read_table(path if path.exists() else f"{path}.parquet").to_pandas()
    by = [name for name in ("source_file", "source_row", "slice", "feature", "kind", "code")
          if name in frame]  # fmt: skip
    return frame.drop(columns="run_id").sort_values(by, ignore_index=True)


def assert_equal(folder: Path, local: Path) -> None:
    """The results are those of the local run, bit for bit where the order of merging is not seen.

    Runners add up partial statistics in different orders. That changes the last bits of sums of
    floats (mean, standard deviation), and which values a sketch keeps of a feature that has more
    of them than it holds: here the key, whose values all occur about once.
    """
    for table in ("scores", "quarantine", "inputs"):
        found, expected = _rows(folder, table), _rows(local, table)
        assert len(expected) > 0
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    found, expected = _rows(folder, "anomalies"), _rows(local, "anomalies")
    pd.testing.assert_frame_equal(found, expected, rtol=1e-12)
    found, expected = _rows(folder, "feature_statistics"), _rows(local, "feature_statistics")
    for name in ("mean", "std_dev"):
        np.testing.assert_allclose(found.pop(name), expected.pop(name), rtol=1e-12)
    found_top, expected_top = found.pop("top_values"), expected.pop("top_values")
    is_key = expected.feature == "ad_id"
    assert list(map(str, found_top[~is_key])) == list(map(str, expected_top[~is_key]))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert _answers(folder) == _answers(local)


def _answers(folder: Path) -> dict[str, list[dict[str, Any]]]:
    from queue_kit import answers_in

    return {
        path.name: [json.loads(json.dumps(answer)) | {"run_id": ""} for answer in answers_in(path)]
        for path in sorted(folder.glob("responses/*"))
    }


@pytest.mark.parametrize("runner", RUNNERS, indirect=True)
def test_a_workers_error_reaches_the_user_in_one_line(
    demo: Path, inputs: Inputs, tmp_path: Path, runner: Runner
) -> None:
    ads = tmp_path / "ads"
    ads.mkdir()
    (whole,) = (demo / f"ads/{MONTH}").glob("*.csv.gz")
    (ads / "a.csv.gz").write_bytes(whole.read_bytes())  # the plan looks at the first one
    (ads / "b.csv.gz").write_bytes(whole.read_bytes()[:5_000])
    done = run_command(*inputs.command("monthly", tmp_path, f"--ads={ads}/*", *runner.flags))
    assert_one_line(done, f"{ads}/b.csv.gz: the gzip data is truncated or corrupt")
    assert_nothing_published(tmp_path)


def test_a_busy_worker_of_prism_shows_life(prism: Prism, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that takes long is no reason to give the job up."""
    import apache_beam as beam

    from beam_jobs.pipelines.options import pipeline_options

    monkeypatch.setattr(watch, "STALL_SECONDS", 4.0)
    pipeline = beam.Pipeline(options=pipeline_options(prism.flags))
    _ = pipeline | beam.Create([9.0]) | beam.Map(time.sleep)
    watch.wait_for_end(pipeline.run())


def test_dask_and_absent_job_services_are_refused_before_any_work(
    inputs: Inputs, tmp_path: Path
) -> None:
    for flags, message in (
        (["--runner=DaskRunner"], "--runner DaskRunner: loses data without an error"),
        (["--runner=apache_beam.runners.dask.dask_runner.DaskRunner"], "loses data"),
        (
            ["--runner=PortableRunner", "--job_endpoint=localhost:1"],
            "--job_endpoint localhost:1: no job service answers there",
        ),
    ):
        for plan in ([], ["--plan"]):
            done = run_command(*inputs.command("monthly", tmp_path, *flags, *plan))
            assert done.code == 2
            (line,) = done.err.strip().splitlines()
            assert message in line
    assert list(tmp_path.iterdir()) == []
