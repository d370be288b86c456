"""A Dataflow service and a metadata server for tests: what a launch talks to, over real HTTP.

The service takes jobs (jobs.create) and launches (flexTemplates.launch) and says that they are in
its `state` (jobs.get); it runs nothing.
The metadata server hands out a token, as the one of a Google VM does.
"""

import json
from typing import Any

from support.servers.answering import Answer, AnsweringServer, google_error, json_answer

TOKEN = "ya29.a-token-that-nobody-should-see"
PROJECT = "test-project"
REASON = "Startup of the worker pool failed: quota CPUS exceeded"
"""Why a job fails, with the state JOB_STATE_FAILED."""


class DataflowServer:
    """Takes jobs.

    Attributes:
        url: for --dataflow_endpoint.
        jobs: the bodies of jobs.create, parsed, with `"size"`, the bytes of the request.
        state: of every job, once it was made.
    """

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.state = "JOB_STATE_PENDING"
        self._server = AnsweringServer(self._answer)
        self.url = f"http://localhost:{self._server.server_port}"  # Beam takes no other
        self.stop = self._server.stop

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return google_error(401, "authError", "no token")
        where = path.split("?", 1)[0].strip("/").split("/")
        if where[-1] == "flexTemplates:launch":
            return json_answer({"job": {"id": "launch-1"}})
        if where[-1] == "messages" and self.state == "JOB_STATE_FAILED":
            error = {
                "id": "1",
                "time": "2026-11-01T00:00:00.000Z",
                "messageImportance": "JOB_MESSAGE_ERROR",
                "messageText": f"Traceback (most recent call last):\n{REASON}",
            }
            return json_answer({"jobMessages": [error]})
        if where[-1] in ("messages", "metrics"):
            return json_answer({})
        if where[:2] != ["v1b3", "projects"] or "jobs" not in where:
            return google_error(404, "notFound", f"no {path}")
        if method == "POST" and where[-1] == "jobs":
            self.jobs.append(json.loads(body) | {"size": len(body)})
        job, is_new = self.jobs[-1], method == "POST"
        described = {
            "id": f"2026-11-01_00_00_00-{len(self.jobs)}",
            "projectId": where[2],
            "name": job["name"],
            "location": where[4] if "locations" in where else "",
            "currentState": "JOB_STATE_PENDING" if is_new else self.state,
            "createTime": "2026-11-01T00:00:00.000000Z",
        }
        return json_answer(described)


class MetadataServer:
    """Application default credentials for processes that have `environment`."""

    def __init__(self) -> None:
        self._server = AnsweringServer(self._answer)
        self.stop = self._server.stop
        address = f"127.0.0.1:{self._server.server_port}"
        self.environment = {
            "GCE_METADATA_HOST": address,
            "GCE_METADATA_IP": address,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
        }

    def _answer(self, _: str, path: str, __: dict[str, str], ___: bytes) -> Answer:
        if path.startswith("/computeMetadata/v1/project/project-id"):
            return _metadata(PROJECT)
        if "/token" in path:
            return _metadata({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})
        if path.startswith("/computeMetadata/v1/instance/service-accounts/"):
            email = "launcher@test-project"
            return _metadata({"aliases": ["default"], "email": email, "scopes": ["all"]})
        return _metadata("none", 404) if "universe" in path else _metadata("ok")


def _metadata(body: str | dict[str, Any], status: int = 200) -> Answer:
    kind, text = ("text", body) if isinstance(body, str) else ("json", json.dumps(body))
    headers = {"content-type": f"application/{kind}", "metadata-flavor": "Google"}
    return status, headers, text.encode()
