"""Times the jobs against peers on the same data, in turn; ratios are what counts.

Usage: python -m benchmarks [--rows N] [CASE]...; without a case all of them run.
Start-up and imports count on neither side; where they are the subject they are shown apart.
"""

import argparse
import itertools
import os
import shlex
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from beam_jobs.demo.data import MIN_ROWS
from benchmarks import images, requests
from benchmarks.images import Images
from benchmarks.timing import FEW, PYTHON, Timed, run


@dataclass(frozen=True)
class Bench:
    """Where the demo's model, schema and baseline lie, and where big data goes."""

    folder: str
    rows: int
    images: int
    other: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """Folder of the demo's model."""
        return f"{self.folder}/demo/models/ads"

    @property
    def schema(self) -> str:
        """The demo's schema."""
        return f"{self.folder}/demo/baseline/schema.pbtxt"

    @property
    def baseline(self) -> str:
        """The demo's baseline."""
        return f"{self.folder}/demo/baseline/statistics.binpb"

    def ads(self, rows: int) -> str:
        """A clean CSV of so many ads, made once."""
        path = f"{self.folder}/{rows}"
        file = Path(path, "training", "ads.csv")
        if file.exists():
            return str(file)
        if rows >= MIN_ROWS:
            # In a process of its own: the peak memory of a child starts at its parent's.
            make = f"from beam_jobs.demo.data import make_training as m; m({path!r}, {rows})"
            run("-c", make, is_timed=False)
            return str(file)
        file.parent.mkdir(parents=True)
        with open(self.ads(MIN_ROWS)) as stream:
            file.write_text("".join(itertools.islice(stream, rows + 1)))
        return str(file)

    @property
    def warehouse(self) -> str:
        """A warehouse of its own."""
        return f"duckdb:{self.folder}/ads.duckdb"

    def job(self, rows: int, *beam_options: str, interpreter: Sequence[str] = (PYTHON,)) -> Timed:
        """The job on a month that is new to an empty warehouse."""
        Path(self.folder, "ads.duckdb").unlink(missing_ok=True)
        return run(
            "-m", "beam_jobs", "monthly", "--month=2026-07", f"--ads={self.ads(rows)}",
            f"--model={self.model}", f"--schema={self.schema}", f"--runs={self.folder}/runs",
            f"--baseline={self.baseline}", "--key=ad_id",
            "--label=clicked", f"--warehouse={self.warehouse}", "--json",
            "--force", *beam_options, interpreter=interpreter,
        )  # fmt: skip

    def hand_loop(self, rows: int) -> Timed:
        """The peer: pandas and Keras in one loop."""
        return run(
            "-m", "benchmarks.hand_loop", self.ads(rows), f"--model={self.model}/1",
            f"--schema={self.schema}", f"--out={self.folder}/loop",
        )  # fmt: skip

    def usual_chain(self, rows: int) -> Timed:
        """The peer: TFDV's CSV statistics, then RunInference over tf.Example."""
        examples = f"{self.folder}/examples"
        if not os.path.exists(examples):
            run("-m", "benchmarks.example_model", f"{self.model}/1", examples, is_timed=False)
        return run(
            "-m", "benchmarks.usual_chain", self.ads(rows), f"--model={examples}",
            f"--schema={self.schema}", f"--out={self.folder}/chain",
        )  # fmt: skip


def against_hand_loop(bench: Bench) -> None:
    """The whole job against a straight loop that reads, counts, scores and writes: at most 2.

    Start-up (what ten rows take: the graph, the model, the warehouse) counts on neither side.
    """
    ratios = []
    for _ in range(3):
        ours, peer = bench.job(bench.rows), bench.hand_loop(bench.rows)
        start, peer_start = bench.job(FEW).seconds, bench.hand_loop(FEW).seconds
        ratios.append((ours.seconds - start) / (peer.seconds - peer_start))
        print(
            f"  job {ours}, start-up {start:.1f} s; hand loop {peer}, start-up {peer_start:.1f} s;"
            f" ratio {ratios[-1]:.2f}, with start-up {ours.seconds / peer.seconds:.2f}",
            flush=True,
        )
    print(f"  median ratio {statistics.median(ratios):.2f}")


def against_usual_chain(bench: Bench) -> None:
    """TFDV's CSV statistics, then tfx-bsl's RunInference over tf.Example: at least 25.

    Start-up counts on neither side, as against the hand loop.
    """
    ours, peer = bench.job(bench.rows), bench.usual_chain(bench.rows)
    start, peer_start = bench.job(FEW).seconds, bench.usual_chain(FEW).seconds
    ratio = (peer.seconds - peer_start) / (ours.seconds - start)
    print(
        f"  job {ours}, start-up {start:.1f} s; usual chain {peer}, start-up {peer_start:.1f} s;"
        f" {ratio:.1f} times faster, with start-up {peer.seconds / ours.seconds:.1f}"
    )


def ten_times(bench: Bench) -> None:
    """Ten times the rows: at most 1.2 times the memory and 1.5 times the hand loop."""
    small, big = bench.job(bench.rows), bench.job(10 * bench.rows)
    loop = bench.hand_loop(10 * bench.rows)
    print(
        f"  job {big}; with a tenth of the rows {small}; memory {big.peak_mb / small.peak_mb:.2f}"
        f" times; hand loop {loop}; ratio {big.seconds / loop.seconds:.2f}"
    )


def against_other_stack(bench: Bench) -> None:
    """The same month with the interpreter of --other, in turn; below 1 it is the quicker one."""
    for _ in range(3):
        here, there = (bench.job(bench.rows, interpreter=i) for i in ((PYTHON,), bench.other))
        start, its_start = (bench.job(FEW, interpreter=i) for i in ((PYTHON,), bench.other))
        ratio = (there.seconds - its_start.seconds) / (here.seconds - start.seconds)
        print(
            f"  here {here}, ten rows {start}; there {there}, ten rows {its_start}; ratio"
            f" {ratio:.2f}, process {there.whole / here.whole:.2f}, processor time"
            f" {there.cpu / here.cpu:.2f}, ten rows {its_start.whole / start.whole:.2f}",
            flush=True,
        )


def start_up(bench: Bench) -> None:
    """Ten rows, and a verb that only looks."""
    print(f"  run of {FEW} rows: {bench.job(FEW)}")
    warehouse = f"--warehouse={bench.warehouse}"
    for verb in (["runs"], ["anomalies"], ["query", "SELECT COUNT(*) FROM current_scores"]):
        taken = run("-m", "beam_jobs", *verb, warehouse, is_timed=False)
        print(f"  {verb[0]}: {taken.whole:.2f} s")


def banners(bench: Bench) -> None:
    """20,000 banners of 300 x 250 against a loop with a thread a core: at most 1.25."""
    images.against_loop(Images(bench.folder, bench.model, images.BANNER), bench.images)


def large_banners(bench: Bench) -> None:
    """The same with 1200 x 628."""
    images.against_loop(Images(bench.folder, bench.model, images.LARGE), bench.images)


def banners_memory(bench: Bench) -> None:
    """Five times the banners: the same peak memory."""
    images.memory(Images(bench.folder, bench.model, images.BANNER), bench.images)


def banners_cloud(bench: Bench) -> None:
    """Banners in an emulated Cloud Storage, 20 ms away."""
    images.cloud(Images(bench.folder, bench.model, images.BANNER), bench.images)


CASES: dict[str, Callable[[Bench], None]] = {
    "hand-loop": against_hand_loop,
    "images": banners,
    "images-cloud": banners_cloud,
    "images-large": large_banners,
    "images-memory": banners_memory,
    "requests": requests.against_request_loop,
    "requests-small": requests.small_files,
    "stacks": against_other_stack,
    "start-up": start_up,
    "ten-times": ten_times,
    "usual-chain": against_usual_chain,
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=20_000, help="ads of the image cases")
    parser.add_argument(
        "--other", default="", metavar="COMMAND",
        help="an interpreter of the other stack that sees the same folders, for the case stacks",
    )  # fmt: skip
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    args = parser.parse_args()
    if unknown := set(args.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    if "stacks" in args.cases and not args.other:
        parser.error("the case stacks needs --other")
    with tempfile.TemporaryDirectory(prefix="beam-jobs-bench-") as folder:
        bench = Bench(folder, args.rows, args.images, tuple(shlex.split(args.other)))
        images.tabular(folder, 20_000)
        print(f"{args.rows:,} ads x 13 columns", flush=True)
        for name in args.cases or (name for name in CASES if name != "stacks" or args.other):
            print(f"{name}: {(CASES[name].__doc__ or '').splitlines()[0]}", flush=True)
            CASES[name](bench)


if __name__ == "__main__":
    main()
