"""Times the monthly job against the hand-written loop, on the same data, in turn.

Usage: python -m benchmarks [ROWS] (default 1,000,000). Start-up and imports count on neither side.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from beam_jobs.demo.data import make_ads

ROUNDS = 3


def last_line(command: list[str], folder: str) -> dict[str, float]:
    """The JSON that a command ends with, and its peak memory (`wait4`, KiB on Linux)."""
    out = Path(folder, "out.json")
    with out.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    # Held is a result too: a month without a month before it has nothing to compare with.
    assert os.waitstatus_to_exitcode(status) in (0, 3), command
    result = json.loads(out.read_text().strip().splitlines()[-1])
    return {"seconds": result["seconds"], "peak_mb": usage.ru_maxrss / 1024}


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    python = sys.executable
    with tempfile.TemporaryDirectory(prefix="beam-jobs-bench-") as folder:
        demo = [python, "-m", "beam_jobs", "demo", f"--dir={folder}/demo", "--rows=20000"]
        subprocess.run(demo, check=True, cwd=folder, stdout=subprocess.DEVNULL)
        ads, made = make_ads(f"{folder}/big", rows, months=()).training, f"{folder}/demo"
        model, schema = f"{made}/models/ads", f"{made}/baseline/schema.pbtxt"
        job = [
            python, "-m", "beam_jobs", "monthly", "--month=2026-07", f"--ads={ads}",
            f"--model={model}", f"--schema={schema}", f"--runs={folder}/runs",
            f"--baseline={made}/baseline/statistics.binpb", "--key=ad_id", "--label=clicked",
            f"--warehouse=duckdb:{folder}/ads.duckdb", "--json", "--force",
        ]  # fmt: skip
        loop = [
            python, "-m", "benchmarks.hand_loop", ads, f"--model={model}/1",
            f"--schema={schema}", f"--out={folder}/loop",
        ]  # fmt: skip
        print(f"{rows:,} ads x 13 columns, {Path(ads).stat().st_size / 1e6:.0f} MB CSV")
        ratios = []
        for _ in range(ROUNDS):
            ours, peer = last_line(job, folder), last_line(loop, folder)
            ratios.append(ours["seconds"] / peer["seconds"])
            print(
                f"job {ours['seconds']:.1f} s, {ours['peak_mb']:.0f} MB; hand loop"
                f" {peer['seconds']:.1f} s, {peer['peak_mb']:.0f} MB; ratio {ratios[-1]:.2f}",
                flush=True,
            )
        print(f"median ratio {sorted(ratios)[ROUNDS // 2]:.2f}")


if __name__ == "__main__":
    main()
