"""The accounts of docs/deploy.md at work on the emulators, with the grants of Terraform.

Before the emulators stands what refuses every call that an account's roles do not allow.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.storage import calls
from support.commands import Result, monthly_flags, run_command
from support.grants import Grant, all_grants
from support.queues import queue_flags
from support.servers.bigquery import PROJECT as PROJECT_ID
from support.servers.bigquery import BigQueryServer
from support.servers.dataflow import TOKEN, DataflowServer, MetadataServer
from support.servers.gcs import GcsServer
from support.servers.permission_front import Access, front, storage_front
from support.servers.permission_rules import of_bigquery, of_dataflow
from support.waiting import until

ROOT = Path(__file__).parents[2]
IMAGE = "europe-docker.pkg.dev/test-project/beam-jobs/monthly:1.0"
BUCKETS = ("data", "exchange", "runs", "staging")
WORKER = "beam-jobs-worker@test-project.iam.gserviceaccount.com"


@dataclass
class Cloud:
    """The emulators, with the demo's data where docs/deploy.md puts it.

    Attributes:
        needed: (account, permission, on what) that anybody needed since the cloud was made.
    """

    gcs: GcsServer
    bigquery: BigQueryServer
    dataflow: DataflowServer
    metadata: MetadataServer
    warehouse: str
    grants: frozenset[Grant] = field(default_factory=all_grants)
    needed: set[tuple[str, str, str]] = field(default_factory=set)
    jobs: dict[str, str] = field(default_factory=dict)

    def uri(self, bucket: str, path: str = "") -> str:
        return f"gs://{PROJECT_ID}-beam-jobs-{bucket}/{path}".rstrip("/")

    @contextlib.contextmanager
    def acting_as(self, account: str, without: Grant | None = None) -> Iterator["Person"]:
        """Everything in this process and its children is done by an account."""
        places = {f"bucket/{self.uri(bucket)[5:]}": bucket for bucket in BUCKETS}
        places[f"dataset/{self.warehouse.rpartition('.')[2]}"] = "ads"
        access = Access(
            account, self.grants - {without}, places, {WORKER: "worker"}, jobs=self.jobs
        )
        with (
            pytest.MonkeyPatch.context() as patch,
            storage_front(self.gcs.url, access) as storage,
            front(self.bigquery.host, of_bigquery, access) as bigquery,
            front(self.dataflow.url, of_dataflow, access) as dataflow,
        ):
            patch.setenv("STORAGE_EMULATOR_HOST", storage)
            patch.setenv("BIGQUERY_EMULATOR_HOST", bigquery)
            patch.setattr(calls, "policy", calls.RetryPolicy(first_pause=0.01, longest_pause=0.1))
            calls.client.cache_clear()
            try:
                yield Person(self, access, bigquery, dataflow)
            finally:
                calls.client.cache_clear()
                self.needed |= access.needed


@dataclass
class Person:
    """An account at work."""

    cloud: Cloud
    access: Access
    bigquery: str
    dataflow: str

    def run(self, *argv: str, expected: tuple[int, ...] = (0,)) -> Result:
        """`beam-jobs` with an exit code that is expected."""
        done = run_command(*argv)
        assert done.code in expected, f"{' '.join(argv[:2])}: {done.code}, {done.err}"
        return done

    def ask(self, *argv: str) -> Result:
        """A verb that needs no more than the warehouse."""
        return self.run(*argv, f"--warehouse={self.cloud.warehouse}")

    def month(self, month: str, *argv: str) -> list[str]:
        cloud = self.cloud
        flags = monthly_flags(
            Path("demo"),
            Path("unused"),
            f"--runs={cloud.uri('runs')}",
            f"--warehouse={cloud.warehouse}",
            *argv,
            month=month,
        )
        return ["monthly", *(f.replace("=demo", f"={cloud.uri('data', 'demo')}") for f in flags)]

    def queue(self, *argv: str) -> list[str]:
        cloud = self.cloud
        flags = queue_flags(
            Path("setup"),
            Path("unused"),
            f"--queue={cloud.uri('exchange', 'queue')}/*.jsonl",
            f"--responses={cloud.uri('exchange', 'responses')}",
            f"--runs={cloud.uri('runs')}",
            f"--warehouse={cloud.warehouse}",
            *argv,
        )
        return ["requests", *(f.replace("=setup", f"={cloud.uri('data', 'setup')}") for f in flags)]

    def launch(self, *command: str, job: str = "monthly") -> subprocess.CompletedProcess[str]:
        """A process of its own that gives Dataflow a job; it is ended by the first refusal."""
        given = [
            "--runner=DataflowRunner",
            f"--project={PROJECT_ID}",
            "--region=europe-west4",
            "--job_name=beam-jobs-monthly-1",
            f"--staging_location={self.cloud.uri('staging', 'staging')}",
            f"--temp_location={self.cloud.uri('staging', 'temp')}",
            f"--service_account_email={WORKER}",
            f"--dataflow_endpoint={self.dataflow}",
        ]
        environment = os.environ | self.cloud.metadata.environment
        environment |= {"PYTHONPATH": str(ROOT), "BEAM_JOBS_JOB": job, "BEAM_JOBS_IMAGE": IMAGE}
        with tempfile.TemporaryFile("w+") as told:
            process = subprocess.Popen(
                [sys.executable, *command, *given],
                stdout=subprocess.DEVNULL, stderr=told, env=environment, cwd="/",
            )  # fmt: skip
            until(lambda: process.poll() is not None or bool(self.access.refused), "the launch")
            if self.access.refused:
                process.send_signal(signal.SIGINT)  # Beam repeats refused calls for minutes
            code = process.wait()
            told.seek(0)
            return subprocess.CompletedProcess(command, code, "", told.read())

    def call(self, method: str, url: str, body: Any) -> Any:
        """A call of Google's REST, such as Cloud Scheduler sends."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        data = json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
