"""The peer of the image cases: a plain loop with a thread a core.

It reads each banner, decodes it once and computes the same features, then writes them to Parquet:
no checks of rows, no statistics, no model, no Beam.

Usage: python -m benchmarks.image_loop CSV --images FOLDER --out DIR
"""

import argparse
import json
import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from beam_jobs.images.features import Row, columns, features
from beam_jobs.images.inspect import Image, inspect
from beam_jobs.images.limits import ImageLimits

ROWS_AT_ONCE = 5_000


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv")
    for name in ("--images", "--out"):
        parser.add_argument(name, required=True)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    limits, folder = ImageLimits(), Path(args.images)

    def look(name: str) -> Row:
        image = inspect((folder / name).read_bytes(), name, limits)
        assert isinstance(image, Image)
        return features(image)

    started = time.monotonic()
    names = pa.csv.read_csv(args.csv).column("banner").to_pylist()
    writer = None
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        for first in range(0, len(names), ROWS_AT_ONCE):
            found = columns(list(threads.map(look, names[first : first + ROWS_AT_ONCE])))
            table = pa.table(found)
            if writer is None:
                writer = pq.ParquetWriter(os.path.join(args.out, "loop.parquet"), table.schema)
            writer.write_table(table)
    if writer is not None:
        writer.close()
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": len(names), "seconds": seconds, "peak_mb": peak}))


if __name__ == "__main__":
    main()
