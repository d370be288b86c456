"""A webhook for tests, over real HTTP."""

import http.server
import json
import threading
from typing import Any


class WebhookServer(http.server.ThreadingHTTPServer):
    """Answers with the next of `answers` (204 when there is no more; "reset" breaks off).

    Attributes:
        url: without a path; every path is taken.
        posts: (path, body) of each call.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers: list[int | str] = []
        self.posts: list[tuple[str, Any]] = []
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: WebhookServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, json.loads(body)))
        answer = self.server.answers.pop(0) if self.server.answers else 204
        if answer == "reset":
            self.close_connection = True
            return
        self.send_response(int(answer))
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass
