"""A lock in Cloud Storage: one holder, and none that was killed."""

import itertools
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers.gcs import GcsServer
from waiting import PATIENCE, until

from beam_jobs import storage
from beam_jobs.storage import leases

SIGN = r"POST .*/upload.*ifGenerationMatch=[1-9]"
"""The request by which a holder shows that it lives."""


@pytest.fixture
def lock(gcs: GcsServer) -> Iterator[str]:
    yield gcs.uri("runs/r1/.lock")


def test_the_lock_is_an_object_while_it_is_held(gcs: GcsServer, lock: str) -> None:
    told: list[str] = []
    with storage.lock(gcs.uri("runs/r1"), told.append):
        assert "process" in json.loads(gcs.get(lock))["holder"]
    assert gcs.names(gcs.uri()) == []
    with pytest.raises(KeyError), storage.lock(gcs.uri("runs/r1"), told.append):
        raise KeyError
    assert gcs.names(gcs.uri()) == []
    assert told == []


def test_two_never_hold_it_at_once(gcs: GcsServer) -> None:
    inside, most, told = 0, 0, []
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
    assert all(f"{gcs.uri('r')}: process" in line and "waiting" in line for line in told)


def test_a_lock_without_a_sign_of_life_is_taken_over(
    gcs: GcsServer, lock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(step=20.0)
    terms = leases.Terms(lease=50, beat=0.2, poll=0.01, clock=lambda: next(ticks))
    monkeypatch.setattr(leases, "terms", terms)
    gcs.put(lock, json.dumps({"holder": "process 7 on elsewhere"}).encode())
    told: list[str] = []
    with storage.lock(gcs.uri("runs/r1"), told.append):
        assert json.loads(gcs.get(lock))["holder"] != "process 7 on elsewhere"
    assert told == [
        f"{gcs.uri('runs/r1')}: process 7 on elsewhere works on this run; waiting for it to end,"
        " or to give no sign of life for 50 s"
    ]


def test_signs_of_life_keep_it_for_longer_than_a_lease(
    gcs: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The waiter's clock goes on by a tenth of a lease with every sign that the holder tries."""

    def clock() -> float:
        return 5.0 * len(gcs.requests(SIGN))

    monkeypatch.setattr(leases, "terms", leases.Terms(50, beat=0.02, poll=0.01, clock=clock))
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
