"""A Dataflow service and a metadata server for tests: what a launch talks to, over real HTTP.

The service takes jobs (jobs.create) and launches (flexTemplates.launch) and says that they are in
its `state` (jobs.get); it runs nothing.
The metadata server hands out a token, as the one of a Google VM does.
"""

import http.server
import json
import threading
from collections.abc import Callable
from typing import Any

TOKEN = "ya29.a-token-that-nobody-should-see"
PROJECT = "test-project"
REASON = "Startup of the worker pool failed: quota CPUS exceeded"
"""Why a job fails, with the state JOB_STATE_FAILED."""


class _Server(http.server.ThreadingHTTPServer):
    """Answers on a free port of this machine until `stop`."""

    def __init__(self, answer: Callable[[str, str, Any, bytes], tuple[int, str]]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                code, text = answer(self.command, self.path, self.headers, body)
                self.send_response(code)
                kind = "application/json" if text.startswith(("{", "[")) else "application/text"
                self.send_header("Content-Type", kind)
                self.send_header("Metadata-Flavor", "Google")
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = handle_any

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class DataflowServer:
    """Takes jobs.

    Attributes:
        url: for --dataflow_endpoint.
        jobs: the bodies of jobs.create, parsed, with `"size"`, the bytes of the request.
        launches: the bodies of flexTemplates.launch, parsed.
        state: of every job, once it was made.
    """

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.launches: list[dict[str, Any]] = []
        self.state = "JOB_STATE_PENDING"
        self._server = _Server(self._answer)
        self.url = f"http://localhost:{self._server.server_port}"  # Beam takes no other
        self.stop = self._server.stop

    def _answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, str]:
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, json.dumps({"error": {"code": 401, "message": "no token"}})
        where = path.split("?", 1)[0].strip("/").split("/")
        if where[-1] == "flexTemplates:launch":
            self.launches.append(json.loads(body))
            return 200, json.dumps({"job": {"id": f"launch-{len(self.launches)}"}})
        if where[-1] == "messages" and self.state == "JOB_STATE_FAILED":
            error = {
                "id": "1",
                "time": "2026-11-01T00:00:00.000Z",
                "messageImportance": "JOB_MESSAGE_ERROR",
                "messageText": f"Traceback (most recent call last):\n{REASON}",
            }
            return 200, json.dumps({"jobMessages": [error]})
        if where[-1] in ("messages", "metrics"):
            return 200, "{}"
        if where[:2] != ["v1b3", "projects"] or "jobs" not in where:
            return 404, json.dumps({"error": {"code": 404, "message": f"no {path}"}})
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
        return 200, json.dumps(described)


class MetadataServer:
    """Application default credentials for processes that have `environment`."""

    def __init__(self) -> None:
        self._server = _Server(self._answer)
        self.stop = self._server.stop
        self.environment = {
            "GCE_METADATA_HOST": self._server.address,
            "GCE_METADATA_IP": self._server.address,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
        }

    def _answer(self, _: str, path: str, __: Any, ___: bytes) -> tuple[int, str]:
        account = {"aliases": ["default"], "email": "launcher@test-project", "scopes": ["all"]}
        if path.startswith("/computeMetadata/v1/project/project-id"):
            return 200, PROJECT
        if "/token" in path:
            token = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
            return 200, json.dumps(token)
        if path.startswith("/computeMetadata/v1/instance/service-accounts/"):
            return 200, json.dumps(account)
        return (404, "none") if "universe" in path else (200, "ok")
