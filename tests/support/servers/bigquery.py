"""BigQuery on this machine: an emulator, and in front of it what the emulator lacks.

The emulator (bqemulator, in `.venv-bq`) answers Google's client library and runs the SQL. The
front is a proxy that adds what real BigQuery does and the emulator does not: a job's id works once
(409), a script sees query parameters, a transaction is isolated, and of two that change the same
data set at once one is aborted. It also fails on demand.
"""

import contextlib
import http.client
import itertools
import json
import os
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlglot

from support.servers.answering import (
    Answer,
    AnsweringServer,
    forward,
    google_error,
    json_answer,
)
from support.servers.bigquery_calls import Call, Fault, statements
from support.servers.bigquery_scripts import with_literals, with_one_column_each
from support.servers.ports import free_port
from support.waiting import PATIENCE, until

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-bq/bin/python"
EMULATOR = Path(__file__).with_name("bigquery_emulator.py")
HOME = ROOT / ".venv-bq/home"
PROJECT = "test-project"

ABORTED = "Transaction is aborted due to concurrent update against table {dataset}.runs"


@dataclass
class BigQueryServer:
    """Both servers, for one test session.

    Attributes:
        host: for BIGQUERY_EMULATOR_HOST.
        target: HOST:PORT of the emulator.
        faults: what goes wrong next; used up ones are removed.
        calls: all that clients asked for.
        done: ids of the load jobs and transactions that were carried out.
        sent: bytes of all answers.
    """

    host: str
    target: str
    faults: list[Fault] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    sent: int = 0
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _jobs: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    _uploads: dict[str, Call] = field(default_factory=dict)
    _views: dict[str, dict[str, Any]] = field(default_factory=dict)
    _turn: threading.RLock = field(default_factory=threading.RLock)
    _in_transaction: set[str] = field(default_factory=set)

    def clear(self) -> None:
        """Forgets faults and calls of the test before."""
        self.faults.clear()
        self.calls.clear()
        self.done.clear()
        self.sent = 0

    def queries(self) -> list[str]:
        """The SQL that was run, dry runs left out."""
        return [call.sql for call in self.calls if call.is_job and call.sql and not call.is_dry_run]

    def new_dataset(self) -> str:
        """PROJECT.DATASET of a data set that was just made, empty."""
        name = f"d{next(self._numbers)}"
        reference = {"projectId": PROJECT, "datasetId": name}
        path = f"/bigquery/v2/projects/{PROJECT}/datasets"
        status, _, answer = self.forward(
            "POST", path, {"Content-Type": "application/json"},
            json.dumps({"datasetReference": reference}).encode(),
        )  # fmt: skip
        assert status == 200, answer
        return f"{PROJECT}.{name}"

    def loads(self) -> list[str]:
        """Ids of the load jobs that were carried out."""
        return [job for job in self.done if "_staged_" in job]

    def transactions(self) -> list[str]:
        """Ids of the transactions that were carried out."""
        return [job for job in self.done if "_staged_" not in job]

    def copy_dataset(self, original: str) -> str:
        """A new data set with the tables of another; views are not copied."""
        name = self.new_dataset()
        project, _, short = original.partition(".")
        path = f"/bigquery/v2/projects/{project}/datasets/{short}/tables?maxResults=1000"
        listed = json.loads(self.forward("GET", path, {}, b"")[2]).get("tables", [])
        tables = [t["tableReference"]["tableId"] for t in listed if t["type"] == "TABLE"]
        script = ";".join(
            f"CREATE TABLE `{name}.{t}` AS SELECT * FROM `{original}.{t}`"
            for t in tables
            if not t.startswith("staged_")
        )
        body = json.dumps({"query": script, "useLegacySql": False}).encode()
        headers = {"Content-Type": "application/json"}
        path = f"/bigquery/v2/projects/{PROJECT}/queries"
        status, _, answer = self.forward("POST", path, headers, body)
        assert status == 200, answer
        return name

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """What the emulator answers."""
        return forward(self.target, method, path, headers, body)

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """What a client gets."""
        try:
            answered = self._answer(method, path, headers, body)
        except OSError as error:
            answered = google_error(502, "badGateway", str(error))
        self.sent += len(answered[2])
        return answered

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        is_json = "json" in headers.get("content-type", "") and body
        call = Call(method, path, json.loads(body) if is_json else {})
        upload = self._uploads.get(urllib.parse.urlsplit(path).query)
        call = upload or call
        self.calls.append(call)
        ends = upload is not None or not path.startswith("/upload/")
        fault = self._fault(call, begins=upload is None, ends=ends)
        answered = self._without_emulator(method, path, call, fault, upload)
        if answered is not None:
            return answered
        dataset = call.body.get("configuration", {}).get("query", {}).get("defaultDataset", {})
        name = dataset.get("datasetId", "")
        if call.is_transaction:
            if name in self._in_transaction:
                message = ABORTED.format(dataset=name)
                return self._job_failed(call, "invalidQuery", message)
            self._in_transaction.add(name)
        if call.sql.rstrip("; \n").count(";") and call.body["configuration"]["query"].get(
            "queryParameters"
        ):
            body = with_literals(call.body)
        if call.is_job and "ADD COLUMN" in call.sql:
            body = with_one_column_each(call.body)
        try:
            with self._turn:
                result = self._forward(method, path, headers, body, call, upload is not None)
        finally:
            if call.is_transaction:
                self._in_transaction.discard(name)
        if fault is not None:
            return google_error(fault.status, fault.reason, fault.message)
        return result

    def _without_emulator(
        self, method: str, path: str, call: Call, fault: "Fault | None", upload: Call | None
    ) -> Answer | None:
        """The answer where the emulator is not asked."""
        if fault is not None and fault.status != 200 and not fault.lost:
            return google_error(fault.status, fault.reason, fault.message)
        if call.is_job and call.job_id in self._jobs and not call.is_dry_run and upload is None:
            return google_error(409, "duplicate", f"Already Exists: Job {PROJECT}:US.{call.job_id}")
        known = self._jobs.get(path.split("?")[0].rsplit("/", 1)[-1])
        if method == "GET" and known:
            return self._of_job(path, known)
        if fault is not None and fault.status == 200:
            return self._job_failed(call, fault.reason, fault.message)
        if call.is_dry_run and len(statements(call.sql)) > 1:
            # The emulator would really run it.
            return json_answer({**call.body, "statistics": {"query": {"statementType": "SCRIPT"}}})
        return None

    def _forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes, call: Call, _sent: bool
    ) -> Answer:
        load = call.body["configuration"]["load"] if call.is_load else {}
        appends = load.get("writeDisposition") == "WRITE_APPEND"
        before = self._rows(load["destinationTable"]) if appends else 0
        status, answered, content = self.forward(method, path, headers, body)
        if status == 200 and "/tables" in path:
            return status, answered, self._with_view(call, content)
        if call.is_dry_run and status == 200:
            return status, answered, _with_statement_type(call, content)
        if not call.is_job or status != 200:
            return status, answered, content
        if "location" in answered:  # an upload begins: its bytes follow
            self._uploads[urllib.parse.urlsplit(answered["location"]).query] = call
            return status, answered, content
        if call.is_load or call.is_transaction:
            self.done.append(call.job_id)
        if not call.is_load:
            self._jobs[call.job_id] = None
            return status, answered, content
        job = json.loads(content)
        job["jobReference"]["jobId"] = call.job_id
        job["id"] = f"{PROJECT}:US.{call.job_id}"
        loaded = job.get("statistics", {}).get("load", {})
        if appends:  # the emulator reports all rows of the table
            loaded["outputRows"] = str(int(loaded.get("outputRows", 0)) - before)
        self._jobs[call.job_id] = job
        return json_answer(job)

    def _with_view(self, call: Call, content: bytes) -> bytes:
        """The emulator does not tell the text of a view."""
        table = json.loads(content)
        if "view" in call.body:
            self._views[table["id"]] = call.body["view"]
        if table.get("id") in self._views:
            table["view"] = self._views[table["id"]]
        return json.dumps(table).encode()

    def _rows(self, where: dict[str, str]) -> int:
        path = "/bigquery/v2/projects/{projectId}/datasets/{datasetId}/tables/{tableId}"
        status, _, content = self.forward("GET", path.format(**where), {}, b"")
        return int(json.loads(content).get("numRows", 0)) if status == 200 else 0

    def _fault(self, call: Call, begins: bool, ends: bool) -> Fault | None:
        """The first fault that picks the call; an upload is two requests, with one fault."""
        with self._turn:
            for fault in self.faults:
                late = fault.lost or fault.status == 200
                if (ends if late else begins) and fault.where(call):
                    fault.times -= 1
                    if fault.times == 0:
                        self.faults.remove(fault)
                    return fault
        return None

    def _job_failed(self, call: Call, reason: str, message: str) -> Answer:
        error = {"reason": reason, "message": message}
        job = call.body | {
            "id": f"{PROJECT}:US.{call.job_id}",
            "jobReference": {"projectId": PROJECT, "jobId": call.job_id, "location": "US"},
            "status": {"state": "DONE", "errorResult": error, "errors": [error]},
            "statistics": {},
        }
        self._jobs[call.job_id] = job
        return json_answer(job)

    def _of_job(self, path: str, job: dict[str, Any]) -> Answer:
        error = job["status"].get("errorResult")
        if "/queries/" in path and error:
            return google_error(400, error["reason"], error["message"])
        return json_answer(job)


def _with_statement_type(call: Call, content: bytes) -> bytes:
    """The emulator does not say that `SELECT ... UNION ALL SELECT ...` is a SELECT."""
    job = json.loads(content)
    if isinstance(statements(call.sql)[0], sqlglot.exp.Query):
        job["statistics"]["query"].setdefault("statementType", "SELECT")
    return json.dumps(job).encode()


@contextlib.contextmanager
def bigquery_server(folder: Path, gcs_root: Path | None = None) -> Iterator[BigQueryServer]:
    """Starts both; they end with the block.

    Args:
        folder: for the emulator's log.
        gcs_root: folder that stands for `gs://`: a bucket is a folder in it.
    """
    if not PYTHON.exists():
        raise FileNotFoundError(f"{PYTHON}: `make test` makes it")
    port = free_port()
    environment = {**os.environ, "HOME": str(HOME)}
    if gcs_root is not None:
        environment["BQEMU_GCS_LOCAL_ROOT"] = str(gcs_root)
    command = [PYTHON, EMULATOR, "start", "--ephemeral", "--rest-port", str(port)]
    with open(folder / "bqemulator.log", "wb") as log:
        process = subprocess.Popen(
            [*map(str, command), "--grpc-port", "0", "--log-level", "warning"],
            stdout=log, stderr=subprocess.STDOUT, env=environment,
        )  # fmt: skip
    try:
        _wait(port, process, folder / "bqemulator.log")
        server = BigQueryServer("", f"127.0.0.1:{port}")
        proxy = AnsweringServer(server.answer)
        server.host = f"http://127.0.0.1:{proxy.server_port}"
        try:
            yield server
        finally:
            proxy.stop()
    finally:
        process.kill()
        process.wait()


def _wait(port: int, process: subprocess.Popen[Any], log: Path) -> None:
    def answers() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"the BigQuery emulator does not start: {log.read_text()[-2000:]}")
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        return False

    until(answers, "the BigQuery emulator")
