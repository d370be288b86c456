"""Banners of the demo's ads: a few for each campaign, or for several, shown by many ads."""

import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw

from beam_jobs import storage

SIZES = ((300, 250), (728, 90), (160, 600), (320, 100))
PER_CAMPAIGN = 4
FEW_ROWS = 20_000
FEW_BANNERS = 40
"""Fewer rows than that have so many banners, which several campaigns show."""

DARK = 0.4
"""Brightness of a dark banner, as a share of the original's."""

MISSING, CUT, HUGE, NO_IMAGE, PLACEHOLDER = (
    "c9999-1.jpg", "broken/cut.jpg", "broken/huge.gif", "broken/not-found.jpg", "placeholder.png"
)  # fmt: skip
"""What the last month names: not there, half uploaded, of 4 gigapixels, an error page, grey."""

_GIF_BOMB = (
    b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff"
    b"!\xf9\x04\0\0\0\0\0"
    b",\0\0\0\0\xff\xff\xff\xff\0\x02\x03D\x01\0\0;"
)
"""44 bytes that claim 65,535 x 65,535 pixels."""


@dataclass(frozen=True)
class Banners:
    """What was drawn.

    Attributes:
        folder: a value for --images.
        names: object[campaigns, banners of each].
        warmth: float64 of the same shape, -1 (blue) to 1 (red); warm banners are clicked more.
    """

    folder: str
    names: npt.NDArray[Any]
    warmth: npt.NDArray[Any]


def make_banners(folder: str, campaigns: int, rows: int, seed: int = 7) -> Banners:
    """Writes the banners, a dark one of each campaign that has its own, and the broken ones.

    Args:
        folder: where.
        campaigns: how many there are.
        rows: of the data that names them; few rows get few banners.
        seed: the same seed gives the same bytes.
    """
    each, drawn = (PER_CAMPAIGN, campaigns) if rows >= FEW_ROWS else (1, FEW_BANNERS)
    warmth = np.random.default_rng([seed, 100]).uniform(-1, 1, (drawn, each))
    names = np.array(
        [[_name(campaign, number) for number in range(each)] for campaign in range(drawn)],
        dtype=object,
    )

    def draw(campaign: int) -> None:
        for number in range(each):
            random = np.random.default_rng([seed, 101, campaign, number])
            picture = _picture(random, warmth[campaign, number])
            _save(folder, names[campaign, number], picture)
            if not number:
                _save(folder, dark_name(campaign), picture.point(lambda value: int(value * DARK)))

    with ThreadPoolExecutor() as threads:
        list(threads.map(draw, range(drawn)))
    whole = _picture(np.random.default_rng([seed, 102]), 0.0)
    _save(folder, PLACEHOLDER, Pillow.new("RGB", SIZES[0], (200, 200, 200)))
    broken: Mapping[str, bytes] = {
        CUT: _encoded(whole, "JPEG")[:1500],
        HUGE: _GIF_BOMB,
        NO_IMAGE: b"<!doctype html><title>404 Not Found</title>",
    }
    for name, data in broken.items():
        storage.write_atomic(storage.join(folder, name), data)
    shown = np.arange(campaigns) % drawn
    return Banners(folder, names[shown], warmth[shown])


def dark_name(campaign: int) -> str:
    """Name of a campaign's banner as it is in the month that is too dark."""
    return f"dark/c{campaign:04d}.jpg"


def _name(campaign: int, number: int) -> str:
    """One in ten is a PNG."""
    return f"c{campaign:04d}-{number + 1}.{'png' if (campaign + number) % 10 == 9 else 'jpg'}"


def _picture(random: np.random.Generator, warmth: float) -> Pillow.Image:
    """Soft patches around a colour, a block for the product and a button."""
    width, height = SIZES[int(random.integers(len(SIZES)))]
    base = np.array([150 + 80 * warmth, 140, 150 - 80 * warmth])
    patches = np.clip(base + random.normal(0, 40, (4, 5, 3)), 0, 255).astype(np.uint8)
    picture = Pillow.fromarray(patches).resize((width, height), Pillow.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    left, top = (int(random.uniform(0.1, 0.5) * side) for side in (width, height))
    colour = tuple(random.integers(0, 256, 3).tolist())
    pen.rectangle((left, top, left + width // 4, top + height // 3), fill=colour)
    pen.rounded_rectangle((width * 2 // 3, height * 2 // 3, width - 8, height - 8), 6, fill="white")
    return picture


def _save(folder: str, name: str, picture: Pillow.Image) -> None:
    data = _encoded(picture, "PNG" if name.endswith(".png") else "JPEG")
    storage.write_atomic(storage.join(folder, name), data)


def _encoded(picture: Pillow.Image, format_: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_, quality=80)
    return buffer.getvalue()
