"""Google's client, one for a project and process: a client holds connections and credentials."""

import atexit
import os
import threading

from beam_jobs.warehouse.bigquery.library import bigquery

EMULATOR = "BIGQUERY_EMULATOR_HOST"

_Key = tuple[int, str, str]
_clients: dict[_Key, bigquery.Client] = {}
_lock = threading.Lock()


def client_of(project: str) -> bigquery.Client:
    """The client of a project, made when it is first asked for; closed when the process ends.

    With BIGQUERY_EMULATOR_HOST set it asks there, without credentials.

    Raises:
        google.auth.exceptions.GoogleAuthError: there are no credentials.
    """
    host = os.environ.get(EMULATOR, "")
    key = (os.getpid(), project, host)  # a forked process must not share its parent's connections
    with _lock:
        if key not in _clients:
            _clients[key] = _make(project, host)
        return _clients[key]


def close_clients() -> None:
    """Closes the connections of this process; who asks again gets a new client."""
    with _lock:
        for key in [key for key in _clients if key[0] == os.getpid()]:
            _clients.pop(key).close()


def _make(project: str, emulator: str) -> bigquery.Client:
    if emulator:
        from google.auth.credentials import AnonymousCredentials

        return bigquery.Client(project, credentials=AnonymousCredentials())
    return bigquery.Client(project)


atexit.register(close_clients)
