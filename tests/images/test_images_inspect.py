"""What is accepted, what is refused and why; how each kind of picture is shown."""

import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps

from beam_jobs.batch import Reason
from beam_jobs.images.inspect import CANONICAL_SIDE, Image, canonical_factor, inspect
from beam_jobs.images.limits import ImageLimits, ImageProblem
from support.banners import ENCODINGS, FORMATS, GIF_BOMB, banner, chunk, encode, exif, png

LIMITS = ImageLimits()


def look(data: bytes, limits: ImageLimits = LIMITS, name: str = "ads/1.png") -> Image:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = inspect(data, name, limits)
    assert isinstance(found, Image), found
    return found


def refuse(data: bytes, limits: ImageLimits = LIMITS) -> tuple[Reason, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = inspect(data, "ads/1.png", limits)
    assert isinstance(found, ImageProblem), found
    assert found.detail.startswith("'ads/1.png' ")
    assert "\n" not in found.detail
    return found.reason, found.detail


def full(data: bytes) -> Pillow.Image:
    return Pillow.open(io.BytesIO(data)).convert("RGB")


def padded(picture: Pillow.Image, multiple: int) -> Pillow.Image:
    """With its border repeated up to whole blocks, as JPEG encoders store it."""
    width, height = picture.size
    sides = ((0, -height % multiple), (0, -width % multiple), (0, 0))
    return Pillow.fromarray(np.pad(np.asarray(picture), sides, mode="edge"))


def mean_error(picture: Pillow.Image, expected: Pillow.Image) -> float:
    assert picture.size == expected.size
    difference = np.asarray(picture, np.float64) - np.asarray(expected.convert(picture.mode))
    return float(np.abs(difference).mean())


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_format_is_read_whatever_its_name(encoding: Any) -> None:
    data = encode(banner(), encoding)
    image = look(data)
    assert image.format.value == FORMATS[encoding]
    assert (image.width, image.height, image.frames) == (300, 250, 1)
    assert image.canonical.size == (150, 125)
    # A JPEG's blocks are averaged before its colours are rounded.
    assert mean_error(image.canonical, full(data).reduce(2)) < (
        2 if "JPEG" in FORMATS[encoding] else 0.01
    )


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (160, 160), (161, 5), (1200, 628), (7, 2000)])
@pytest.mark.parametrize("encoding", ["jpeg", "progressive", "png"])
def test_canonical_pixels_are_means_of_blocks(size: Any, encoding: Any) -> None:
    options = {"quality": 100, "subsampling": 0} if encoding != "png" else {}
    picture = banner(*size)
    image = look(encode(picture, encoding, **options))
    factor = canonical_factor(*size)
    assert max(image.canonical.size) <= CANONICAL_SIDE
    assert factor == 1 or max(size) > CANONICAL_SIDE * factor // 2
    in_jpeg = min(factor, 8) if encoding != "png" else factor
    expected = padded(picture, in_jpeg if encoding != "png" else 1).reduce(in_jpeg)
    assert mean_error(image.canonical, expected.reduce(factor // in_jpeg)) < 2.5


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("encoding", ["jpeg", "png", "webp-lossless"])
def test_exif_orientation_turns_the_picture(orientation: Any, encoding: Any) -> None:
    data = encode(banner(), encoding, exif=exif(orientation))
    image = look(data)
    shown = ImageOps.exif_transpose(Pillow.open(io.BytesIO(data)))
    assert (image.width, image.height) == shown.size
    # Size of blocks at the border differs where the picture is turned first: 300 x 250 is even.
    assert mean_error(image.canonical, shown.reduce(2)) < 2.5


def test_broken_exif_is_no_reason_to_refuse() -> None:
    for tail in (b"", b"II*\0", b"MM\0*\0\0\xff\xff", b"II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0"):
        assert look(encode(banner(), exif=b"Exif\0\0" + tail)).width == 300


def test_cmyk_jpeg_has_the_colours_of_its_rgb() -> None:
    data = encode(banner().convert("CMYK"), quality=95)
    assert mean_error(look(data).canonical, banner().reduce(2)) < 3


@pytest.mark.parametrize("mode", ["1", "L", "P"])
@pytest.mark.parametrize("encoding", ["png", "gif", "bmp"])
def test_modes(mode: Any, encoding: Any) -> None:
    picture = banner(100, 80, mode=mode)
    image = look(encode(picture, encoding))
    assert mean_error(image.canonical, picture.convert("RGB")) == 0


def test_grey_of_16_bits_keeps_the_upper_8() -> None:
    values = (np.arange(60 * 50, dtype=np.uint32) * 21 % 65536).astype(">u2").reshape(50, 60)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    image = look(png(60, 50, 16, 0, rows))
    np.testing.assert_array_equal(np.asarray(image.canonical)[:, :, 1], values >> 8)
    key = chunk(b"tRNS", struct.pack(">H", int(values[3, 4])))
    transparent = np.asarray(look(png(60, 50, 16, 0, rows, key)).canonical)[:, :, 3]
    np.testing.assert_array_equal(transparent == 0, values == values[3, 4])


def test_colour_of_16_bits() -> None:
    values = np.random.default_rng(1).integers(0, 65536, (20, 30, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    np.testing.assert_array_equal(np.asarray(look(png(30, 20, 16, 2, rows)).canonical), values >> 8)


@pytest.mark.parametrize("key", [3, bytes([255, 0, 128] + [255] * 253)])
def test_palette_with_transparency(key: Any) -> None:
    indices = Pillow.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20) % 7, "P")
    indices.putpalette([level for i in range(256) for level in (i, 255 - i, 0)])
    alpha = np.asarray(look(encode(indices, "png", transparency=key)).canonical)[:, :, 3]
    table = np.array([0 if i == key else 255 for i in range(7)] if key == 3 else list(key[:7]))
    np.testing.assert_array_equal(alpha, table[np.asarray(indices)])


@pytest.mark.parametrize("encoding", ["gif", "webp-lossless", "png"])
def test_the_first_frame_of_an_animation(encoding: Any) -> None:
    first, *others = (banner(100, 80, seed) for seed in range(4))
    data = encode(first, encoding, save_all=True, append_images=others)
    image = look(data)
    assert image.frames == 4
    assert mean_error(image.canonical, full(data)) == 0


@pytest.mark.parametrize("transparent", ["LA", "RGBA"])
def test_alpha(transparent: Any) -> None:
    picture = banner(90, 60).convert(transparent)
    picture.putalpha(Pillow.linear_gradient("L").resize((90, 60)))
    image = look(encode(picture, "png"))
    assert image.canonical.mode == "RGBA"
    assert mean_error(image.canonical, picture) == 0


def test_bombs_are_refused_from_their_headers() -> None:
    assert len(GIF_BOMB) == 44
    bombs = {
        "GIF": GIF_BOMB,
        # The screen is small, the frame on it is not.
        "frame": GIF_BOMB[:6] + b"\1\0\1\0" + GIF_BOMB[10:],
        "PNG": png(60_000, 60_000, 8, 2, b""),
        "BMP": b"BM" + bytes(12) + struct.pack("<Iii", 40, 50_000, -50_000) + bytes(28),
        "WebP": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4
        + b"\xff" * 6,
    }  # fmt: skip
    jpeg = bytearray(encode(banner()))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    for data in (*bombs.values(), bytes(jpeg)):
        reason, detail = refuse(data)
        assert reason is Reason.IMAGE_TOO_LARGE
        assert "pixels, limit 25,000,000" in detail


def test_limits() -> None:
    data = encode(banner())
    at_limit = ImageLimits(max_bytes=len(data), max_pixels=300 * 250)
    assert look(data, at_limit).width == 300
    reason, detail = refuse(data, ImageLimits(max_bytes=len(data) - 1))
    assert reason is Reason.IMAGE_TOO_LARGE
    assert f"{len(data):,} bytes, limit" in detail
    reason, detail = refuse(data, ImageLimits(max_pixels=300 * 250 - 1))
    assert reason is Reason.IMAGE_TOO_LARGE
    assert "300 x 250 pixels, limit 74,999" in detail


def test_a_jpeg_of_endless_scans_is_too_large() -> None:
    data = encode(banner(), "progressive")
    last = data.rindex(b"\xff\xda")
    assert look(data).width == 300
    reason, detail = refuse(data[:last] + data[last:-2] * 200 + data[-2:])
    assert reason is Reason.IMAGE_TOO_LARGE
    assert "scans, limit 100" in detail


@pytest.mark.parametrize(
    ("data", "reason", "text"),
    [
        (b"", Reason.IMAGE_CORRUPT, "is empty (0 bytes)"),
        (b"\xff", Reason.IMAGE_CORRUPT, "inside its signature"),
        (b"\x89PNG\r", Reason.IMAGE_CORRUPT, "inside its signature"),
        (b"RIFF\x10\0\0\0WE", Reason.IMAGE_CORRUPT, "inside its signature"),
        (b"<!DOCTYPE html><p>404", Reason.IMAGE_UNSUPPORTED, "is an HTML page"),
        (b"\n<HTML><p>404", Reason.IMAGE_UNSUPPORTED, "is an HTML page"),
        (b"<?xml version='1.0'?><svg/>", Reason.IMAGE_UNSUPPORTED, "is SVG"),
        (b"II*\0\x08\0\0\0", Reason.IMAGE_UNSUPPORTED, "is TIFF"),
        (b"MM\0*\0\0\0\x08", Reason.IMAGE_UNSUPPORTED, "is TIFF"),
        (b"\0\0\0\x1cftypavif\0", Reason.IMAGE_UNSUPPORTED, "'avif'"),
        (b"hello\nworld", Reason.IMAGE_UNSUPPORTED, r"begins with b'hello\nworld'"),
        (b"BMW is not a bitmap, it makes cars", Reason.IMAGE_UNSUPPORTED, "BMP or text"),
        (png(0, 5, 8, 0, b""), Reason.IMAGE_CORRUPT, "0 x 5 pixels"),
    ],
)
def test_what_is_no_image(data: Any, reason: str, text: str) -> None:
    found, detail = refuse(data)
    assert found is reason
    assert text in detail


def test_metadata_is_never_decoded() -> None:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000)))
    rows = b"".join(b"\0" + bytes(3 * 8) for _ in range(8))
    assert look(png(8, 8, 8, 2, rows, bomb)).width == 8


def test_long_comments_of_a_gif_take_no_time() -> None:
    # Joined block by block, as Pillow does, 9 MB in blocks of one byte are terabytes of copies.
    plain = encode(banner(20, 20), "gif")
    table_end = 13 + (3 << ((plain[10] & 7) + 1))
    comment = b"!\xfe" + b"\x01a" * 4_500_000 + b"\0"
    assert look(plain[:table_end] + comment + plain[table_end:]).width == 20


def test_any_name_gives_one_short_line() -> None:
    problem = inspect(b"", "a\nb" * 1000, LIMITS)
    assert isinstance(problem, ImageProblem)
    assert "\n" not in problem.detail
    assert len(problem.detail) <= 300
