"""What stands before an emulator and lets through only what an account may do.

    with front(bigquery.host, of_bigquery, access) as address: ...

It knows who calls by the address, as Google does by the token: one front an account.
"""

import contextlib
import http.client
import json
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support.grants import PROJECT, Grant, allows
from support.servers.permission_rules import Need, Request, of_storage, storage_object
from support.waiting import PATIENCE

Rules = Callable[[Request], list[Need]]


@dataclass
class Access:
    """What an account may do, and what it was seen doing.

    Attributes:
        account: that calls.
        grants: of all accounts.
        places: {what a call is about, as `bucket/NAME`: Terraform's name of it}.
        accounts: {e-mail: Terraform's name of the account}.
        needed: (account, permission, on what) of all calls, Terraform's names.
        refused: those of them that were not granted.
        jobs: {id of a BigQuery job: the account that began it}.
    """

    account: str
    grants: frozenset[Grant]
    places: Mapping[str, str]
    accounts: Mapping[str, str]
    needed: set[tuple[str, str, str]] = field(default_factory=set)
    refused: set[tuple[str, str, str]] = field(default_factory=set)
    jobs: dict[str, str] = field(default_factory=dict)

    def missing(self, needs: list[Need]) -> Need | None:
        """The first need that is not granted."""
        for need in needs:
            account = self.account if need.account is None else self.accounts[need.account]
            named = (account, need.permission, self._place(need.on))
            self.needed.add(named)
            if not allows(self.grants, *named):
                self.refused.add(named)
                return need
        return None

    def allows(self, permission: str, on: str) -> bool:
        """For calls that ask what the account may do."""
        named = (self.account, permission, self._place(on))
        self.needed.add(named)
        return allows(self.grants, *named)

    def _place(self, on: str) -> str:
        kind, _, name = on.partition("/")
        if kind in (PROJECT, "image"):
            return {"image": "images"}.get(kind, PROJECT)
        return self.accounts[name] if kind == "account" else self.places[on]


@contextlib.contextmanager
def storage_front(target: str, access: Access) -> Iterator[str]:
    """Before Cloud Storage; its address."""

    def exists(request: Request) -> bool:
        bucket, name = storage_object(request)
        quoted = urllib.parse.quote(name, safe="")
        path = f"/storage/v1/b/{bucket}/o/{quoted}"
        return bool(name) and _forward(target, "GET", path, {}, b"")[0] == 200

    def answer(request: Request, headers: dict[str, str]) -> _Answer:
        bucket, name = storage_object(request)
        on = f"bucket/{bucket}"
        if request.parts[-1] == "testPermissions":
            query = urllib.parse.urlsplit(request.path).query
            asked = [v for k, v in urllib.parse.parse_qsl(query) if k == "permissions"]
            return _json({"permissions": [p for p in asked if access.allows(p, on)]})
        need = access.missing(of_storage(request, request.method == "POST" and exists(request)))
        # Whether an object is missing is told to those who may list the others.
        if need is None and request.method == "GET" and name and not exists(request):
            need = access.missing([Need("storage.objects.list", on)])
        if need is not None:
            return _refusal(f"the account does not have {need.permission} access")
        return _forward(target, request.method, request.path, headers, request.body)

    with _serve(answer) as address:
        yield address


@contextlib.contextmanager
def front(target: str, rules: Rules, access: Access) -> Iterator[str]:
    """Before BigQuery or Dataflow; its address.

    Args:
        target: address of the emulator.
        rules: what a call needs.
        access: of the account that calls here.
    """

    def answer(request: Request, headers: dict[str, str]) -> _Answer:
        needs = rules(request)
        job = request.json.get("jobReference", {}).get("jobId")
        if job:
            access.jobs.setdefault(job, access.account)
        seen = re.search(r"/(?:jobs|queries)/([^/?]+)", request.path)
        if seen and access.jobs.get(seen[1], access.account) != access.account:
            # Who may not ask looks at the rows instead: nobody needs this.
            return _refusal(f"Access Denied: Permission bigquery.jobs.get denied on {seen[1]}")
        need = access.missing(needs)
        if need is not None:
            who = "" if need.account is None else f" for {need.account}"
            return _refusal(f"Access Denied: Permission {need.permission} denied{who}")
        return _forward(target, request.method, request.path, headers, request.body)

    with _serve(answer) as address:
        yield address


_Answer = tuple[int, dict[str, str], bytes]


def _json(body: Any, status: int = 200) -> _Answer:
    return status, {"content-type": "application/json"}, json.dumps(body).encode()


def _refusal(message: str) -> _Answer:
    errors = [{"reason": "accessDenied", "message": message, "domain": "global"}]
    return _json({"error": {"code": 403, "message": message, "errors": errors}}, 403)


def _forward(target: str, method: str, path: str, headers: dict[str, str], body: bytes) -> _Answer:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(target).netloc, timeout=PATIENCE)
    try:
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        answered = {name.lower(): value for name, value in response.getheaders()}
        return response.status, answered, response.read()
    finally:
        connection.close()


@contextlib.contextmanager
def _serve(answer: Callable[[Request, dict[str, str]], _Answer]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            for name in ("accept-encoding", "connection", "content-length", "host"):
                headers.pop(name, None)
            status, answered, content = answer(Request(self.command, self.path, body), headers)
            self.send_response(status)
            skipped = ("content-length", "transfer-encoding", "connection", "date", "server")
            for name, value in answered.items():
                if name not in skipped:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            pass  # a client that hung up

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
