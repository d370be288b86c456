"""The one table from which image columns, their schema and their documentation come.

Light on purpose: planning needs the names and types, but no image library.
"""

from dataclasses import dataclass

from beam_jobs.schema import Feature, FeatureType

PREFIX = "image_"


@dataclass(frozen=True)
class ImageFeature:
    """A column that describes an image.

    Attributes:
        feature: name and type of the column.
        unit: of the value; "" for a name or a ratio.
        meaning: definition in a line.
        source: where the definition comes from.
    """

    feature: Feature
    unit: str
    meaning: str
    source: str


def _feature(
    name: str, type_: FeatureType, unit: str, meaning: str, source: str = "container"
) -> ImageFeature:
    return ImageFeature(Feature(PREFIX + name, type_), unit, meaning, source)


IMAGE_FEATURES = (
    _feature("format", FeatureType.BYTES, "", "JPEG, PNG, GIF, WEBP or BMP, from the content"),
    _feature("bytes", FeatureType.INT, "bytes", "size of the encoded image"),
    _feature("width", FeatureType.INT, "pixels", "width as shown, after the EXIF orientation"),
    _feature("height", FeatureType.INT, "pixels", "height as shown, after the EXIF orientation"),
    _feature("aspect_ratio", FeatureType.FLOAT, "", "width / height"),
    _feature("frames", FeatureType.INT, "pictures", "1, or the pictures of an animation"),
    _feature(
        "brightness",
        FeatureType.FLOAT,
        "0 to 1",
        "mean of luma Y = 0.299 R + 0.587 G + 0.114 B, divided by 255",
        "ITU-R BT.601",
    ),
    _feature(
        "contrast",
        FeatureType.FLOAT,
        "0 to 0.5",
        "standard deviation of Y (of all pixels, not of a sample), divided by 255",
        "RMS contrast, Peli 1990",
    ),
    _feature(
        "sharpness",
        FeatureType.FLOAT,
        "levels squared",
        "variance of the 4-neighbour Laplacian of Y (0 to 255) over inner pixels; 0 without any",
        "Pech-Pacheco et al. 2000",
    ),
    _feature(
        "colourfulness",
        FeatureType.FLOAT,
        "levels",
        "sqrt(var rg + var yb) + 0.3 sqrt(mean rg^2 + mean yb^2),"
        " rg = R - G, yb = (R + G) / 2 - B, 0 to 255",
        "Hasler and Süsstrunk 2003, M(3)",
    ),
    _feature(
        "transparency",
        FeatureType.FLOAT,
        "0 to 1",
        "mean of 1 - alpha / 255; 0 without an alpha channel",
        "PNG, Third Edition, 12.1",
    ),
    _feature(
        "hash",
        FeatureType.BYTES,
        "16 hexadecimal digits",
        "pHash: signs of the lowest 8 x 8 DCT coefficients of Y at 32 x 32 against their median",
        "Zauner 2010; `imagehash.phash`",
    ),
)
"""In the order of the columns."""

NAMES = frozenset(spec.feature.name for spec in IMAGE_FEATURES)

FORMAT, FRAMES = PREFIX + "format", PREFIX + "frames"

HASH = PREFIX + "hash"
"""The feature that is equal where banners look alike."""
