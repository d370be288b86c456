"""A lock in Cloud Storage: one holder, and none that was killed."""

import itertools
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beam_jobs import storage
from beam_jobs.errors import BusyError
from beam_jobs.runs.folder import RunFolder
from beam_jobs.storage import leases, locks
from beam_jobs.storage.holder import Holder, command_name, describe_holder
from support.servers.gcs import GcsServer
from support.waiting import PATIENCE, until

HOLDER = Holder("elsewhere", 7, "anna", "beam-jobs monthly", "2026-11-02T06:00:00+00:00")
HELD_BY = (
    "process 7 of anna on elsewhere (beam-jobs monthly) works here since 2026-11-02T06:00:00+00:00"
)

SIGN = r"POST .*/upload.*ifGenerationMatch=[1-9]"
"""The request by which a holder shows that it lives."""


@pytest.fixture
def lock(gcs: GcsServer) -> str:
    return gcs.uri("runs/r1/.lock")


def test_the_lock_is_an_object_while_it_is_held(gcs: GcsServer, lock: str) -> None:
    told: list[str] = []
    with storage.lock(gcs.uri("runs/r1"), told.append):
        assert json.loads(gcs.get(lock))["pid"] == os.getpid()
    assert gcs.names(gcs.uri()) == []
    with pytest.raises(KeyError), storage.lock(gcs.uri("runs/r1"), told.append):
        raise KeyError
    assert gcs.names(gcs.uri()) == []
    assert told == []


def test_two_never_hold_it_at_once(gcs: GcsServer) -> None:
    inside, most = 0, 0
    told: list[str] = []
    guard = threading.Lock()

    def work(_: int) -> None:
        nonlocal inside, most
        with storage.lock(gcs.uri("r"), told.append):
            with guard:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.05)
            with guard:
                inside -= 1

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert most == 1
    assert all(f"{gcs.uri('r')}: process {os.getpid()} of " in line for line in told)
    assert all("; waiting for it to end, or to give no sign of life for " in line for line in told)


def test_a_lock_without_a_sign_of_life_is_taken_over(
    gcs: GcsServer, lock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(step=20.0)
    terms = leases.Terms(lease=50, heartbeat=0.2, poll=0.01, clock=lambda: next(ticks))
    monkeypatch.setattr(leases, "terms", terms)
    gcs.put(lock, HOLDER.to_json().encode())
    told: list[str] = []
    with storage.lock(gcs.uri("runs/r1"), told.append):
        assert json.loads(gcs.get(lock))["host"] != "elsewhere"
    assert told == [
        f"{gcs.uri('runs/r1')}: {HELD_BY}; waiting for it to end, or to give no sign of life for"
        " 50 s, for at most 600 s"
    ]


def test_signs_of_life_keep_it_for_longer_than_a_lease(
    gcs: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The waiter's clock goes on by a tenth of a lease with every sign that the holder tries."""

    def clock() -> float:
        return 5.0 * len(gcs.requests(SIGN))

    monkeypatch.setattr(leases, "terms", leases.Terms(50, heartbeat=0.02, poll=0.01, clock=clock))
    order: list[str] = []
    told = threading.Event()

    def second() -> None:
        with storage.lock(gcs.uri("runs/r1"), lambda _: told.set()):
            order.append("second")

    with storage.lock(gcs.uri("runs/r1"), print):
        waiter = threading.Thread(target=second)
        waiter.start()
        assert told.wait(PATIENCE)
        gcs.fault("POST .*/upload", "status", times=3, value=503)
        began = clock()
        until(lambda: clock() > began + 1.5 * leases.terms.lease)
        order.append("first")
    waiter.join(PATIENCE)
    assert order == ["first", "second"]


def test_a_holder_that_lost_its_lock_leaves_the_new_holders(gcs: GcsServer, lock: str) -> None:
    with storage.lock(gcs.uri("runs/r1"), print):
        gcs.put(lock, b'{"holder": "another"}')
        tried = len(gcs.requests(SIGN))
        until(lambda: len(gcs.requests(SIGN)) > tried)
    assert gcs.get(lock) == b'{"holder": "another"}'


def test_a_lost_answer_does_not_make_a_process_wait_for_itself(gcs: GcsServer) -> None:
    told: list[str] = []
    gcs.fault("POST .*/upload", "lost")
    with storage.lock(gcs.uri("r"), told.append):
        pass
    assert told == []


class Clock:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(locks, "patience", locks.Patience(30.0, 10.0, clock, clock.sleep))
    monkeypatch.setattr(leases, "terms", leases.Terms(lease=PATIENCE, heartbeat=0.2, poll=10.0))
    return clock


@pytest.fixture(params=["local", "gs"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "r1")
    return str(request.getfixturevalue("gcs").uri("runs/r1"))


def test_a_wait_is_told_at_once_and_ends_as_busy(folder: str, clock: Clock) -> None:
    told: list[tuple[float, str]] = []
    caught: list[BaseException] = []

    def second() -> None:
        try:
            with storage.lock(folder, lambda line: told.append((clock.now, line))):
                raise AssertionError("the lock is held")
        except BusyError as error:
            caught.append(error)

    with storage.lock(folder, print):
        waiter = threading.Thread(target=second)
        waiter.start()
        waiter.join()
    ((when, line),) = told
    assert (when, clock.now >= 30.0) == (0.0, True)
    (error,) = caught
    holder = f"process {os.getpid()} of "
    assert f"{folder}: {holder}" in line
    assert "for at most 30 s" in line
    assert f"{folder}: busy: {holder}" in str(error)
    assert "did not end within 30 s" in str(error)
    assert getattr(error, "exit_code", None) == 1
    with storage.lock(folder, print):
        pass


@pytest.mark.usefixtures("clock")
def test_who_holds_a_lock_may_take_it_again(folder: str) -> None:
    """No order of calls makes a process wait for itself."""
    told: list[str] = []
    with RunFolder(folder).lock(told.append):
        with storage.lock(folder, told.append), storage.lock(folder, told.append):
            pass
        busy: list[bool] = []

        def other() -> None:
            with pytest.raises(BusyError), storage.lock(folder, lambda _: busy.append(True)):
                pass

        # The inner ones have ended: it still is this thread's alone.
        waiter = threading.Thread(target=other)
        waiter.start()
        waiter.join()
        assert busy == [True]
    assert told == []
    with storage.lock(folder, told.append):
        assert told == []


def test_the_holder_is_described_without_what_may_be_secret() -> None:
    assert describe_holder(HOLDER.to_json()) == HELD_BY
    for text in ("", "123", "{", '{"holder": "process 7"}', "[]"):
        assert describe_holder(text) == "another process works here"
    argv = [
        "/venv/bin/beam-jobs",
        "requests",
        "--notify=https://hooks.slack.com/T0/B0/x",
        "--force",
    ]
    assert command_name(argv) == "beam-jobs requests"
    assert command_name(["/x/beam_jobs/__main__.py", "approve", "3f2c"]) == "beam-jobs approve 3f2c"
    assert command_name(["launch.py", "--notify=x"]) == "launch.py"
    assert command_name([""]) == ""
