"""The image cases: the monthly job on ads that each have a banner of their own."""

import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import FEW, Timed, run

BANNER, LARGE = (300, 250), (1200, 628)
LATENCY_SECONDS = 0.02


@dataclass(frozen=True)
class Images:
    """Ads with banners of one size, in a folder, and the job and the loop on them.

    Attributes:
        folder: for everything.
        model: one that takes no image.
        size: width and height of the banners.
    """

    folder: str
    model: str
    size: tuple[int, int]

    @property
    def schema(self) -> str:
        """The schema with images."""
        return f"{self.folder}/images/baseline/schema.pbtxt"

    def banners(self, number: int) -> str:
        """A folder of so many banners, made once."""
        width, height = self.size
        path = f"{self.folder}/images/{width}x{height}-{number}"
        if not os.path.exists(path):
            run("-m", "benchmarks.make_banners", path, str(number), str(width), str(height),
                is_timed=False)  # fmt: skip
        return path

    def ads(self, number: int) -> str:
        """A CSV of so many ads, each naming the banner of its place."""
        path = Path(self.folder, "images", f"{number}.csv")
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            whole = f"{self.folder}/images/whole-{number}"
            make = f"from beam_jobs.demo.data import make_training as m; m({whole!r}, {number})"
            run("-c", make, is_timed=False)
            with open(f"{whole}/training/ads.csv") as source, open(path, "w") as target:
                target.write(f"{source.readline().rstrip()},banner\n")
                for place, line in enumerate(source):
                    target.write(f"{line.rstrip()},{place:06d}.jpg\n")
        return str(path)

    def prepare(self) -> None:
        """A schema that knows the banners."""
        if not os.path.exists(self.schema):
            run("-m", "beam_jobs", "baseline", f"--data={self.ads(1_000)}",
                f"--out={os.path.dirname(self.schema)}", f"--images={self.banners(1_000)}",
                "--key=ad_id", "--label=clicked", is_timed=False)  # fmt: skip

    def few(self, number: int) -> str:
        """The first ten of the ads: what a run takes that looks at next to nothing."""
        path = Path(self.folder, "images", f"few-{number}.csv")
        with open(self.ads(number)) as source:
            path.write_text("".join(source.readline() for _ in range(FEW + 1)))
        return str(path)

    def job(self, ads: str, images: str) -> Timed:
        """The job on ads with banners."""
        self.prepare()
        Path(self.folder, "images.duckdb").unlink(missing_ok=True)
        return run(
            "-m", "beam_jobs", "monthly", "--month=2026-07", f"--ads={ads}", f"--images={images}",
            f"--model={self.model}", f"--schema={self.schema}", f"--runs={self.folder}/runs",
            "--key=ad_id", "--label=clicked", f"--warehouse=duckdb:{self.folder}/images.duckdb",
            "--json", "--force",
        )  # fmt: skip

    def loop(self, ads: str, images: str) -> Timed:
        """The peer: one loop over ads and banners."""
        return run("-m", "benchmarks.image_loop", ads, f"--images={images}",
                   f"--out={self.folder}/loop")  # fmt: skip


def against_loop(images: Images, number: int) -> None:
    """The whole job against a loop that only looks, a thread a core: at most 1.25.

    Start-up (what ten ads take) counts on neither side. Cores are busy as many as processor time
    goes by in a second.
    """
    ads, banners, few = images.ads(number), images.banners(number), images.few(number)
    ratios = []
    for _ in range(3):
        ours, peer = images.job(ads, banners), images.loop(ads, banners)
        start, peer_start = images.job(few, banners), images.loop(few, banners)
        seconds = ours.seconds - start.seconds
        ratios.append(seconds / (peer.seconds - peer_start.seconds))
        busy = (ours.cpu - start.cpu) / seconds
        print(
            f"  {number:,} of {images.size[0]} x {images.size[1]}: job {ours}, start-up"
            f" {start.seconds:.1f} s, {seconds / number * 1e6:.0f} us an image, {busy:.2f} cores"
            f" busy; loop {peer}; ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"  median ratio {statistics.median(ratios):.2f}")


def memory(images: Images, number: int) -> None:
    """Five times the images: the same peak memory."""
    small, big = (images.job(images.ads(n), images.banners(n)) for n in (number, 5 * number))
    print(
        f"  {number:,}: {small}; {5 * number:,}: {big};"
        f" memory {big.peak_mb / small.peak_mb:.2f} times"
    )


def cloud(images: Images, number: int) -> None:
    """Images in an emulated Cloud Storage that answers 20 ms late, against the local disk.

    The emulator and its proxy work on the same cores: their processor time is part of it.
    """
    tests = Path(__file__).parents[1] / "tests"
    sys.path.append(str(tests))
    from servers.gcs import GcsServer

    ads, banners = images.ads(number), images.banners(number)
    local = images.job(ads, banners)
    with tempfile.TemporaryDirectory() as root:
        server = GcsServer(Path(root))
        try:
            server.new_bucket()
            server.put_folder(Path(banners), server.uri("banners"))
            os.environ["STORAGE_EMULATOR_HOST"] = server.url
            near = images.job(ads, server.uri("banners"))
            server.latency(LATENCY_SECONDS)
            far = images.job(ads, server.uri("banners"))
        finally:
            os.environ.pop("STORAGE_EMULATOR_HOST", None)
            server.stop()
    print(
        f"  {number:,} local {local}; emulated {near}; with {LATENCY_SECONDS * 1000:.0f} ms"
        f" latency {far}; latency costs {far.seconds / near.seconds:.2f} times"
    )


def tabular(folder: str, rows: int) -> None:
    """Training data, a model and a baseline without banners, in FOLDER/demo."""
    run("-m", "benchmarks.tabular", f"{folder}/demo", str(rows), is_timed=False)
