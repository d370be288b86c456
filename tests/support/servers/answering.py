"""A server whose answers are a function's, and asking another one: what proxies of tests share."""

import contextlib
import http.client
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support.waiting import PATIENCE

Answer = tuple[int, dict[str, str], bytes]
"""(status, headers in lower case, body)."""

Answering = Callable[[str, str, dict[str, str], bytes], Answer]
"""(method, path with query, headers in lower case, body) -> the answer."""

_PER_CONNECTION = ("content-length", "transfer-encoding", "connection", "date", "server")


class AnsweringServer(ThreadingHTTPServer):
    """Answers on a free port of this machine until `stop`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Answering) -> None:
        super().__init__(("127.0.0.1", 0), _handler(answer))
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


def _handler(answer: Answering) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            for name in ("accept-encoding", "connection", "content-length"):
                headers.pop(name, None)
            status, answered, content = answer(self.command, self.path, headers, body)
            # A client may have been killed by its test.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(status)
                for name, value in answered.items():
                    if name.lower() not in _PER_CONNECTION:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def forward(host: str, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
    """What the server at `HOST:PORT` answers."""
    connection = http.client.HTTPConnection(host, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answered = {name.lower(): value for name, value in response.getheaders()}
        return response.status, answered, response.read()
    finally:
        connection.close()


def json_answer(body: Any, status: int = 200) -> Answer:
    return status, {"content-type": "application/json"}, json.dumps(body).encode()


def google_error(status: int, reason: str, message: str) -> Answer:
    """As Google words errors."""
    first = {"reason": reason, "message": message, "domain": "global"}
    return json_answer({"error": {"code": status, "message": message, "errors": [first]}}, status)
