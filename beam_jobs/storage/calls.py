"""Calls to Cloud Storage: one client a process, retries in one place, errors in our words."""

import errno
import functools
import http.client
import logging
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import google.auth
import requests
import urllib3
from google.api_core import exceptions as google_errors
from google.api_core.retry import Retry
from google.auth import exceptions as auth_errors
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage as gcs
from google.resumable_media import DataCorruption
from requests.adapters import HTTPAdapter

from beam_jobs.errors import StorageError, StorageTimeoutError, UsageError

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

EMULATOR = "STORAGE_EMULATOR_HOST"
VIEWER = "roles/storage.objectViewer"
USER = "roles/storage.objectUser"
ADDER = "roles/storage.objectCreator and roles/storage.objectViewer"

CONNECTIONS = 64
"""Kept open by a process; images are read by many threads at once."""

_TRANSIENT_CODES = frozenset({408, 429, 500, 502, 503, 504})
_TRANSIENT = (
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    DataCorruption,
    auth_errors.TransportError,
)


@dataclass(frozen=True)
class RetryPolicy:
    """How long, in seconds, passing errors are borne: 408, 429, 5xx, timeouts, resets.

    Attributes:
        first_pause: before the second attempt; each later one doubles, shortened at random, so
            that workers do not come back in step.
        longest_pause: at most.
        deadline: from the last success, or the last byte that arrived, to giving up.
        connect_timeout: for a connection.
        read_timeout: for the next byte of an answer.
    """

    first_pause: float = 0.5
    longest_pause: float = 30.0
    deadline: float = 300.0
    connect_timeout: float = 10.0
    read_timeout: float = 60.0


policy = RetryPolicy()
"""Of this process; tests set a hastier one."""


def timeouts() -> tuple[float, float]:
    """(seconds to connect, seconds between bytes) of one request."""
    return policy.connect_timeout, policy.read_timeout


@functools.cache
def client() -> gcs.Client:
    """The process's client, for all its threads: the emulator's without credentials, or Google's.

    Raises:
        UsageError: there are no application default credentials.
    """
    credentials: Any = AnonymousCredentials()
    if not os.environ.get(EMULATOR):
        try:
            credentials, _ = google.auth.default(scopes=gcs.Client.SCOPE)
        except auth_errors.DefaultCredentialsError as error:
            raise UsageError(
                "gs:// needs Google Cloud credentials: run `gcloud auth application-default login`"
                " or give the machine a service account"
            ) from error
    # The client would ask for each bucket's metadata, to label traces that nobody collects.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    made = gcs.Client(project=None, credentials=credentials)
    adapter = HTTPAdapter(pool_connections=4, pool_maxsize=CONNECTIONS)
    made._http.mount("https://", adapter)
    made._http.mount("http://", adapter)
    return made


# A forked child must not share its parent's connections.
os.register_at_fork(after_in_child=client.cache_clear)


class Attempts:
    """Pauses between attempts at one thing, until they have taken too long."""

    def __init__(self, uri: str, role: str, deadline: float | None = None) -> None:
        """Begins to be patient.

        Args:
            uri: what the calls are about.
            role: that a caller without permission needs.
            deadline: seconds, in place of the policy's.
        """
        self._uri, self._role = uri, role
        self._deadline = policy.deadline if deadline is None else deadline
        self.succeeded()

    def succeeded(self) -> None:
        """Something arrived: patience starts anew."""
        self._since, self._count = time.monotonic(), 0

    def failed(self, error: Exception) -> None:
        """Waits, where another attempt may help; else raises what the user should read."""
        if not is_transient(error):
            told = _explained(error, self._uri, self._role)
            if told is None:
                raise error
            raise told from error
        self._count += 1
        pause = min(policy.first_pause * 2 ** (self._count - 1), policy.longest_pause)
        pause *= random.uniform(0.5, 1.0)
        waited = time.monotonic() - self._since
        if waited + pause > self._deadline:
            raise StorageTimeoutError(
                f"Cloud Storage did not answer, {self._count} attempts in {waited:.0f} s, the last"
                f" one: {_line(error)}",
                self._uri,
            ) from error
        _log.info("%s: %s; trying again in %.1f s", self._uri, _line(error), pause)
        time.sleep(pause)


def call(
    function: Callable[[], _T], uri: str, *, role: str = VIEWER, deadline: float | None = None
) -> _T:
    """Calls until it succeeds.

    Raises:
        FileNotFoundError: there is no such object or bucket.
        google.api_core.exceptions.PreconditionFailed: the object is not of the generation asked
            for.
        StorageTimeoutError: no answer before the deadline.
        StorageError: no permission.
    """
    attempts = Attempts(uri, role, deadline)
    while True:
        try:
            return function()
        except google_errors.PreconditionFailed:
            raise
        except Exception as error:  # noqa: BLE001 (sorted out in `failed`)
            attempts.failed(error)


def is_transient(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, google_errors.GoogleAPICallError):
        return error.code in _TRANSIENT_CODES
    if isinstance(error, auth_errors.GoogleAuthError):
        return isinstance(error, auth_errors.TransportError) or bool(error.retryable)
    return isinstance(error, _TRANSIENT)


def is_lost_session(error: Exception) -> bool:
    """Whether an upload in parts cannot go on, but may start anew."""
    return isinstance(error, google_errors.GoogleAPICallError) and (
        error.code == 410 or (error.code == 404 and "upload_id=" in str(error))
    )


def retry_pages() -> Retry:
    """For listings: the library asks for a page again, not for all pages."""
    return Retry(
        predicate=is_transient,
        initial=policy.first_pause,
        maximum=policy.longest_pause,
        timeout=policy.deadline,
    )


def no_bucket(bucket: str, uri: str) -> FileNotFoundError:
    """The error of a bucket that does not exist."""
    return FileNotFoundError(errno.ENOENT, f"there is no bucket {bucket}", uri)


def _explained(error: Exception, uri: str, role: str) -> Exception | None:
    """What the user should read; None where the error says it itself."""
    if isinstance(error, google_errors.NotFound):
        if "bucket does not exist" in str(error):
            return no_bucket(uri.split("/")[2], uri)
        return FileNotFoundError(errno.ENOENT, "there is no such object", uri)
    if isinstance(error, google_errors.Forbidden | google_errors.Unauthorized):
        bucket = uri.split("/")[2]
        return StorageError(f"no permission; the account needs {role} on bucket {bucket}", uri)
    if isinstance(error, auth_errors.GoogleAuthError):
        return StorageError(f"the Google Cloud credentials do not work ({_line(error)})", uri)
    if isinstance(error, google_errors.RetryError):
        return StorageTimeoutError(f"Cloud Storage did not answer ({_line(error)})", uri)
    if isinstance(error, google_errors.GoogleAPICallError | requests.RequestException):
        return StorageError(f"Cloud Storage refused the request ({_line(error)})", uri)
    return None


def _line(error: Exception) -> str:
    if isinstance(error, google_errors.GoogleAPICallError):
        return f"HTTP {error.code}" if error.code else type(error).__name__
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
