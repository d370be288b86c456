"""Which column names the images, where they lie, and what of them the model takes."""

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from beam_jobs import storage
from beam_jobs.config.verbs import DataConfig
from beam_jobs.errors import UsageError
from beam_jobs.images.limits import ImageLimits
from beam_jobs.images.table import NAMES
from beam_jobs.images.tensor_options import ImageTensorSpec
from beam_jobs.schema import Feature, FeatureType

_HINTS = ("image", "banner")


@dataclass(frozen=True)
class ImageSpec:
    """What the image stage does; part of the plan.

    Attributes:
        column: the feature that names a row's image.
        prefix: where the images lie, absolute; None where only given bytes are looked at.
        limits: of one image.
        timeout: seconds for reading one image, its retries included.
        keeps_bytes: whether the model takes the encoded bytes.
        tensor: what the model takes of the pixels, None where it takes none.
        fingerprint: of the files under the prefix; None where they are too many, or part of no
            run's id.
    """

    column: str
    prefix: str | None
    limits: ImageLimits
    timeout: int
    keeps_bytes: bool = False
    tensor: ImageTensorSpec | None = None
    fingerprint: str | None = None

    def for_model(self, keeps_bytes: bool, tensor: ImageTensorSpec | None) -> "ImageSpec":
        """The same for a model: whether it takes bytes, and the tensor that it takes."""
        return dataclasses.replace(self, keeps_bytes=keeps_bytes, tensor=tensor)


def image_spec(
    data: DataConfig,
    features: Sequence[Feature],
    image_domain: Collection[str] = (),
    may_be_given: bool = False,
) -> ImageSpec | None:
    """What `--images` and its companions say; None without `--images`.

    Args:
        data: the flags.
        features: the schema's, or the data's where there is no schema yet.
        image_domain: names of those that the schema gives an `image_domain`.
        may_be_given: whether records may carry images inside: then one of `image_domain` is
            enough, and images that are not given are missing.

    Raises:
        UsageError: no folder, no limit, or not exactly one column that names the images.
    """
    if data.images is None and not (may_be_given and image_domain):
        if data.image is not None:
            raise UsageError(f"--image {data.image}: needs --images, which says where images lie")
        return None
    for flag, value in (
        ("--image-max-bytes", data.image_max_bytes),
        ("--image-max-pixels", data.image_max_pixels),
        ("--image-timeout", data.image_timeout),
    ):
        if value < 1:
            raise UsageError(f"{flag} {value}: expected a number of at least 1")
    return ImageSpec(
        column=image_column(data.image, features, image_domain),
        prefix=None if data.images is None else _folder(data.images),
        limits=ImageLimits(max_bytes=data.image_max_bytes, max_pixels=data.image_max_pixels),
        timeout=data.image_timeout,
    )


def _folder(images: str) -> str:
    prefix = storage.absolute(images)
    try:
        is_there = storage.exists(f"{prefix}/" if storage.is_local(prefix) else prefix)
    except OSError as error:
        raise UsageError(f"--images {images}: {error.strerror}") from error
    if not is_there:
        raise UsageError(f"--images {images}: is not a folder, or is empty")
    return prefix


def image_column(
    chosen: str | None, features: Sequence[Feature], image_domain: Collection[str] = ()
) -> str:
    """The feature that names a row's image.

    The chosen one; else the only one with an `image_domain`; else the only text whose name
    contains `image` or `banner`, features computed from images left out.

    Raises:
        UsageError: none or several, or the chosen one is no text.
    """
    texts = [
        feature.name
        for feature in features
        if feature.type is FeatureType.BYTES and not feature.is_list and feature.name not in NAMES
    ]
    if chosen is not None:
        if chosen not in texts:
            raise UsageError(
                f"--image {chosen}: is no column with one text a row; there are"
                f" {', '.join(texts) or 'none'}"
            )
        return chosen
    declared = [name for name in texts if name in image_domain]
    named = [name for name in texts if any(hint in name.lower() for hint in _HINTS)]
    found = declared or named
    if len(found) == 1:
        return found[0]
    what = f"several columns may name them: {', '.join(found)}" if found else (
        "no column has an image_domain in the schema, or a name with 'image' or 'banner'"
    )  # fmt: skip
    raise UsageError(f"--images: {what}; say which with --image NAME")


def read_features(features: Sequence[Feature], images: ImageSpec | None) -> tuple[Feature, ...]:
    """Those that come from the data: with images, all but what is computed from them."""
    return tuple(f for f in features if images is None or f.name not in NAMES)
