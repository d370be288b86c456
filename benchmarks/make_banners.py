"""Banners for the image cases: JPEG, with soft and hard edges, names as many as asked for.

Usage: python -m benchmarks.make_banners FOLDER N WIDTH HEIGHT
Every name is a file of its own, of up to 2,000 contents: nothing here recognises contents.
"""

import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

CONTENTS = 2_000


def picture(seed: int, width: int, height: int) -> bytes:
    """JPEG of random shapes."""
    random = np.random.default_rng(seed)
    patches = random.integers(0, 256, (height // 25 + 2, width // 25 + 2, 3), dtype=np.uint8)
    image = Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)
    image.paste((250, 20, 40), (width // 3, height // 3, width // 2, height // 2))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def main() -> None:
    """The command line."""
    folder, (number, width, height) = Path(sys.argv[1]), map(int, sys.argv[2:])
    folder.mkdir(parents=True, exist_ok=True)

    def write(place: int) -> None:
        (folder / f"{place:06d}.jpg").write_bytes(picture(place, width, height))

    with ThreadPoolExecutor() as threads:
        list(threads.map(write, range(min(number, CONTENTS))))
    for place in range(CONTENTS, number):
        os.link(folder / f"{place % CONTENTS:06d}.jpg", folder / f"{place:06d}.jpg")


if __name__ == "__main__":
    main()
