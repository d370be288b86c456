"""What an image may cost, and how a problem with one is told."""

from dataclasses import dataclass

from beam_jobs.batch import Reason


@dataclass(frozen=True)
class ImageLimits:
    """Limits that are checked on the encoded bytes, before anything is decoded.

    Attributes:
        max_bytes: largest encoded image, in bytes.
        max_pixels: largest width x height that the header may claim.
        max_scans: most scans of a progressive JPEG. Encoders write about ten; each scan costs a
            pass over all pixels, so that a small file with thousands of them would take minutes.
    """

    max_bytes: int = 10 * 1024 * 1024
    max_pixels: int = 25_000_000
    max_scans: int = 100


@dataclass(frozen=True)
class ImageProblem:
    """Why an image cannot be used.

    Attributes:
        reason: IMAGE_CORRUPT, IMAGE_TOO_LARGE or IMAGE_UNSUPPORTED.
        detail: one line: the image's name, what was found and what was expected.
    """

    reason: Reason
    detail: str


class ImageError(Exception):
    """Raised inside this package only; `inspect` turns it into an `ImageProblem`."""

    def __init__(self, reason: Reason, found: str) -> None:
        super().__init__(reason, found)
        self.reason = reason
        self.found = found


def corrupt(found: str) -> ImageError:
    """The error of a picture whose data is damaged."""
    return ImageError(Reason.IMAGE_CORRUPT, found)


def too_large(found: str) -> ImageError:
    """The error of a picture beyond a limit."""
    return ImageError(Reason.IMAGE_TOO_LARGE, found)


def unsupported(found: str) -> ImageError:
    """The error of a format or kind that is not taken."""
    return ImageError(Reason.IMAGE_UNSUPPORTED, found)
