"""Jobs side by side, killed at any moment, while files come and change: each is answered once."""

import os
import random
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from beam_jobs import storage
from support.fault_server import FaultServer
from support.queues import (
    Request,
    assert_all_answered_once,
    good,
    published,
    put,
    queue_flags,
)

pytestmark = pytest.mark.integration

SEEDS, PARTS = 20, 4
AT_ONCE = 2
"""Schedules that run at the same time; each has two jobs or three."""

STEPS = 75
"""About as many as a run of these queues takes; see `fault_server.count_steps`."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    running = FaultServer(tmp_path_factory.mktemp("processes"))
    yield running
    running.stop()


@dataclass
class Producer:
    """Puts request files, and remembers all of them."""

    folder: Path
    chance: random.Random
    written: dict[tuple[str, str], Sequence[Request]] = field(default_factory=dict)

    def put(self, name: str) -> None:
        requests = good(f"{name}-{len(self.written)}", self.chance.randint(0, 8))
        file = put(self.folder, name, requests)
        self.written[file.uri, file.generation] = requests

    def waiting(self) -> set[tuple[str, str]]:
        found = storage.match(f"{self.folder}/queue/*")
        return {(file.uri, file.generation) for file in found}


@dataclass
class Watcher:
    """Reads answers as their readers do: what was there once never changes, nor goes away."""

    folder: Path
    seen: dict[str, bytes] = field(default_factory=dict)

    def look(self) -> None:
        if not self.folder.exists():
            return
        for path in self.folder.iterdir():
            if path.suffix != ".tmp":
                assert self.seen.setdefault(path.name, path.read_bytes()) == path.read_bytes()
        assert self.seen.keys() <= {path.name for path in self.folder.iterdir()}


def run_schedule(seed: int, server: FaultServer, setup: Path, folder: Path) -> None:
    """A random hour of a queue in a few seconds, then one undisturbed run."""
    chance = random.Random(seed)
    producer, watcher = Producer(folder, chance), Watcher(folder / "responses")
    for number in range(chance.randint(1, 4)):
        producer.put(f"{number}.jsonl" + chance.choice(["", ".gz"]))
    jobs: list[int] = []
    kill_at: dict[int, float] = {}
    starts = sorted(
        chance.choice([0.0, chance.uniform(0, 2)]) for _ in range(chance.choice([2, 3]))
    )
    changes = sorted(chance.uniform(0, 2.5) for _ in range(chance.randint(0, 3)))
    began = time.monotonic()
    while starts or changes or any(server.is_running(job) for job in jobs):
        now = time.monotonic() - began
        if starts and now >= starts[0]:
            starts.pop(0)
            way = chance.choice(["step", "moment", "moment", "whole"])
            step = chance.randrange(STEPS) if way == "step" else None
            jobs.append(server.start("requests", *queue_flags(setup, folder), die_after=step))
            if way == "moment":
                kill_at[jobs[-1]] = now + chance.uniform(0.3, 3)
        if changes and now >= changes[0]:
            changes.pop(0)
            names = [Path(uri).name for uri, _ in producer.waiting()]
            producer.put(chance.choice([f"new{len(producer.written)}.jsonl", *names]))
        for job in [job for job, moment in kill_at.items() if now >= moment]:
            del kill_at[job]
            if server.is_running(job):
                os.kill(job, signal.SIGKILL)
        watcher.look()
        time.sleep(0.02)
    for job in jobs:
        ended = server.wait(job)
        # 1: a request file was replaced while it was read.
        assert ended.code in (0, -9) or (ended.code == 1 and "during the run" in ended.err), ended
    done = server.run("requests", *queue_flags(setup, folder))
    assert done.code == 0, done.err
    watcher.look()
    assert_all_answered_once(folder, producer.written, producer.waiting())
    before = published(folder)
    idle = server.run("requests", *queue_flags(setup, folder), "--json")
    assert (idle.code, idle.json["status"]) == (0, "UNCHANGED"), idle.err
    assert published(folder) == before
    watcher.look()


@pytest.mark.parametrize("first", range(PARTS))
def test_every_request_is_answered_once_whatever_happens(
    server: FaultServer, setup: Path, tmp_path: Path, first: int
) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        schedules = {
            seed: pool.submit(run_schedule, seed, server, setup, tmp_path / str(seed))
            for seed in range(first, SEEDS, PARTS)
        }
    errors = {seed: done.exception() for seed, done in schedules.items()}
    failed = [
        f"schedule {seed}: {''.join(traceback.format_exception(error))}"
        for seed, error in errors.items()
        if error is not None
    ]
    assert not failed, "\n".join(failed)
