"""A Cloud Storage for tests: real HTTP, real files, faults on demand.

gcs.uri("ads/a.csv")              a URI in the test's own bucket
gcs.put(uri, b"...")              and get, names, put_folder: past the proxy, never a fault
gcs.fault("GET .*a.csv", "cut", value=1000)
gcs.requests("GET .*a.csv")       what was asked through the proxy since the last `clear`
"""

import json
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from support.waiting import PATIENCE


class GcsServer:
    """The server, and the bucket that the running test uses.

    Attributes:
        url: for STORAGE_EMULATOR_HOST.
        root: local folder with a folder a bucket, for emulators that read the same files.
        bucket: name of the test's bucket.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("gcs_server.py")), str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        addresses = json.loads(self._process.stdout.readline())
        self.url, self._backend = addresses["url"], addresses["backend"]
        self.bucket, self._buckets = "", 0

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)

    def new_bucket(self, name: str | None = None) -> str:
        """Makes a bucket, of a new name unless one is given, and uses it from now on."""
        self._buckets += 1
        self.bucket = name or f"bucket-{os.getpid()}-{self._buckets}"
        self._ask("POST", "/storage/v1/b?project=test", json.dumps({"name": self.bucket}).encode())
        return self.bucket

    def uri(self, name: str = "") -> str:
        return f"gs://{self.bucket}/{name}".rstrip("/")

    def put(self, uri: str, data: bytes) -> None:
        bucket, name = _split(uri)
        quoted = urllib.parse.quote(name, safe="")
        self._ask("POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quoted}", data)

    def put_folder(self, folder: Path, uri: str) -> None:
        """Copies a local folder."""
        paths = [path for path in folder.rglob("*") if path.is_file()]

        def put(path: Path) -> None:
            self.put(f"{uri}/{path.relative_to(folder).as_posix()}", path.read_bytes())

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, paths))

    def get(self, uri: str) -> bytes:
        bucket, name = _split(uri)
        quoted = urllib.parse.quote(name, safe="")
        return self._ask("GET", f"/download/storage/v1/b/{bucket}/o/{quoted}?alt=media")

    def delete(self, uri: str) -> None:
        bucket, name = _split(uri)
        self._ask("DELETE", f"/storage/v1/b/{bucket}/o/{urllib.parse.quote(name, safe='')}")

    def names(self, uri: str) -> list[str]:
        """URIs of all objects whose names begin like this one's."""
        bucket, prefix = _split(uri)
        quoted = urllib.parse.quote(prefix, safe="")
        listed = json.loads(self._ask("GET", f"/storage/v1/b/{bucket}/o?prefix={quoted}"))
        return sorted(f"gs://{bucket}/{item['name']}" for item in listed.get("items", ()))

    def fault(self, match: str, kind: str, times: int = 1, skip: int = 0, value: float = 0) -> None:
        """The next requests that match go wrong.

        Args:
            match: searched in `METHOD /path?query`, percent signs decoded.
            kind: `status` (answered with code `value`), `reset` (the connection breaks at once),
                `cut` (behind `value` bytes of the answer), `lost` (done, but the answer never
                comes), `stall` (done when the client has given up; the answer never comes).
            times: so many requests.
            skip: so many that match go through before.
            value: what `kind` says.
        """
        self._control(do="fault", match=match, kind=kind, times=times, skip=skip, value=value)

    def faults_left(self) -> int:
        return sum(self._control(do="look")["left"])

    def deny(self, *permissions: str, bucket: str | None = None) -> None:
        """Takes `create`, `delete`, `get` or `list` of objects away."""
        self._control(do="deny", bucket=bucket or self.bucket, permissions=permissions)

    def latency(self, seconds: float) -> None:
        """Every answer comes so much later."""
        self._control(do="latency", seconds=seconds)

    def clear(self) -> None:
        """No faults, nothing denied, no latency, an empty log."""
        self._control(do="clear")

    def requests(self, match: str = "") -> list[str]:
        """`METHOD /path?query` of what came through the proxy."""
        return [line for line in self._control(do="look")["log"] if re.search(match, line)]

    def _control(self, **change: Any) -> Any:
        data = json.dumps(change).encode()
        with urllib.request.urlopen(f"{self.url}/_control", data, timeout=PATIENCE) as answer:
            return json.load(answer)

    def _ask(self, method: str, path: str, data: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"{self._backend}{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            found: bytes = answer.read()
            return found


def _split(uri: str) -> tuple[str, str]:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name
