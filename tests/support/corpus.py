"""A seeded corpus of images as the world sends them: mostly broken."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from beam_jobs.batch import Reason
from support.banners import ENCODINGS, GIF_BOMB, banner, encode, png

CORRUPT, TOO_LARGE, UNSUPPORTED = (
    Reason.IMAGE_CORRUPT,
    Reason.IMAGE_TOO_LARGE,
    Reason.IMAGE_UNSUPPORTED,
)
GOOD = None
"""Stands among the expected outcomes for "can be used"."""

ANYTHING = frozenset({GOOD, CORRUPT, TOO_LARGE, UNSUPPORTED})


@dataclass(frozen=True)
class Case:
    """One file: what was done to it, and the outcomes that are right."""

    what: str
    data: bytes
    expected: frozenset[Reason | None]


def corpus(seed: int = 0, flips: int = 150, cuts: int = 120) -> Iterator[Case]:
    """At least 2,000 cases with the default counts."""
    rng = np.random.default_rng(seed)
    for name in ENCODINGS:
        original = encode(banner(97, 61, seed=int(rng.integers(1 << 30))), name)
        # The name's suffix is wrong for all but PNG; that is no defect of the picture.
        yield Case(f"{name} whole", original, frozenset({GOOD}))
        yield Case(f"{name} with a tail", original + b"\0" * 37, frozenset({GOOD}))
        yield from _cuts(name, original, rng, cuts)
        yield from _flips(name, original, rng, flips)
        yield from _splices(name, original, rng, flips // 5)
    yield from _bombs(rng)
    yield from _strangers(rng)


def _cuts(name: str, data: bytes, rng: np.random.Generator, cuts: int) -> Iterator[Case]:
    """Truncation at every marker or chunk, around it, and at random places."""
    places = {m.start() for m in re.finditer(rb"\xff[\xc0-\xfe]|[A-Z]{4}|[,;!]", data)}
    near = {place + by for place in places for by in (-1, 0, 1, 2, 4)}
    ends = {len(data) - by for by in range(1, 13)}
    chosen = (
        rng.permutation(sorted(near))[:cuts].tolist() + rng.integers(len(data), size=cuts).tolist()
    )
    for length in sorted({*ends, *chosen, *range(34)}):
        if 0 <= length < len(data):
            yield Case(f"{name} cut to {length}", data[:length], frozenset({CORRUPT}))


def _flips(name: str, data: bytes, rng: np.random.Generator, flips: int) -> Iterator[Case]:
    """Single bits, more often in the header. Only PNG has checksums that must find all."""
    right = ANYTHING - {GOOD} if name == "png" else ANYTHING
    for number in range(flips):
        place = int(rng.integers(min(len(data), 700) if number % 2 else len(data)))
        broken = bytearray(data)
        broken[place] ^= 1 << int(rng.integers(8))
        yield Case(f"{name} bit of byte {place}", bytes(broken), right)


def _splices(name: str, data: bytes, rng: np.random.Generator, splices: int) -> Iterator[Case]:
    """Stretches replaced by noise, by zeros, or left out."""
    for number in range(splices):
        start, length = int(rng.integers(len(data))), int(rng.integers(1, 200))
        middle = (rng.bytes(length), bytes(length), b"")[number % 3]
        broken = data[:start] + middle + data[start + length :]
        yield Case(f"{name} splice at {start}", broken, ANYTHING)


def _bombs(rng: np.random.Generator) -> Iterator[Case]:
    large = frozenset({TOO_LARGE})
    jpeg, gif, webp, bmp = (
        bytearray(encode(banner(40, 30), n)) for n in ("jpeg", "gif", "webp", "bmp")
    )
    yield Case("GIF of 44 bytes", GIF_BOMB, large)
    for number in range(60):
        width, height = (int(side) for side in rng.integers(5_001, 65_536, 2))
        frame = jpeg.index(b"\xff\xc0")
        jpeg[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
        gif[6:10] = struct.pack("<HH", width, height)
        start = webp.index(b"\x9d\x01\x2a") + 3
        webp[start : start + 4] = struct.pack(
            "<HH", 5_001 + width % 11_000, 5_001 + height % 11_000
        )
        bmp[18:26] = struct.pack("<ii", width, -height if number % 2 else height)
        for kind, data in (("JPEG", jpeg), ("GIF", gif), ("WebP", webp), ("BMP", bmp)):
            yield Case(f"{kind} bomb {number}", bytes(data), large)
        yield Case(f"PNG bomb {number}", png(width, height, 8, 2, b"\0" * 1000), large)


def _strangers(rng: np.random.Generator) -> Iterator[Case]:
    texts = (
        b"not an image",
        b"<html><body>404",
        b"<svg xmlns='http://x'/>",
        b"II*\0\x08\0\0\0abcd",
    )
    for text in texts:
        yield Case(f"stranger {text[:8]!r}", text, frozenset({UNSUPPORTED}))
    yield Case("empty", b"", frozenset({CORRUPT}))
    for number in range(50):
        # The first byte is none that a format begins with.
        noise = b"\x01" + rng.bytes(int(rng.integers(1, 5_000)))
        yield Case(f"noise {number}", noise, frozenset({UNSUPPORTED}))
