"""Images for tests: a seeded banner, and its encodings."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image as Pillow

ENCODINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "jpeg": ("JPEG", {"quality": 85}),
    "progressive": ("JPEG", {"quality": 85, "progressive": True}),
    "png": ("PNG", {}),
    "gif": ("GIF", {}),
    "webp": ("WEBP", {"quality": 80}),
    "webp-lossless": ("WEBP", {"lossless": True}),
    "bmp": ("BMP", {}),
}
FORMATS = {name: format_ for name, (format_, _) in ENCODINGS.items()}


def banner(width: int = 300, height: int = 250, seed: int = 7, mode: str = "RGB") -> Pillow.Image:
    """Coloured patches with soft and hard edges."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (height // 25 + 2, width // 25 + 2, 3), dtype=np.uint8)
    picture = Pillow.fromarray(patches).resize((width, height), Pillow.Resampling.BICUBIC)
    picture.paste((250, 20, 40), (width // 3, height // 3, width // 2, height // 2))
    return picture.convert(mode)


def encode(picture: Pillow.Image, encoding: str = "jpeg", **options: Any) -> bytes:
    format_, defaults = ENCODINGS[encoding]
    buffer = io.BytesIO()
    picture.save(buffer, format_, **{**defaults, **options})
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    tags = Pillow.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    """A PNG with the chunks `more` before its pixels (filter byte 0 before each row)."""
    ihdr = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    parts = (chunk(b"IHDR", ihdr), *more, pixels, chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


GIF_BOMB = (
    b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff"  # 65,535 x 65,535, two colours
    b"!\xf9\x04\0\0\0\0\0"
    b",\0\0\0\0\xff\xff\xff\xff\0\x02\x03D\x01\0\0;"
)
"""44 bytes that claim 4 gigapixels."""
