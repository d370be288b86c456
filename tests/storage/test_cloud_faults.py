"""What a network and a busy service do to requests: nothing is lost, doubled or mixed."""

import dataclasses
import io
import os
import time
from collections.abc import Callable

import pytest

from beam_jobs import storage
from beam_jobs.errors import InputError, StorageError, unwrap
from beam_jobs.storage import calls
from support.servers.gcs import GcsServer

Make = Callable[[int], tuple[str, bytes]]
FAULTS = [("status", 429), ("status", 503), ("status", 500), ("status", 408), ("reset", 0)]


@pytest.fixture
def make(gcs: GcsServer) -> Make:
    def of(size: int) -> tuple[str, bytes]:
        data = os.urandom(size)
        gcs.put(gcs.uri("object"), data)
        return gcs.uri("object"), data

    return of


@pytest.mark.parametrize(("kind", "value"), FAULTS)
def test_every_call_outlives_passing_errors(
    gcs: GcsServer, make: Make, kind: str, value: int
) -> None:
    uri, data = make(3000)
    calls: tuple[tuple[str, Callable[[], bool | None]], ...] = (
        ("GET .*alt=media", lambda: storage.read_bytes(uri) == data),
        ("GET .*alt=media", lambda: storage.open_pinned(storage.info(uri)).read() == data),
        ("GET .*/o/object", lambda: storage.info(uri).size == 3000),
        ("GET .*/o\\?", lambda: len(storage.match(gcs.uri("*"))) == 1),
        ("POST .*/upload", lambda: storage.write_atomic(gcs.uri("new"), data)),
        ("GET .*testPermissions", lambda: storage.check_writable(gcs.uri("x"), "--x")),
        ("DELETE .*/o/new", lambda: storage.remove(gcs.uri("new"))),
    )
    for request, call in calls:
        gcs.clear()
        gcs.fault(request, kind, times=2, value=value)
        assert call() in (True, None), request
        assert gcs.faults_left() == 0
    assert gcs.names(gcs.uri()) == [uri]


def test_a_read_goes_on_where_it_broke_off(gcs: GcsServer, make: Make) -> None:
    uri, data = make(3_000_000)
    gcs.fault("GET .*alt=media", "cut", times=5, value=300_000)
    with storage.open_pinned(storage.info(uri)) as stream:
        assert stream.read() == data
    assert gcs.faults_left() == 0
    assert len(gcs.requests("GET .*alt=media")) == 6


def test_an_object_overwritten_while_a_read_broke_off_is_no_mixture(
    gcs: GcsServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, data = make(1_000_000)
    file = storage.info(uri)
    gcs.fault("GET .*alt=media", "cut", value=500_000)

    def meanwhile(_: float) -> None:
        gcs.put(uri, data[::-1])

    monkeypatch.setattr(time, "sleep", meanwhile)
    with (
        storage.open_pinned(file) as stream,
        pytest.raises(InputError, match=f"{uri}: was overwritten or deleted during the run"),
    ):
        stream.read()


def test_an_answer_that_does_not_come_is_asked_for_again(
    gcs: GcsServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, data = make(1000)
    hasty = dataclasses.replace(calls.policy, read_timeout=0.5)
    monkeypatch.setattr(calls, "policy", hasty)
    gcs.fault("GET .*alt=media", "stall", times=2)
    assert storage.read_bytes(uri) == data
    gcs.fault("POST .*/upload", "stall")
    storage.write_atomic(gcs.uri("new"), data)
    assert gcs.get(gcs.uri("new")) == data


@pytest.mark.parametrize("size", [1000, (17 << 20) + 3])
@pytest.mark.parametrize("kind", ["reset", "lost", "cut"])
def test_uploads_survive_broken_connections(gcs: GcsServer, size: int, kind: str) -> None:
    data = os.urandom(size)
    request = "PUT .*upload_id" if size > 1000 else "POST .*/upload"
    for skip in range(3 if size > 1000 else 1):
        gcs.clear()
        gcs.fault(request, kind, skip=skip)
        storage.write_atomic(gcs.uri("new"), data)
        assert gcs.get(gcs.uri("new")) == data
        assert gcs.faults_left() == 0


def test_a_lost_session_of_an_upload_starts_anew(gcs: GcsServer) -> None:
    data = os.urandom((17 << 20) + 3)
    gcs.fault("PUT .*upload_id", "status", value=410)
    gcs.fault("PUT .*upload_id", "status", value=404, skip=1)
    storage.write_atomic(gcs.uri("new"), data)
    assert gcs.get(gcs.uri("new")) == data
    assert len(gcs.requests("POST .*uploadType=resumable")) == 3


def test_an_answer_that_was_lost_makes_no_conflict(gcs: GcsServer) -> None:
    gcs.fault("POST .*/upload", "lost")
    assert storage.replace(gcs.uri("aliases.json"), b"{}", None)
    read = storage.info(gcs.uri("aliases.json"))
    gcs.fault("POST .*/upload", "lost")
    assert storage.replace(gcs.uri("aliases.json"), b"{1}", read)
    gcs.put(gcs.uri("answer"), b"x")
    gcs.fault("POST .*/upload.*ifGenerationMatch=0", "lost")
    assert storage.create(gcs.uri("out"), io.BytesIO(b"x")) in (True, False)
    assert gcs.get(gcs.uri("out")) == b"x"


@pytest.mark.parametrize(("kind", "value"), [("status", 503), ("reset", 0)])
def test_what_does_not_pass_is_one_clear_line(
    gcs: GcsServer, make: Make, monkeypatch: pytest.MonkeyPatch, kind: str, value: int
) -> None:
    uri, _ = make(1000)
    file = storage.info(uri)
    monkeypatch.setattr(calls, "policy", calls.RetryPolicy(0.01, 0.05, deadline=0.3))
    gcs.fault(".*", kind, times=1000, value=value)
    for call in (
        lambda: storage.read_bytes(uri),
        lambda: storage.open_pinned(file).read(),
        lambda: storage.match(gcs.uri("*")),
        lambda: storage.write_atomic(uri, b"new"),
        lambda: storage.write_atomic(uri, b"x" * (9 << 20)),
    ):
        with pytest.raises(StorageError, match="Cloud Storage did not answer") as raised:
            call()
        assert isinstance(raised.value, OSError)
        assert uri.rsplit("/", 1)[0] in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_request_that_is_refused_is_not_repeated(gcs: GcsServer, make: Make) -> None:
    uri, _ = make(10)
    gcs.fault("GET", "status", times=10, value=400)
    with pytest.raises(StorageError, match="refused the request \\(HTTP 400\\)"):
        storage.read_bytes(uri)
    assert len(gcs.requests("GET")) == 1


def test_the_error_of_a_worker_in_another_process_is_recognized() -> None:
    text = "Traceback ...\nbeam_jobs.errors.StorageError: gs://b/x: Cloud Storage did not answer"
    found = unwrap(RuntimeError(text))
    assert isinstance(found, StorageError)
    assert str(found) == "gs://b/x: Cloud Storage did not answer"
    again = unwrap(RuntimeError("outer"))
    assert again is None
