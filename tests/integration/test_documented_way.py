"""docs/deploy.md is followed from its first command to its last, as far as emulators reach.

A shell runs the document's own blocks, in their order. `gcloud` copies in an emulated Cloud Storage
and runs what is launched here, as the worker account; `beam-jobs` is real, and acts as the launcher
account once the document has changed to its credentials. `terraform` and Cloud Build only note what
they are told.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.commands import run_command
from support.grants import all_grants
from support.queues import make_setup
from support.servers.bigquery import BigQueryServer
from support.servers.gcs import GcsServer
from support.servers.permission_front import Access, front, storage_front
from support.servers.permission_rules import of_bigquery

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PROJECT = "way-project"

PROGRAMS = {
    "beam-jobs": """
case "$*" in *DataflowRunner*) exit 0 ;; esac  # tests/integration/test_launch.py
if [ -n "${GOOGLE_APPLICATION_CREDENTIALS:-}" ]; then
  export STORAGE_EMULATOR_HOST=$LAUNCHER_STORAGE BIGQUERY_EMULATOR_HOST=$LAUNCHER_BIGQUERY
fi
unset GOOGLE_APPLICATION_CREDENTIALS
exec PYTHON -m beam_jobs "$@"
""",
    "gcloud": 'exec PYTHON SUPPORT/documented_cloud.py "$@"',
    "terraform": """
if [ -n "${GOOGLE_APPLICATION_CREDENTIALS:-}" ]; then
  echo "the launcher account cannot read Terraform's state" >&2
  exit 1
fi
printf 'regions/europe-west4/subnetworks/default'
""",
    "git": "echo 0123456789ab",
    "curl": "exit 0",
}


def make_programs(folder: Path) -> None:
    folder.mkdir()
    for name, text in PROGRAMS.items():
        here = text.replace("PYTHON", sys.executable).replace("SUPPORT", f"{ROOT}/tests/support")
        (folder / name).write_text(f"#!/bin/sh\n{here}\n")
        (folder / name).chmod(0o755)


def make_data(folder: Path) -> None:
    """What a team brings: training data, a model, a month, requests."""
    for name in ("training", "models", "ads/2026-10", "templates/terraform"):
        (folder / name).mkdir(parents=True)
    (folder / "templates/build.sh").write_text("#!/bin/sh\nexit 0\n")
    (folder / "templates/build.sh").chmod(0o755)
    make_setup(folder / "models")
    (folder / "models/schema.pbtxt").unlink()
    (folder / "models/model").rename(folder / "models/ads")
    rows = [(f"a{n}", n % 50 + 0.5, ("mobile", "desktop", "tv")[n % 3], n % 2) for n in range(600)]
    text = "ad_id,bid,device,clicked\n" + "".join("{},{},{},{}\n".format(*row) for row in rows)
    (folder / "training/1.csv").write_text(text)
    (folder / "ads/2026-10/1.csv").write_text(text)
    requests = [
        {"id": ad, "ad_id": ad, "bid": bid, "device": device} for ad, bid, device, _ in rows[:150]
    ]
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    (folder / "requests.jsonl").write_text(lines)


def script() -> str:
    text = (ROOT / "docs/deploy.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    assert blocks[0].startswith("export PROJECT=my-project ")
    return "set -eux\n" + "\n".join(blocks).replace("PROJECT=my-project", f"PROJECT={PROJECT}", 1)


def test_the_document_leads_to_a_published_month_and_an_answered_queue(
    gcs: GcsServer, bigquery: BigQueryServer, tmp_path: Path
) -> None:
    make_programs(tmp_path / "bin")
    make_data(tmp_path)
    places = {"dataset/ads": "ads"}
    for bucket in ("data", "exchange", "runs", "staging"):
        places[f"bucket/{gcs.new_bucket(f'{PROJECT}-beam-jobs-{bucket}')}"] = bucket
    made = json.dumps({"datasetReference": {"projectId": PROJECT, "datasetId": "ads"}}).encode()
    path = f"/bigquery/v2/projects/{PROJECT}/datasets"
    assert bigquery.forward("POST", path, {"Content-Type": "application/json"}, made)[0] == 200
    jobs: dict[str, str] = {}
    launcher = Access("launcher", all_grants(), places, {}, jobs=jobs)
    worker = Access("worker", all_grants(), places, {}, jobs=jobs)
    with (
        storage_front(gcs.url, launcher) as launcher_storage,
        front(bigquery.host, of_bigquery, launcher) as launcher_bigquery,
        storage_front(gcs.url, worker) as worker_storage,
        front(bigquery.host, of_bigquery, worker) as worker_bigquery,
    ):
        environment = os.environ | {
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "PYTHONPATH": f"{ROOT}:{ROOT}/tests",
            "LAUNCHER_STORAGE": launcher_storage,
            "LAUNCHER_BIGQUERY": launcher_bigquery,
            "WORKER_STORAGE": worker_storage,
            "WORKER_BIGQUERY": worker_bigquery,
        }
        done = subprocess.run(
            ["bash", "-c", script()],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    assert launcher.refused | worker.refused == set()
    found = run_command("runs", "--json", f"--warehouse=bigquery:{PROJECT}.ads")
    runs = {(run["job"], run["status"]): run for run in json.loads(found.out)}
    assert set(runs) == {("monthly", "PUBLISHED"), ("requests", "PUBLISHED")}
    assert runs["monthly", "PUBLISHED"]["rows_scored"] == 600
    answers = [json.loads(line) for line in done.stdout.splitlines() if '"score"' in line]
    assert [answer["status"] for answer in answers if "id" in answer] == ["OK"] * 150
