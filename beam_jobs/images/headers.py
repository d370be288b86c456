"""The structure of encoded images: format, size and completeness, without decoding a pixel.

Decoders are lenient and trusting: Pillow skips the checksums of a PNG's pixels, parses metadata
that nobody asked for, joins a GIF's comments in quadratic time and allocates what a header
claims. So the containers are walked here first. The walk finds truncation and broken checksums,
and hands on a payload of only what the first picture needs.

Sources: ITU T.81 annex B (JPEG), W3C PNG (Third Edition) section 5, GIF89a specification, WebP
container specification (RFC 9649), BITMAPFILEHEADER and BITMAPINFOHEADER of the Windows API.
"""

import enum
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from beam_jobs.images.limits import ImageLimits, corrupt, too_large, unsupported


class ImageFormat(str, enum.Enum):
    """The formats that are read; the values are Pillow's names."""

    JPEG = "JPEG"
    PNG = "PNG"
    GIF = "GIF"
    WEBP = "WEBP"
    BMP = "BMP"


@dataclass(frozen=True)
class Header:
    """What the encoded bytes say about an image.

    Attributes:
        format: from the content, never from the name.
        width, height: pixels as stored, before the EXIF orientation.
        payload: the bytes to decode: the first frame, without metadata.
        frames: pictures in the file; 1 unless it is animated.
        orientation: EXIF tag 0x0112, 1 to 8; 1 where it is absent or unreadable.
    """

    format: ImageFormat
    width: int
    height: int
    payload: bytes = field(repr=False)
    frames: int = 1
    orientation: int = 1


MAGIC = {
    ImageFormat.JPEG: (b"\xff\xd8\xff",),
    ImageFormat.PNG: (b"\x89PNG\r\n\x1a\n",),
    ImageFormat.GIF: (b"GIF87a", b"GIF89a"),
    ImageFormat.BMP: (b"BM",),
}
_RIFF_HEADER_BYTES = 12

OTHER_FORMATS = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"%PDF", "PDF"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\1\0", "ICO"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"PK\3\4", "ZIP"),
    (b"\x1f\x8b", "gzip"),
)
EXPECTED = "expected JPEG, PNG, GIF, WebP or BMP"


def read_header(data: bytes, limits: ImageLimits) -> Header:
    """Walks an encoded image.

    Raises:
        ImageError: the bytes are no image of a known format, incomplete, or over a limit.
    """
    if not data:
        raise corrupt("is empty (0 bytes)")
    if len(data) > limits.max_bytes:
        raise too_large(f"{len(data):,} bytes, limit {limits.max_bytes:,}")
    header = _WALKS[_format_of(data)](data, limits)
    if not header.width or not header.height:
        raise corrupt(f"{header.format.value} of {header.width} x {header.height} pixels")
    return header


def _format_of(data: bytes) -> ImageFormat:
    for format_, starts in MAGIC.items():
        if data.startswith(starts):
            return format_
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ImageFormat.WEBP
    starts = (*(start for starts in MAGIC.values() for start in starts), b"RIFF")
    if any(start.startswith(data) for start in starts) or (
        data[:4] == b"RIFF" and b"WEBP".startswith(data[8:12])
    ):
        raise corrupt(f"ends after {len(data)} bytes, inside its signature")
    raise unsupported(f"{_what_else(data)}; {EXPECTED}")


def _what_else(data: bytes) -> str:
    for start, name in OTHER_FORMATS:
        if data.startswith(start):
            return f"is {name}"
    if data[4:8] == b"ftyp":
        return f"is {data[8:12].decode('latin-1').strip()!r} (AVIF, HEIC or video)"
    text = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return "is SVG"
    if text.startswith((b"<!doctype html", b"<html")):
        return "is an HTML page"
    return f"is no image: begins with {data[:16]!r}"


def _check_pixels(width: int, height: int, limits: ImageLimits) -> None:
    if width * height > limits.max_pixels:
        raise too_large(f"{width} x {height} pixels, limit {limits.max_pixels:,} in all")


# JPEG ----------------------------------------------------------------------------------------

_SOF_READ = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive; Huffman
_SOF_PROGRESSIVE = 0xC2
_SOF_OTHER = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_APP0, _APP1, _APP14, _APP15 = 0xE0, 0xE1, 0xEE, 0xEF
_SOS, _EOI, _COM = 0xDA, 0xD9, 0xFE


def _jpeg(data: bytes, limits: ImageLimits) -> Header:
    size: tuple[int, int] | None = None
    components, progressive = b"", False
    orientation = 1
    kept = [data[:2]]
    position = 2
    while True:
        start = position
        position, marker, end = _jpeg_segment(data, position)
        if marker == _SOS:
            break
        if marker in _SOF_READ:
            size = _jpeg_size(data[position + 4 : end])
            components = data[position + 9 : position + 10]
            progressive = marker == _SOF_PROGRESSIVE
            _check_pixels(*size, limits)
        if marker == _APP1 and data[position + 4 : position + 10] == b"Exif\0\0":
            orientation = _orientation(data[position + 10 : end])
        # JFIF and Adobe segments decide the colour space; other metadata is not decoded.
        if not (_APP0 < marker <= _APP15 or marker == _COM) or marker == _APP14:
            kept.append(data[start:end])
        position = end
    if size is None:
        raise corrupt("JPEG has pixels before their size")
    if data.rfind(b"\xff\xd9", position) < 0:
        raise corrupt(f"JPEG is truncated: no end marker in its {len(data):,} bytes")
    # Only what libjpeg reads in several passes: counting takes 0.1 ms for 100 KB.
    several = progressive or data[position + 4 : position + 5] != components
    scans = data.count(b"\xff\xda", position) if several else 1
    if scans > limits.max_scans:
        raise too_large(f"JPEG of {scans:,} scans, limit {limits.max_scans:,}")
    kept.append(data[position:])
    return Header(ImageFormat.JPEG, *size, b"".join(kept), orientation=orientation)


def _jpeg_segment(data: bytes, position: int) -> tuple[int, int, int]:
    """(start behind fill bytes, marker, end) of the segment at a position."""
    while data[position : position + 2] == b"\xff\xff":  # fill bytes, T.81 B.1.1.2
        position += 1
    head = data[position : position + 4]
    if len(head) < 4:
        raise corrupt(f"JPEG ends in its header, after {len(data):,} bytes")
    if head[0] != 0xFF or head[1] == _EOI:
        raise corrupt(f"JPEG has no marker where one is due, at byte {position:,}")
    marker = head[1]
    end = position + 2 + int.from_bytes(head[2:], "big")
    if marker != _SOS and (end > len(data) or end < position + 4):
        raise corrupt(f"JPEG segment at byte {position:,} ends at {end:,} of {len(data):,}")
    if marker in _SOF_OTHER:
        raise unsupported(f"JPEG of coding process 0x{marker:X}; expected Huffman-coded DCT")
    return position, marker, end


def _jpeg_size(segment: bytes) -> tuple[int, int]:
    if len(segment) < 6:
        raise corrupt("JPEG frame header is too short")
    precision, height, width = struct.unpack_from(">BHH", segment)
    if precision != 8:
        raise unsupported(f"JPEG of {precision} bits a sample; expected 8")
    return width, height


# PNG -----------------------------------------------------------------------------------------


def _png(data: bytes, limits: ImageLimits) -> Header:
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise corrupt("PNG does not begin with a whole IHDR chunk")
    width, height = struct.unpack_from(">II", data, 16)
    _check_pixels(width, height, limits)
    view = memoryview(data)
    kept: list[bytes | memoryview] = [data[:8]]
    frames = orientation = 1
    position, kind = 8, b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise corrupt(f"PNG is truncated: no IEND chunk in its {len(data):,} bytes")
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        body, end = position + 8, position + 12 + length
        if end > len(data):
            raise corrupt(f"PNG chunk {kind!r} at byte {position:,} ends after the file")
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise corrupt(f"PNG chunk {kind!r} at byte {position:,} has a wrong checksum")
        # Bit 5 of the first letter: ancillary. Of these only the transparency is needed.
        if not kind[0] & 0x20 or kind == b"tRNS":
            kept.append(view[position:end])
        elif kind == b"acTL" and length == 8:
            frames = max(1, int.from_bytes(data[body : body + 4], "big"))
        elif kind == b"eXIf":
            orientation = _orientation(data[body : body + length])
        position = end
    return Header(ImageFormat.PNG, width, height, b"".join(kept), frames, orientation)


# GIF -----------------------------------------------------------------------------------------


def _gif(data: bytes, limits: ImageLimits) -> Header:
    if len(data) < 13:
        raise corrupt(f"GIF ends in its header, after {len(data)} bytes")
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    _check_pixels(width, height, limits)
    position = table_end = 13 + _gif_table_bytes(flags)
    control = first = b""
    frames = 0
    while (block := data[position : position + 1]) != b";":
        start = position
        if block == b"!":
            position = _gif_skip(data, position + 2)
            if data[start + 1 : start + 2] == b"\xf9":
                control = data[start:position]
        elif block == b"," and position + 10 <= len(data):
            left, top, wide, high, flags = struct.unpack_from("<HHHHB", data, position + 1)
            position = _gif_skip(data, position + 11 + _gif_table_bytes(flags))
            if not frames:
                # A frame may reach over the screen; decoders then enlarge the screen.
                width, height = max(width, left + wide), max(height, top + high)
                _check_pixels(width, height, limits)
                first = control + data[start:position]
            frames += 1
        elif block:
            raise corrupt(f"GIF has no block where one is due, at byte {position:,}")
        else:
            raise corrupt(f"GIF is truncated: no trailer in its {len(data):,} bytes")
    if not frames:
        raise corrupt("GIF holds no picture")
    return Header(ImageFormat.GIF, width, height, data[:table_end] + first + b";", frames)


def _gif_table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_skip(data: bytes, position: int) -> int:
    """The position after a chain of sub-blocks."""
    try:
        while length := data[position]:
            position += length + 1
    except IndexError:
        raise corrupt(f"GIF is truncated: a block ends after its {len(data):,} bytes") from None
    return position + 1


# WebP ----------------------------------------------------------------------------------------


def _webp(data: bytes, limits: ImageLimits) -> Header:
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise corrupt(f"WebP is truncated: {len(data):,} bytes of {end:,}")
    size: tuple[int, int] | None = None
    frames, orientation = 0, 1
    position = _RIFF_HEADER_BYTES
    while position + 8 <= end:
        kind = data[position : position + 4]
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        body = data[position + 8 : position + 18]
        if position + 8 + length > end:
            raise corrupt(f"WebP chunk {kind!r} at byte {position:,} ends after the file")
        if size is None and kind in _WEBP_SIZES:
            if len(body) < 10:
                raise corrupt(f"WebP chunk {kind!r} is too short")
            size = _WEBP_SIZES[kind](body)
            _check_pixels(*size, limits)
        if kind == b"ANMF":
            frames += 1
        elif kind == b"EXIF":
            exif = data[position + 8 : position + 8 + length]
            orientation = _orientation(exif.removeprefix(b"Exif\0\0"))
        position += 8 + length + (length & 1)
    if size is None:
        raise corrupt("WebP holds no picture")
    return Header(ImageFormat.WEBP, *size, data[:end], max(1, frames), orientation)


def _webp_lossy_size(body: bytes) -> tuple[int, int]:
    if body[3:6] != b"\x9d\x01\x2a":
        raise corrupt("WebP key frame has no start code")
    width, height = struct.unpack_from("<HH", body, 6)
    return width & 0x3FFF, height & 0x3FFF


def _webp_lossless_size(body: bytes) -> tuple[int, int]:
    if body[0] != 0x2F:
        raise corrupt("WebP lossless picture has no signature")
    bits = int.from_bytes(body[1:5], "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _webp_canvas_size(body: bytes) -> tuple[int, int]:
    return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1


_WEBP_SIZES: dict[bytes, Callable[[bytes], tuple[int, int]]] = {
    b"VP8 ": _webp_lossy_size,
    b"VP8L": _webp_lossless_size,
    b"VP8X": _webp_canvas_size,
}


# BMP -----------------------------------------------------------------------------------------


def _bmp(data: bytes, limits: ImageLimits) -> Header:
    if len(data) < 26:
        raise corrupt(f"BMP ends in its header, after {len(data)} bytes")
    header_bytes = int.from_bytes(data[14:18], "little")
    if header_bytes == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    elif header_bytes in (40, 52, 56, 64, 108, 124):
        width, height = map(abs, struct.unpack_from("<ii", data, 18))
    else:
        raise unsupported(f"BMP or text with a header of {header_bytes:,} bytes; {EXPECTED}")
    _check_pixels(width, height, limits)
    whole = int.from_bytes(data[2:6], "little")
    if whole > len(data):
        raise corrupt(f"BMP is truncated: {len(data):,} bytes of {whole:,}")
    return Header(ImageFormat.BMP, width, height, data)


_WALKS: dict[ImageFormat, Callable[[bytes, ImageLimits], Header]] = {
    ImageFormat.JPEG: _jpeg,
    ImageFormat.PNG: _png,
    ImageFormat.GIF: _gif,
    ImageFormat.WEBP: _webp,
    ImageFormat.BMP: _bmp,
}


# EXIF ----------------------------------------------------------------------------------------

_ORIENTATION_TAG, _SHORT = 0x0112, 3


def _orientation(tiff: bytes) -> int:
    """The orientation in an EXIF block; 1 ("as stored") where the block has none or is broken.

    Viewers ignore broken metadata, so that it is no reason to refuse the picture.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    (directory,) = struct.unpack_from(order + "I", tiff, 4)
    if directory + 2 > len(tiff):
        return 1
    (entries,) = struct.unpack_from(order + "H", tiff, directory)
    for at in range(directory + 2, min(directory + 2 + 12 * entries, len(tiff) - 11), 12):
        tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, at)
        if tag == _ORIENTATION_TAG:
            return value if kind == _SHORT and 1 <= value <= 8 else 1
    return 1
