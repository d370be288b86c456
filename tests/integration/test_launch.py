"""A launch from beginning to end, with everything but Google's machines.

templates/launch.py runs as the Flex launcher runs it, against a Dataflow service, a Cloud Storage
and a metadata server of this machine. What it submits is then really executed by another process,
from the staged files alone.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from google.cloud import dataflow
from google.protobuf import json_format

from beam_jobs.storage import calls
from support.commands import monthly_flags, run_command
from support.servers.dataflow import PROJECT, TOKEN, DataflowServer, MetadataServer
from support.servers.gcs import GcsServer
from support.servers.webhook import WebhookServer

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
IMAGE = "europe-docker.pkg.dev/test-project/beam-jobs/monthly:1.0"
SECRET = "T0/B0/0123456789abcdef"
IN_TEMPLATES = ("--force=", "--policy=", "--slice=device;", "--notify=")
"""What only a template's launch is given so."""

MONTHLY_ONLY = ("--month=", "--ads=", "--images=", "--key=", "--label=")

REQUEST_LIMIT = 10 << 20
"""Bytes of a jobs.create that Dataflow takes."""


class Launched(NamedTuple):
    """What a launch left."""

    code: int
    out: str
    err: str
    job: dict[str, Any]
    folder: Path


class Cloud(NamedTuple):
    """The servers that a launch talks to."""

    dataflow: DataflowServer
    gcs: GcsServer
    bucket: str
    hook: WebhookServer
    environment: dict[str, str]

    def launch(self, *parameters: str, job: str = "monthly") -> subprocess.CompletedProcess[str]:
        """Runs the entry point as the launcher does: parameters and options as `--name=value`."""
        command = [
            sys.executable,
            str(ROOT / "templates/launch.py"),
            "--runner=DataflowRunner",
            f"--project={PROJECT}",
            "--region=europe-west4",
            "--job_name=ads-monthly-1",
            f"--staging_location=gs://{self.bucket}/staging",
            f"--temp_location=gs://{self.bucket}/temp",
            "--service_account_email=worker@test-project.iam.gserviceaccount.com",
            "--machine_type=n2-highmem-4",
            "--max_num_workers=20",
            '--labels={"goog-dataflow-provided-template-type": "flex"}',
            f"--dataflow_endpoint={self.dataflow.url}",
            *parameters,
        ]
        environment = os.environ | self.environment | {"BEAM_JOBS_JOB": job}
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, check=False, cwd="/"
        )


@pytest.fixture(scope="module")
def cloud(gcs_server: GcsServer) -> Iterator[Cloud]:
    service, metadata = DataflowServer(), MetadataServer()
    gcs_server.clear()
    bucket = gcs_server.new_bucket()
    environment = metadata.environment | {
        "STORAGE_EMULATOR_HOST": gcs_server.url,
        "BEAM_JOBS_IMAGE": IMAGE,
        "PYTHONPATH": str(ROOT),
    }
    hook = WebhookServer()
    yield Cloud(service, gcs_server, bucket, hook, environment)
    hook.stop()
    service.stop()
    metadata.stop()


def parameters(cloud: Cloud, folder: Path, *argv: str) -> list[str]:
    """As in the body of a launch: all in the cloud, several values in one, switches as texts."""
    flags = monthly_flags(Path("demo"), folder, "--slice=device;category", "--force=false", *argv)
    base = f"gs://{cloud.bucket}"
    flags = [word.replace("=demo", f"={base}/demo") for word in flags if "--runs=" not in word]
    return [*flags, f"--runs={base}/runs", f"--notify={base}/webhook.txt", "--policy="]


@pytest.fixture(scope="module")
def launched(demo: Path, cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Launched:
    folder = tmp_path_factory.mktemp("launched")
    for name in ("ads/2026-09", "banners", "models", "baseline"):
        cloud.gcs.put_folder(demo / name, f"gs://{cloud.bucket}/demo/{name}")
    address = f"{cloud.hook.url}/services/{SECRET}"
    cloud.gcs.put(f"gs://{cloud.bucket}/webhook.txt", address.encode())
    done = cloud.launch(*parameters(cloud, folder))
    assert done.returncode == 0, done.stderr
    return Launched(done.returncode, done.stdout, done.stderr, cloud.dataflow.jobs[-1], folder)


def run_of(cloud: Cloud) -> tuple[str, list[str]]:
    """(id, names of its files) of the one run."""
    prefix = f"gs://{cloud.bucket}/runs/monthly/2026-09/"
    found = [uri.removeprefix(prefix).split("/", 1) for uri in cloud.gcs.names(prefix)]
    (run_id,) = {run_id for run_id, _ in found}
    return run_id, [name for _, name in found]


def staged(cloud: Cloud) -> dict[str, bytes]:
    return {uri: cloud.gcs.get(uri) for uri in cloud.gcs.names(f"gs://{cloud.bucket}/staging/")}


def pipeline_of(job: dict[str, Any], cloud: Cloud) -> bytes:
    options = job["environment"]["sdkPipelineOptions"]
    return cloud.gcs.get(options["options"]["pipelineUrl"])


def test_the_launcher_submits_and_does_not_wait(launched: Launched, cloud: Cloud) -> None:
    assert "is submitted" in launched.out
    assert "2026-11-01_00_00_00-1" in launched.out
    assert len(cloud.dataflow.jobs) == 1
    _, files = run_of(cloud)
    assert "plan.json" in files
    assert "summary.json" not in files


def test_dataflow_would_take_the_job(launched: Launched) -> None:
    job = launched.job
    sent = {name: value for name, value in job.items() if name != "size"}
    # Fails where Dataflow knows no such field.
    message = json_format.ParseDict(sent, dataflow.Job.pb()())
    assert job["size"] < REQUEST_LIMIT
    assert job["name"] == "ads-monthly-1"
    assert dataflow.Job.wrap(message).type_ is dataflow.JobType.JOB_TYPE_BATCH


def test_the_job_runs_our_image_as_the_worker_with_labels(launched: Launched, cloud: Cloud) -> None:
    environment = launched.job["environment"]
    (pool,) = environment["workerPools"]
    images = {image["containerImage"] for image in pool["sdkHarnessContainerImages"]}
    assert images == {IMAGE}
    assert pool["machineType"] == "n2-highmem-4"
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 20
    assert environment["serviceAccountEmail"].startswith("worker@")
    assert launched.job["labels"] == {
        "goog-dataflow-provided-template-type": "flex",
        "beam-jobs-job": "monthly",
        "beam-jobs-period": "2026-09",
        "beam-jobs-run": run_of(cloud)[0],
    }
    for value in launched.job["labels"].values():
        assert re.fullmatch("[a-z0-9_-]{0,63}", value)
    proto = beam_runner_api_pb2.Pipeline.FromString(pipeline_of(launched.job, cloud))
    for each in proto.components.environments.values():
        assert IMAGE.encode() in each.payload


@pytest.mark.usefixtures("launched")
def test_what_is_staged_is_the_graph_and_needs_no_network(cloud: Cloud) -> None:
    names = [uri.removeprefix(f"gs://{cloud.bucket}/staging/") for uri in staged(cloud)]
    assert all(name.startswith("ads-monthly-1.") for name in names), names
    files = sorted(name.split("/")[-1] for name in names)
    assert "pipeline.pb" in files
    assert not [
        name for name in files if name.endswith((".whl", ".gz", "requirements.txt", ".tar"))
    ]


def test_nothing_secret_leaves_the_launcher(launched: Launched, cloud: Cloud) -> None:
    told = [launched.out, launched.err, json.dumps(launched.job)]
    kept = cloud.gcs.names(f"gs://{cloud.bucket}/runs/")
    files = [*staged(cloud).values(), *map(cloud.gcs.get, kept)]
    for secret in (TOKEN, SECRET):
        assert secret not in "".join(told)
        assert secret.encode() not in b"".join(files)


def rows(warehouse: Path) -> dict[str, Any]:
    """The tables, sorted, without what differs between two runs of the same month."""
    moments = {"started_at", "finished_at", "run_folder"}
    found = {}
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        for table in ("runs", "scores", "quarantine", "anomalies", "feature_statistics", "inputs"):
            frame = connection.execute(f"SELECT * FROM {table}").df()
            kept = frame[[name for name in frame.columns if name not in moments]]
            found[table] = sorted(map(repr, kept.itertuples(index=False, name=None)))
    return found


def test_the_submitted_graph_does_what_the_local_run_does(
    launched: Launched, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pipeline.pb").write_bytes(pipeline_of(launched.job, cloud))
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/support/run_staged.py"), "pipeline.pb"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | cloud.environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [json.loads(each) for each in done.stderr.splitlines() if '"event":"beam_' in each]
    assert (line["status"], line["severity"]) == ("PUBLISHED", "INFO")
    run_id, files = run_of(cloud)
    assert line["run_id"] == run_id
    assert line["seconds"] > 0
    assert {"summary.json", "manifest.json", "statistics.binpb"} <= set(files)
    ((path, post),) = cloud.hook.posts
    assert path == f"/services/{SECRET}"
    assert post["text"].startswith("*beam-jobs monthly 2026-09-01 PUBLISHED: ")
    assert SECRET not in done.stderr
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    calls.client.cache_clear()
    flags = [
        *parameters(cloud, tmp_path, "--slice=device", "--slice=category"),
        f"--runs={tmp_path}/runs",
    ]
    kept = [word for word in flags if not word.startswith(IN_TEMPLATES)]
    local = run_command("monthly", "--json", *kept)
    calls.client.cache_clear()
    assert local.code == 0, local.err
    assert (local.json["run_id"], local.json["rows"]) == (run_id, line["rows"])
    assert rows(tmp_path / "ads.duckdb") == rows(launched.folder / "ads.duckdb")


@pytest.mark.usefixtures("launched")
def test_a_launch_that_cannot_be_planned_is_told_as_a_failed_run(
    cloud: Cloud, tmp_path: Path
) -> None:
    before = len(cloud.dataflow.jobs)
    ads = f"gs://{cloud.bucket}/none/{{month}}/*.csv"
    done = cloud.launch(*parameters(cloud, tmp_path, f"--ads={ads}"))
    assert done.returncode == 2
    assert f"--ads {ads.format(month='2026-09')}: matches no file" in done.stderr
    (line,) = [json.loads(each) for each in done.stderr.splitlines() if each.startswith("{")]
    assert (line["job"], line["status"], line["severity"]) == ("monthly", "FAILED", "ERROR")
    assert "matches no file" in line["error"]
    assert len(cloud.dataflow.jobs) == before


@pytest.mark.usefixtures("launched")
def test_a_launch_with_nothing_to_do_submits_a_job_that_does_nothing(
    cloud: Cloud, tmp_path: Path
) -> None:
    """An empty queue is a success; a launch without a job would be none."""
    before, base = len(cloud.dataflow.jobs), f"gs://{cloud.bucket}"
    flags = [word for word in parameters(cloud, tmp_path) if not word.startswith(MONTHLY_ONLY)]
    cloud.gcs.put(f"{base}/queue/.keep", b"")
    done = cloud.launch(*flags, f"--queue={base}/queue/*.jsonl", job="requests")
    assert done.returncode == 0, done.stderr
    assert "nothing to answer" in done.stdout
    assert "FAILED" not in done.stderr
    assert len(cloud.dataflow.jobs) == before + 1
    proto = pipeline_of(cloud.dataflow.jobs[-1], cloud)
    transforms = beam_runner_api_pb2.Pipeline.FromString(proto).components.transforms.values()
    names = {transform.unique_name for transform in transforms}
    assert "Nothing to do" in names
    assert not [name for name in names if name.startswith(("Finalize", "Score", "Read"))]


@pytest.mark.usefixtures("launched")
def test_a_held_month_launched_again_is_no_failure(
    cloud: Cloud, demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for a person; an alert that a launch failed would say something else."""
    cloud.gcs.put_folder(demo / "ads/2026-10", f"gs://{cloud.bucket}/demo/ads/2026-10")
    flags = [word for word in parameters(cloud, tmp_path) if not word.startswith("--notify=")]
    flags = [word.replace("--month=2026-09", "--month=2026-10") for word in flags]
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    calls.client.cache_clear()
    here = [word for word in flags if not word.startswith(IN_TEMPLATES)]
    held = run_command("monthly", *here, "--slice=device", "--slice=category")
    calls.client.cache_clear()
    assert held.code == 3, held.err
    before = len(cloud.dataflow.jobs)
    done = cloud.launch(*flags)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(cloud.dataflow.jobs) == before + 1
    (line,) = [json.loads(each) for each in done.stderr.splitlines() if each.startswith("{")]
    assert (line["status"], line["error"]) == ("UNCHANGED", None)
    assert line["hold_reasons"]


@pytest.mark.usefixtures("launched")
def test_a_template_location_gets_the_job_s_description(cloud: Cloud, tmp_path: Path) -> None:
    """So the launcher asks for the job where it submits it itself."""
    before = len(cloud.dataflow.jobs)
    where = f"gs://{cloud.bucket}/staging/template_launches/1/job_object"
    done = cloud.launch(*parameters(cloud, tmp_path), f"--template_location={where}")
    assert done.returncode == 0, done.stderr
    assert len(cloud.dataflow.jobs) == before
    job = json.loads(cloud.gcs.get(where))
    assert job["labels"]["beam-jobs-period"] == "2026-09"
    assert pipeline_of(job, cloud)
