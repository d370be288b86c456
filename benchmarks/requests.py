"""The queue job: many small request files against one, and against a straight loop."""

import csv
import itertools
import json
import shutil
import statistics
from pathlib import Path
from typing import Protocol

from benchmarks.timing import FEW, Timed, run

FILES = 10_000
IN_EACH = 10
NUMBERS = {"bid": float, "historic_ctr": float} | dict.fromkeys(
    ("user_age", "hour", "title_length", "is_video"), int
)


class Place(Protocol):
    """What is needed of a `Bench`."""

    @property
    def folder(self) -> str:
        """Where everything lies."""

    @property
    def rows(self) -> int:
        """How many."""

    @property
    def model(self) -> str:
        """Folder of the model."""

    @property
    def schema(self) -> str:
        """The schema."""

    @property
    def baseline(self) -> str:
        """The baseline."""

    def ads(self, rows: int) -> str:
        """A CSV file of so many ads."""


def make_queue(bench: Place, files: int, in_each: int) -> str:
    """A queue of so many request files, made once from ads; their pattern."""
    folder = Path(bench.folder, "queues", f"{files}x{in_each}")
    if not folder.exists():
        folder.mkdir(parents=True)
        with open(bench.ads(files * in_each), newline="") as stream:
            ads = csv.DictReader(stream)
            for number in range(files):
                lines = [json.dumps(_request(ad)) for ad in itertools.islice(ads, in_each)]
                (folder / f"{number:05d}.jsonl").write_text("\n".join(lines) + "\n")
    return f"{folder}/*.jsonl"


def _request(ad: dict[str, str]) -> dict[str, object]:
    values = {name: NUMBERS.get(name, str)(text) for name, text in ad.items() if text}
    values.pop("clicked", None)
    return {"id": values.pop("ad_id"), **values}


def answer(bench: Place, queue: str) -> Timed:
    """The job on a queue that is new to an empty warehouse."""
    place = Path(bench.folder, "answered")
    shutil.rmtree(place, ignore_errors=True)
    return run(
        "-m", "beam_jobs", "requests", f"--queue={queue}", f"--responses={place}/responses",
        f"--model={bench.model}", f"--schema={bench.schema}", f"--baseline={bench.baseline}",
        f"--runs={place}/runs", f"--warehouse=duckdb:{place}/ads.duckdb", "--key=ad_id",
        "--label=clicked", "--gate=PUBLISH", "--json",
    )  # fmt: skip


def small_files(bench: Place) -> None:
    """10,000 files of 10 requests each against one of 100,000: at most 3 times the seconds."""
    many, one = make_queue(bench, FILES, IN_EACH), make_queue(bench, 1, FILES * IN_EACH)
    ratios = []
    for _ in range(3):
        ours, peer = answer(bench, many), answer(bench, one)
        ratios.append(ours.seconds / peer.seconds)
        print(f"  many {ours}; one {peer}; ratio {ratios[-1]:.2f}", flush=True)
    print(f"  median ratio {statistics.median(ratios):.2f}")


def against_request_loop(bench: Place) -> None:
    """The whole job against a loop of orjson, the model and the answers' writing: at most 2.

    Start-up (what ten requests take) counts on neither side.
    """
    large, few = make_queue(bench, 1, bench.rows), make_queue(bench, 1, FEW)

    def loop(queue: str) -> Timed:
        (file,) = Path(queue).parent.iterdir()
        return run(
            "-m", "benchmarks.request_loop", str(file), f"--model={bench.model}/1",
            f"--schema={bench.schema}", f"--out={bench.folder}/loop-answers",
        )  # fmt: skip

    ratios = []
    for _ in range(3):
        ours, peer = answer(bench, large), loop(large)
        start, peer_start = answer(bench, few).seconds, loop(few).seconds
        ratios.append((ours.seconds - start) / (peer.seconds - peer_start))
        print(
            f"  job {ours}, start-up {start:.1f} s; loop {peer}, start-up {peer_start:.1f} s;"
            f" ratio {ratios[-1]:.2f}, with start-up {ours.seconds / peer.seconds:.2f}",
            flush=True,
        )
    print(f"  median ratio {statistics.median(ratios):.2f}")
