"""Pixels of an image whose container was found whole."""

import io

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

from beam_jobs.images.headers import Header, ImageFormat
from beam_jobs.images.limits import ImageError, corrupt, too_large

# The classes themselves, not `Image.open`: that tries formats in turn, warns about sizes which
# were checked already, and follows a JPEG's MPO index to further pictures.
_READERS: dict[ImageFormat, type[ImageFile]] = {
    ImageFormat.JPEG: JpegImagePlugin.JpegImageFile,
    ImageFormat.PNG: PngImagePlugin.PngImageFile,
    ImageFormat.GIF: GifImagePlugin.GifImageFile,
    ImageFormat.WEBP: WebPImagePlugin.WebPImageFile,
    ImageFormat.BMP: BmpImagePlugin.BmpImageFile,
}

_TRANSPOSE = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}


def decode(header: Header, factor: int = 1, apply_orientation: bool = True) -> Pillow.Image:
    """The first picture as 8-bit "RGB" or (with any transparency) "RGBA".

    Args:
        header: with the file's bytes.
        factor: 1, 2, 4, ...; each pixel of the result is the mean of a factor x factor block. A
            JPEG is decoded at that scale (up to 8), which averages in the frequency domain and
            yet reads every byte, so that truncation is found as in a full decode.
        apply_orientation: whether the picture is turned as EXIF says.

    Raises:
        ImageError: the pixels cannot be decoded, or their size is not the header's.
    """
    try:
        picture = _decode(header, factor)
    except ImageError:
        raise
    except MemoryError:
        pixels = f"{header.width} x {header.height} pixels"
        raise too_large(f"{pixels} do not fit into memory") from None
    except Exception as error:
        # Pillow's readers raise whatever broken bytes lead them into.
        text = f"{type(error).__name__}: {error}"
        raise corrupt(f"{header.format.value} cannot be decoded ({text})") from error
    return upright(picture, header.orientation) if apply_orientation else picture


def _decode(header: Header, factor: int) -> Pillow.Image:
    image: Pillow.Image = _READERS[header.format](io.BytesIO(header.payload))
    if image.size != (header.width, header.height):
        raise corrupt(
            f"{header.format.value} of {header.width} x {header.height} pixels"
            f" decodes to {image.size[0]} x {image.size[1]}"
        )
    if factor > 1:
        # draft does nothing for other formats, and for JPEG the nearest scale that is not smaller.
        image.draft(None, (max(1, header.width // factor), max(1, header.height // factor)))
        factor = max(1, factor * image.width // header.width)
    image.load()
    return _plain(image, factor)


def _plain(image: Pillow.Image, factor: int) -> Pillow.Image:
    """Reduced, as RGB or RGBA."""
    transparent = "transparency" in image.info
    if image.mode.startswith("I"):
        return _plain_16_bit(image).reduce(factor)
    if image.mode in ("1", "P", "PA") or transparent:
        # Palette indices cannot be averaged, nor can a colour that stands for "transparent".
        image = image.convert("RGBA" if transparent or image.mode == "PA" else "RGB")
    if factor > 1:
        image = image.reduce(factor)
    if image.mode in ("RGB", "RGBA"):
        return image
    return image.convert("RGBA" if image.mode == "LA" else "RGB")


def _plain_16_bit(image: Pillow.Image) -> Pillow.Image:
    """Grey of 16 bits, reduced to the upper 8 as libpng's `png_set_strip_16` does."""
    values = np.asarray(image).astype(np.uint16)
    grey = Pillow.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info:
        opaque = (values != image.info["transparency"]).astype(np.uint8) * 255
        grey.putalpha(Pillow.fromarray(opaque))
    return grey


def upright(image: Pillow.Image, orientation: int) -> Pillow.Image:
    """Turned and mirrored as the EXIF orientation says."""
    return image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image
