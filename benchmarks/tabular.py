"""The demo's training data, model and baseline without its banners, which have cases of their own.

Usage: python -m benchmarks.tabular FOLDER ROWS
"""

import sys

from beam_jobs.demo.data import make_training
from beam_jobs.demo.model import train
from beam_jobs.demo.run import build_baseline


def main() -> None:
    """The command line."""
    folder, rows = sys.argv[1], int(sys.argv[2])
    training = make_training(folder, rows)
    model = train(training, f"{folder}/models/ads").model
    build_baseline(training, {"model": model, "schema": f"{folder}/baseline/schema.pbtxt"}, [])


if __name__ == "__main__":
    main()
