"""Each feature against an independent reference."""

from typing import Any

import imagehash
import numpy as np
import pyarrow as pa
import pytest
import scipy.fftpack
import skimage.filters
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as Pillow

from beam_jobs.images.features import (
    colourfulness,
    columns,
    features,
    hash_input,
    perceptual_hash,
    sharpness,
)
from beam_jobs.images.inspect import Image, inspect
from beam_jobs.images.limits import ImageLimits
from beam_jobs.images.table import IMAGE_FEATURES
from beam_jobs.schema import FeatureType
from support.banners import ENCODINGS, banner, encode

pictures = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)),
    elements=st.integers(0, 255),
)


def described(data: bytes) -> tuple[Image, dict[str, Any]]:
    image = inspect(data, "1", ImageLimits())
    assert isinstance(image, Image)
    names = [spec.feature.name for spec in IMAGE_FEATURES]
    return image, dict(zip(names, features(image), strict=True))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_all_features_of_a_banner(encoding: Any) -> None:
    data = encode(banner(), encoding)
    image, found = described(data)
    colour = np.asarray(image.canonical.convert("RGB"))
    # BT.601 by hand; Pillow rounds luma to whole levels.
    exact = colour @ np.array([0.299, 0.587, 0.114])
    assert found["image_bytes"] == len(data)
    assert (found["image_width"], found["image_height"], found["image_frames"]) == (300, 250, 1)
    assert found["image_aspect_ratio"] == 1.2
    assert found["image_brightness"] == pytest.approx(exact.mean() / 255, abs=1 / 255)
    assert found["image_contrast"] == pytest.approx(exact.std() / 255, abs=1 / 255)
    assert found["image_transparency"] == 0
    luma = image.canonical.convert("L")
    laplacian = skimage.filters.laplace(np.asarray(luma).astype(np.float64), ksize=3)
    assert found["image_sharpness"] == pytest.approx(laplacian[1:-1, 1:-1].var(), rel=1e-12)
    assert found["image_hash"] == str(imagehash.phash(hash_input(luma)))


@given(pictures)
def test_colourfulness_is_hasler_and_susstrunk(pixels: Any) -> None:
    red, green, blue = np.moveaxis(pixels.astype(np.float64), 2, 0)
    rg, yb = red - green, (red + green) / 2 - blue
    expected = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
    assert colourfulness(Pillow.fromarray(pixels)) == pytest.approx(expected, abs=1e-5)


@given(pictures)
def test_sharpness_is_the_variance_of_the_laplacian(pixels: Any) -> None:
    luma = pixels[:, :, 0]
    if min(luma.shape) < 3:
        assert sharpness(luma) == 0
        return
    laplacian = skimage.filters.laplace(luma.astype(np.float64), ksize=3)[1:-1, 1:-1]
    assert sharpness(luma) == pytest.approx(laplacian.var(), rel=1e-9, abs=1e-6)


@given(pictures)
def test_hash_is_that_of_imagehash_but_for_ties(pixels: Any) -> None:
    luma = Pillow.fromarray(pixels).convert("L")
    small = luma.resize((32, 32), Pillow.Resampling.LANCZOS)
    low = scipy.fftpack.dct(scipy.fftpack.dct(np.asarray(small), axis=0), axis=1)[:8, :8]
    clear = np.abs(low - np.median(low)) > 1e-5
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(perceptual_hash(luma)), np.uint8))
    expected = imagehash.phash(luma).hash
    np.testing.assert_array_equal(bits.reshape(8, 8)[clear], expected[clear])


def test_blank_banners_share_one_hash() -> None:
    blanks = [
        Pillow.new("RGB", size, colour)
        for size in ((300, 250), (1200, 628), (33, 77))
        for colour in ("white", "#777777", "#0a0b0c")
    ]
    hashes = {described(encode(blank, "png"))[1]["image_hash"] for blank in blanks}
    assert hashes == {"8000000000000000"}


def test_hash_survives_format_and_size() -> None:
    near = imagehash.hex_to_hash(str(described(encode(banner(600, 500), "png"))[1]["image_hash"]))
    small = banner(600, 500).resize((300, 250), Pillow.Resampling.LANCZOS)
    for encoding in ENCODINGS:
        other = described(encode(small, encoding))[1]["image_hash"]
        assert near - imagehash.hex_to_hash(str(other)) <= 4
    stranger = described(encode(banner(seed=8)))[1]["image_hash"]
    assert near - imagehash.hex_to_hash(str(stranger)) >= 16


def test_extremes() -> None:
    def flat(colour: Any) -> Any:
        return described(encode(Pillow.new("RGB", (50, 40), colour), "png"))[1]

    assert flat("black")["image_brightness"] == 0
    assert flat("white")["image_brightness"] == 1
    assert flat("white")["image_contrast"] == flat("white")["image_sharpness"] == 0
    assert flat("#808080")["image_colourfulness"] == 0
    halves = Pillow.new("RGB", (50, 40), "black")
    halves.paste("white", (0, 0, 25, 40))
    assert described(encode(halves, "png"))[1]["image_contrast"] == 0.5


def test_transparent_pixels_are_white_paper() -> None:
    picture = Pillow.new("RGBA", (40, 40), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 40, 10))
    found = described(encode(picture, "png"))[1]
    assert found["image_transparency"] == pytest.approx(0.75)
    assert found["image_brightness"] == pytest.approx(0.75)


def test_darker_banners_are_darker_and_blurred_ones_less_sharp() -> None:
    plain = described(encode(banner()))[1]
    dark = described(encode(banner().point(lambda level: level // 2)))[1]
    blurred = described(encode(banner().resize((30, 25)).resize((300, 250))))[1]
    assert dark["image_brightness"] == pytest.approx(plain["image_brightness"] / 2, abs=0.01)
    assert blurred["image_sharpness"] < plain["image_sharpness"] / 2


def test_columns() -> None:
    data = encode(banner())
    row = features(described(data)[0])
    found = columns([row, None, row])
    types = {"INT": pa.int64(), "FLOAT": pa.float64(), "BYTES": pa.string()}
    assert list(found) == [spec.feature.name for spec in IMAGE_FEATURES]
    for spec, value in zip(IMAGE_FEATURES, row, strict=True):
        column = found[spec.feature.name]
        assert column.type == types[FeatureType(spec.feature.type).value]
        assert column.to_pylist() == [value, None, value]
    for rows in ([], [None, None]):
        assert all(column.to_pylist() == rows for column in columns(rows).values())


def test_the_same_bytes_give_the_same_features() -> None:
    data = encode(banner(1200, 628))
    assert described(data)[1] == described(data)[1]
