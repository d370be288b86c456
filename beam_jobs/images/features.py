"""Features of an image: numbers and a hash that join the row as ordinary columns.

All but format, bytes, width, height, aspect ratio and frames are computed on the canonical
version (`inspect.Image.canonical`), laid over white where it is transparent. Sums are sums of
integers in float64 and so exact: the same bytes give the same features on every machine.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image as Pillow

from beam_jobs.images.inspect import CANONICAL_SIDE, Image
from beam_jobs.images.table import IMAGE_FEATURES

Row = tuple[str | int | float, ...]
"""One image's values, in the order of IMAGE_FEATURES."""


def features(image: Image) -> Row:
    """The features of one image, in the order of IMAGE_FEATURES."""
    colour, transparency = _over_white(image.canonical)
    luma = colour.convert("L")
    brightness, contrast = _mean_and_deviation(luma)
    return (
        image.format.value,
        image.num_bytes,
        image.width,
        image.height,
        image.width / image.height,
        image.frames,
        brightness / 255,
        contrast / 255,
        sharpness(np.asarray(luma)),
        colourfulness(colour),
        transparency,
        perceptual_hash(luma),
    )


def columns(rows: Sequence[Row | None]) -> dict[str, pa.Array]:
    """Name -> Arrow column of len(rows) values; null in every column for a row without image."""
    present = [row is not None for row in rows]
    empty: tuple[None, ...] = (None,) * len(IMAGE_FEATURES)
    by_column = zip(*(row or empty for row in rows), strict=True) if any(present) else None
    values = by_column or [[None] * len(rows) for _ in IMAGE_FEATURES]
    return {
        spec.feature.name: pa.array(list(column), spec.feature.arrow)
        for spec, column in zip(IMAGE_FEATURES, values, strict=True)
    }


def _over_white(image: Pillow.Image) -> tuple[Pillow.Image, float]:
    """(RGB, share of transparency)."""
    if image.mode == "RGB":
        return image, 0.0
    alpha = image.getchannel("A")
    transparency = 1 - _mean_and_deviation(alpha)[0] / 255
    white = Pillow.new("RGB", image.size, (255, 255, 255))
    white.paste(image.convert("RGB"), mask=alpha)
    return white, transparency


_LEVELS = np.arange(256, dtype=np.float64)


def _mean_and_deviation(grey: Pillow.Image) -> tuple[float, float]:
    counts = np.array(grey.histogram(), dtype=np.float64)
    total = counts.sum()
    mean = (counts @ _LEVELS) / total
    squares = (counts @ (_LEVELS * _LEVELS)) / total
    return float(mean), float(np.sqrt(max(0.0, squares - mean * mean)))


def sharpness(luma: npt.NDArray[Any]) -> float:
    """Variance of the Laplacian of uint8[h, w], border pixels left out; 0.0 below 3 x 3."""
    if min(luma.shape) < 3:
        return 0.0
    signed = luma.astype(np.int16)
    laplacian = signed[1:-1, 1:-1] * np.int16(-4)
    laplacian += signed[:-2, 1:-1]
    laplacian += signed[2:, 1:-1]
    laplacian += signed[1:-1, :-2]
    laplacian += signed[1:-1, 2:]
    flat = laplacian.ravel().astype(np.float64)
    mean = flat.sum() / flat.size
    return float(max(0.0, (flat @ flat) / flat.size - mean * mean))


def colourfulness(colour: Pillow.Image) -> float:
    """M(3) of Hasler and Süsstrunk (2003), equation 7, of an RGB image."""
    red, green, blue = (np.asarray(band).ravel().astype(np.int16) for band in colour.split())
    rg = (red - green).astype(np.float64)
    twice_yb = (red + green - 2 * blue).astype(np.float64)
    mean_rg, mean_yb = rg.sum() / rg.size, twice_yb.sum() / rg.size / 2
    squares = (rg @ rg + (twice_yb @ twice_yb) / 4) / rg.size
    means = mean_rg * mean_rg + mean_yb * mean_yb
    return float(np.sqrt(max(0.0, squares - means)) + 0.3 * np.sqrt(means))


_HASH_BITS, _HASH_SIDE = 8, 32
# Rows of the unnormalised DCT-II, as scipy.fftpack.dct computes it.
_DCT = 2 * np.cos(
    np.pi * np.arange(_HASH_BITS)[:, None] * (2 * np.arange(_HASH_SIDE) + 1) / (2 * _HASH_SIDE)
)


def perceptual_hash(luma: Pillow.Image) -> str:
    """64-bit pHash of a grey image: `str(imagehash.phash(hash_input(luma)))`.

    Coefficients are rounded to 1e-6 first: without it rounding errors would decide the bits of a
    blank banner, and equal-looking blanks of different sizes would differ.
    """
    side = (_HASH_SIDE, _HASH_SIDE)
    small = np.asarray(hash_input(luma).resize(side, Pillow.Resampling.LANCZOS))
    low = (_DCT @ small.astype(np.float64) @ _DCT.T).ravel().round(6)
    ordered = np.sort(low)
    median = (ordered[low.size // 2 - 1] + ordered[low.size // 2]) / 2
    return np.packbits(low > median).tobytes().hex()


def hash_input(luma: Pillow.Image) -> Pillow.Image:
    """Halved where it is longer than half of CANONICAL_SIDE.

    The hash looks at 32 x 32 pixels; the Lanczos filter takes 108 us from 150 x 125 pixels and
    a third of that from 75 x 63.
    """
    return luma.reduce(2) if max(luma.size) > CANONICAL_SIDE // 2 else luma
