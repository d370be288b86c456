"""The monthly job with everything in Cloud Storage: the same results as on a local disk."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.commands import monthly
from beam_jobs.plan import plan_monthly
from support.commands import Run, monthly_flags, run_command
from support.fault_server import FaultServer
from support.servers.gcs import GcsServer
from support.waiting import PATIENCE

pytestmark = pytest.mark.integration
Ask = Callable[[str], Any]
MONTH = "2026-10"  # the one with rows for quarantine


@pytest.fixture(scope="module")
def banners(demo: Path, gcs_server: GcsServer) -> str:
    """The demo's images, in a bucket that tests only read."""
    gcs_server.new_bucket()
    uri = gcs_server.uri("banners")
    gcs_server.put_folder(demo / "banners", uri)
    return uri


@pytest.fixture
def flags(demo: Path, banners: str, gcs: GcsServer, tmp_path: Path) -> Callable[..., list[str]]:
    """The command `monthly` with all paths but the warehouse in the test's bucket."""
    for folder in (f"ads/{MONTH}", "models", "baseline"):
        gcs.put_folder(demo / folder, gcs.uri(folder))

    def of(*argv: str) -> list[str]:
        given = monthly_flags(Path("demo"), tmp_path, f"--images={banners}", *argv, month=MONTH)
        mine = [word.replace("=demo", f"={gcs.uri()}") for word in given]
        runs = f"--runs={tmp_path / 'runs'}"
        return ["monthly", *(f"--runs={gcs.uri('runs')}" if w == runs else w for w in mine)]

    return of


@pytest.fixture
def cloud(flags: Callable[..., list[str]]) -> Run:
    return lambda *argv: run_command(*flags(*argv))


@pytest.fixture(scope="module")
def server(
    gcs_server: GcsServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
        running = FaultServer(tmp_path_factory.mktemp("processes"))
    yield running
    running.stop()


def rows_of(gcs: GcsServer, folder: str, table: str) -> pd.DataFrame:
    parts = [gcs.get(uri) for uri in gcs.names(f"{folder}/{table}/")]
    return comparable(pd.concat([pq.read_table(io.BytesIO(part)).to_pandas() for part in parts]))


def comparable(rows: pd.DataFrame) -> pd.DataFrame:
    """Sorted, without the run's id, files by name: what must not depend on where they lie."""
    rows = rows.drop(columns="run_id").assign(source_file=rows.source_file.map(file_name))
    if "details" in rows:
        rows["details"] = [
            [finding | {"detail": file_name(finding["detail"])} for finding in details]
            for details in rows.details
        ]
    return rows.sort_values(["source_file", "source_row"], ignore_index=True)


def file_name(text: str) -> str:
    start, slash, end = text.rpartition("/")
    return start.rpartition(" ")[0] + slash + end


def published(ask: Ask) -> Any:
    return ask("SELECT run_id, count(*) AS rows FROM current_scores GROUP BY run_id")


@pytest.mark.parametrize(
    "mode", [[], ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]]
)
def test_results_are_those_of_a_local_run(
    demo: Path, cloud: Run, gcs: GcsServer, tmp_path: Path, ask: Ask, mode: list[str]
) -> None:
    """In one process on a network with faults; with several worker processes."""
    if not mode:
        gcs.fault("GET .*alt=media", "cut", times=4, skip=8, value=2000)
        gcs.fault("POST .*/upload", "status", times=4, skip=2, value=503)
        gcs.fault("GET .*alt=media", "reset", times=2, skip=20)
    previous = next((demo / "runs/monthly/2026-09").iterdir()) / "statistics.binpb"
    gcs.put(gcs.uri("previous.binpb"), previous.read_bytes())
    done = cloud("--json", f"--previous={gcs.uri('previous.binpb')}", *mode)
    assert done.code == 3, done.err
    assert gcs.faults_left() == 0
    result = done.json
    folder = result["run_folder"]
    assert folder == f"{gcs.uri('runs')}/monthly/{MONTH}/{result['run_id']}"
    (local,) = (demo / "runs/monthly" / MONTH).iterdir()
    for table in ("scores", "quarantine"):
        here = comparable(pq.read_table(local / table).to_pandas())
        found = rows_of(gcs, folder, table)
        assert len(found) > 0
        if mode:  # models score batches of other sizes with other last bits
            pd.testing.assert_frame_equal(found, here, rtol=1e-6)
        else:
            pd.testing.assert_frame_equal(found, here, check_exact=True)
    there = {uri.removeprefix(f"{folder}/").partition("/")[0] for uri in gcs.names(folder)}
    assert there == {path.name for path in local.iterdir()} - {".lock"}
    summary = json.loads((local / "summary.json").read_text())
    assert result["rows"] == summary["rows"]
    assert result["anomalies"] == len(summary["anomalies"])
    if mode:
        return
    plan = json.loads(gcs.get(f"{folder}/plan.json"))
    assert plan["inputs"][0]["generation"].isdecimal()
    again = cloud("--json", f"--previous={gcs.uri('previous.binpb')}")
    assert (again.code, again.json["status"]) == (3, "UNCHANGED")
    # A held run is approved from its folder.
    assert published(ask) == []
    warehouse = f"--warehouse=duckdb:{tmp_path / 'ads.duckdb'}"
    approved = run_command("approve", result["run_id"], warehouse)
    assert approved.code == 0, approved.err
    assert published(ask) == [{"run_id": result["run_id"], "rows": result["rows"]["scored"]}]
    inputs = ask("SELECT uri, generation, bytes AS size FROM inputs ORDER BY uri")
    assert inputs == plan["inputs"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (f"ads/{MONTH}/ads-2.csv", "overwritten"),
        (f"ads/{MONTH}/ads-3.csv.gz", "deleted"),
        (f"ads/{MONTH}/ads-5.parquet", "overwritten"),
        ("models/ads/1/saved_model.pb", "overwritten"),
        ("baseline/statistics.binpb", "overwritten"),
    ],
)
def test_what_changes_during_the_run_fails_it(
    cloud: Run,
    gcs: GcsServer,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    change: str,
) -> None:
    if name.endswith(".parquet"):
        made = io.BytesIO()
        pq.write_table(pa.table({"ad_id": ["a", "b"], "bid": [0.5, 1.5]}), made)
        gcs.put(gcs.uri(name), made.getvalue())
    planned = plan_monthly

    def then_changed(*arguments: Any) -> Any:
        plan = planned(*arguments)
        data = gcs.get(gcs.uri(name))
        if change == "deleted":
            gcs.delete(gcs.uri(name))
        else:
            gcs.put(gcs.uri(name), data + b"\n")
        return plan

    monkeypatch.setattr(monthly, "plan_monthly", then_changed)
    done = cloud("--json")
    assert (done.code, done.json["status"]) == (1, "FAILED")
    error = done.err.strip().splitlines()[-1]
    assert gcs.uri(name.removesuffix("/saved_model.pb")) in error
    assert "changed during the run" in error or "was overwritten or deleted during" in error
    assert published(ask) == []
    assert ask("SELECT status FROM runs") == [{"status": "FAILED"}]


def test_an_alias_in_cloud_storage_picks_the_version(
    demo: Path, cloud: Run, gcs: GcsServer
) -> None:
    def version(model: str) -> str:
        done = cloud("--plan", "--json", f"--model={gcs.uri(model)}")
        assert done.code == 0, done.err
        found: str = done.json["model"]["path"]
        return found

    gcs.put_folder(demo / "models/ads/1", gcs.uri("models/ads/10"))
    assert version("models/ads") == gcs.uri("models/ads/10")
    gcs.put(gcs.uri("models/ads/aliases.json"), b'{"champion": "1", "challenger": "10"}')
    assert version("models/ads") == gcs.uri("models/ads/1")
    assert version("models/ads@challenger") == gcs.uri("models/ads/10")
    assert version("models/ads/1") == gcs.uri("models/ads/1")
    wrong = cloud("--plan", f"--model={gcs.uri('models/ads@chalenger')}")
    assert (wrong.code, "did you mean challenger?" in wrong.err) == (2, True)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--ads", "{bucket}/ads/*.csv"),
        ("--ads", "{bucket}/ads.csv"),
        ("--model", "{bucket}/models/ads"),
        ("--schema", "{bucket}/schema.pbtxt"),
        ("--baseline", "{bucket}/statistics.binpb"),
        ("--previous", "{bucket}/statistics.binpb"),
        ("--policy", "{bucket}/policy.toml"),
        ("--config", "{bucket}/beam-jobs.toml"),
        ("--runs", "{bucket}/runs"),
    ],
)
def test_a_bucket_that_is_missing_or_closed_is_found_by_the_plan(
    cloud: Run, gcs: GcsServer, flag: str, value: str
) -> None:
    given = value.format(bucket="gs://nobody-has-this")
    done = cloud("--plan", f"{flag}={given}")
    assert done.code == 2
    (line,) = done.err.strip().splitlines()
    assert line.startswith(f"beam-jobs: error: {flag} {given}")
    assert "there is no bucket nobody-has-this" in line
    mine = gcs.bucket
    closed = gcs.new_bucket()
    gcs.deny("get", "list", "create", "delete")
    given = value.format(bucket=f"gs://{closed}")
    gcs.put(given.replace("*", "a"), b"x")
    gcs.bucket = mine
    done = cloud("--plan", f"{flag}={given}")
    assert done.code == 2
    (line,) = done.err.strip().splitlines()
    assert line.startswith(f"beam-jobs: error: {flag} {given}")
    role = "roles/storage.objectUser" if flag == "--runs" else "roles/storage.objectViewer"
    assert role in line
    assert closed in line


def test_objects_that_may_be_listed_but_not_read_are_found_by_the_plan(
    cloud: Run, gcs: GcsServer
) -> None:
    mine, closed = gcs.bucket, gcs.new_bucket()
    gcs.put(gcs.uri("a.csv"), b"ad_id\n1\n")
    gcs.deny("get")
    gcs.bucket = mine
    done = cloud("--plan", f"--ads=gs://{closed}/*.csv")
    assert done.code == 2
    assert f"--ads gs://{closed}/a.csv: cannot be read (no permission; the account" in done.err


@pytest.mark.usefixtures("cloud")
def test_the_baseline_and_its_configuration_lie_in_cloud_storage(
    demo: Path, banners: str, gcs: GcsServer, tmp_path: Path
) -> None:
    settings = {
        "data": "training/*.csv",
        "out": "made",
        "key": "ad_id",
        "label": "clicked",
        "ads": "ads/{month}/*",
        "images": banners,
        "schema": "made/schema.pbtxt",
        "model": "models/ads",
        "runs": "runs",
        "warehouse": f"duckdb:{tmp_path}/ads.duckdb",
    }
    lines = [f'{name} = "{value}"' for name, value in settings.items()]
    gcs.put(gcs.uri("beam-jobs.toml"), "\n".join(lines).encode())
    gcs.put_folder(demo / "training", gcs.uri("training"))
    config = f"--config={gcs.uri('beam-jobs.toml')}"
    done = run_command("baseline", config)
    assert done.code == 0, done.err
    assert gcs.names(gcs.uri("made/")) == [
        gcs.uri("made/schema.pbtxt"),
        gcs.uri("made/statistics.binpb"),
    ]
    plan = run_command("monthly", config, f"--month={MONTH}", "--plan", "--json")
    assert plan.code == 0, plan.err
    assert plan.json["run_folder"].startswith(gcs.uri("runs/monthly/"))
    assert len(plan.json["inputs"]) == 4


def test_two_runs_at_once_and_one_that_was_killed(
    server: FaultServer, flags: Callable[..., list[str]], gcs: GcsServer, ask: Ask
) -> None:
    """The lock in Cloud Storage outlives whoever was killed by a lease.

    The first of those that come then has a lease of seconds, and takes the lock over. The other's
    outlasts any work of the first one, however slow.
    """
    command = [*flags("--json")]
    process = server.start(*command)
    first = server.wait(process)
    assert first.code == 3, first.err
    steps = server.steps(process)
    writes = [i for i, step in enumerate(steps) if step.startswith("object ")]
    committed = len(steps) - 1 - steps[::-1].index("sql COMMIT")
    folder = first.json["run_folder"]
    for step, number in ((writes[len(writes) // 2], 2), (committed, 1)):
        for uri in gcs.names(gcs.uri("runs")):
            gcs.delete(uri)
        killed = server.run(*command, "--force", die_after=step)
        assert killed.code == -9, steps[step]
        assert f"{folder}/.lock" in gcs.names(folder)
        again = [server.start(*command, lease=lease) for lease in (3.0, PATIENCE)[:number]]
        ended = [server.wait(process) for process in again]
        assert [done.code for done in ended] == [3] * number, ended
        statuses = sorted(done.json["status"] for done in ended)
        assert statuses == ["HELD", "UNCHANGED"][:number], steps[step]
        assert any("; waiting for it to end, or to give no" in done.err for done in ended)
        assert [done.json["rows"] for done in ended] == [first.json["rows"]] * number
        scores, quarantine = (rows_of(gcs, folder, table) for table in ("scores", "quarantine"))
        both_tables = pd.concat([scores, quarantine])
        assert len(both_tables) == first.json["rows"]["read"]
        assert not both_tables.duplicated(["source_file", "source_row"]).any()
        left = {uri.removeprefix(f"{folder}/") for uri in gcs.names(folder)}
        assert not [name for name in left if name.startswith(("keys", ".lock"))]
    assert ask("SELECT status FROM runs") == [{"status": "HELD"}]
