"""The jobs with worker processes of their own: Beam's, and Prism's. Results are the local ones."""

import contextlib
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from beam_jobs.errors import RunError
from beam_jobs.pipelines import watch
from beam_jobs.pipelines.workers import workers_of
from beam_jobs.runs.catalog import open_catalog
from support.commands import Result, monthly_flags, run_command
from support.prism import Prism, state_of, stop_the_runner
from support.queues import good, make_setup, put, queue_flags
from support.waiting import until

pytestmark = pytest.mark.integration

JOBS = ("monthly", "requests")
RUNNERS = ("multi_processing", "prism")
MONTH = "2026-10"
LOOPBACK = "--environment_type=LOOPBACK"


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
def hold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder by which workers can be held; see worker_hook/sitecustomize.py."""
    folder = tmp_path_factory.mktemp("hold")
    hook = str(Path(__file__).parents[1] / "support/worker_hook")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HOLD_WORKERS", str(folder))
        environment.syspath_prepend(hook)  # a pool hands this process's path on to its workers
        environment.setenv("PYTHONPATH", hook, prepend=os.pathsep)
        yield folder


@pytest.fixture(scope="module")
def running_prism(hold: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prism]:  # noqa: ARG001  (it must run first)
    running = Prism(tmp_path_factory.mktemp("prism"))
    yield running
    running.stop()


@pytest.fixture
def prism(running_prism: Prism) -> Prism:
    running_prism.ensure()
    return running_prism


@pytest.fixture
def runner(request: pytest.FixtureRequest, hold: Path) -> list[str]:  # noqa: ARG001  (it must run first)
    """Flags that choose a runner."""
    if request.param == "prism":
        prism: Prism = request.getfixturevalue("prism")
        return prism.flags
    return ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


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
    warehouse = open_catalog(f"duckdb:{folder}/ads.duckdb")
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
    hold: Path,
    runner: list[str],
    job: str,
) -> None:
    # Relative paths are those of the user's folder, wherever workers are.
    monkeypatch.chdir(tmp_path)
    relative = ("--runs=runs", "--warehouse=duckdb:ads.duckdb")
    command = inputs.command(job, tmp_path, *relative, *runner)
    with killed_in_a_bundle(hold):
        killed = run_command(*command)
    assert_one_line(killed, "a worker process died", "run the command again")
    assert_nothing_published(tmp_path)
    done = run_command(*command)
    assert (done.code, done.json["status"]) == (0, "PUBLISHED"), done.err
    assert_equal(tmp_path, local[job])
    left = [path.name for path in tmp_path.rglob("*")]
    assert not [name for name in left if name.endswith(".tmp") or name == "keys"]


@contextlib.contextmanager
def killed_in_a_bundle(folder: Path) -> Iterator[None]:
    """Kills a worker that has written a file of keys, and has not told the runner yet."""
    (folder / "hold").touch()
    over = threading.Event()
    victims: list[int] = []

    def kill() -> None:
        def held() -> list[int]:
            return [int(path.name) for path in folder.glob("[0-9]*")]

        until(lambda: over.is_set() or held(), "a worker that is held")
        for process in held()[:1]:
            os.kill(process, signal.SIGKILL)
            victims.append(process)
        for path in folder.iterdir():
            path.unlink()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        over.set()
        killer.join()
    assert victims, "no worker has written keys"


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
    from support.queues import answers_in

    return {
        path.name: [json.loads(json.dumps(answer)) | {"run_id": ""} for answer in answers_in(path)]
        for path in sorted(folder.glob("responses/*"))
    }


@pytest.mark.parametrize("runner", RUNNERS, indirect=True)
def test_a_workers_error_reaches_the_user_in_one_line(
    demo: Path, inputs: Inputs, tmp_path: Path, runner: list[str]
) -> None:
    ads = tmp_path / "ads"
    ads.mkdir()
    (whole,) = (demo / f"ads/{MONTH}").glob("*.csv.gz")
    (ads / "a.csv.gz").write_bytes(whole.read_bytes())  # the plan looks at the first one
    (ads / "b.csv.gz").write_bytes(whole.read_bytes()[:5_000])
    done = run_command(*inputs.command("monthly", tmp_path, f"--ads={ads}/*", *runner))
    assert_one_line(done, f"{ads}/b.csv.gz: the gzip data is truncated or corrupt")
    assert_nothing_published(tmp_path)


@pytest.mark.parametrize("environment", ["EXTERNAL", "LOOPBACK"])
def test_a_worker_of_prism_is_seen_while_it_works(
    prism: Prism, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: str
) -> None:
    """A step that lasts until the launcher has seen its worker in the process table."""
    import apache_beam as beam

    from beam_jobs.pipelines.options import pipeline_options

    seen = str(tmp_path / "seen")

    def look(job: str) -> dict[str, int]:
        found = workers_of(job)
        if found:
            Path(seen).touch()
        return found

    monkeypatch.setattr(watch, "workers_of", look)
    flags = prism.flags if environment == "EXTERNAL" else [*prism.flags[:3], LOOPBACK]
    pipeline = beam.Pipeline(options=pipeline_options(flags))
    _ = pipeline | beam.Create([seen]) | beam.Map(lambda path: until(lambda: os.path.exists(path)))
    watch.wait_for_end(pipeline.run())


def test_a_worker_of_prism_dies_between_two_bundles(prism: Prism, tmp_path: Path) -> None:
    """Prism hears of the end of a bundle and of its worker at once; it may then wait for ever."""
    import apache_beam as beam

    from beam_jobs.pipelines.options import pipeline_options

    def kill(at_work: Path, ended: threading.Event) -> None:
        until(lambda: at_work.exists() or ended.is_set(), "the first bundle")
        if not at_work.exists():
            return
        worker = int(at_work.read_text())
        until(lambda: state_of(prism.process) == "T", "the runner to stop")
        os.kill(worker, signal.SIGKILL)
        until(lambda: state_of(worker) in "Z", "the worker's end")
        os.kill(prism.process, signal.SIGCONT)

    killed, before_it_worked = 0, []
    for number in range(9):
        prism.ensure()
        at_work, ended = tmp_path / str(number), threading.Event()
        pipeline = beam.Pipeline(options=pipeline_options(prism.flags))
        _ = (
            pipeline
            | beam.Create([(str(at_work), prism.process)])
            | beam.Map(stop_the_runner)
            | beam.GroupByKey()
            | beam.Map(print)
        )
        killer = threading.Thread(target=kill, args=[at_work, ended])
        killer.start()
        try:
            with pytest.raises((RunError, RuntimeError)) as raised, watch.without_traces():
                watch.wait_for_end(pipeline.run())
        finally:
            ended.set()
            killer.join()
        if not at_work.exists():  # Prism gives a worker one minute to connect, on any machine
            before_it_worked.append(raised.value)
            continue
        told = watch.explained(raised.value) or raised.value
        assert str(told).startswith("a worker process died")
        killed += 1
        if killed == 3:
            return
    raise AssertionError(f"jobs ended before a worker could be killed: {before_it_worked}")


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
