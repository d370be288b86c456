"""Thousands of broken files: no crash, no hang, no balloon, the right reason."""

import resource
import warnings
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageFile

from beam_jobs.images.features import features
from beam_jobs.images.headers import MAGIC
from beam_jobs.images.inspect import CANONICAL_SIDE, Image, inspect
from beam_jobs.images.limits import ImageLimits, ImageProblem
from beam_jobs.images.table import IMAGE_FEATURES
from support.banners import banner, encode
from support.corpus import GOOD, corpus

LIMITS = ImageLimits()
MEBIBYTE = 1024 * 1024


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def outcome(data: bytes) -> object:
    """The reason, or GOOD; checks what must hold of every outcome."""
    found = inspect(data, "ads/1.png", LIMITS)
    if isinstance(found, ImageProblem):
        assert found.detail.startswith("'ads/1.png' ")
        assert found.detail.isprintable()
        assert len(found.detail) <= 300
        return found.reason
    assert isinstance(found, Image)
    assert found.width * found.height <= LIMITS.max_pixels
    assert max(found.canonical.size) <= CANONICAL_SIDE
    assert len(features(found)) == len(IMAGE_FEATURES)
    return GOOD


def test_the_corpus_is_judged_rightly() -> None:
    cases = list(corpus())
    assert len(cases) >= 2000
    outcome(encode(banner()))
    before = peak_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrong = [
            f"{case.what}: {found}"
            for case in cases
            if (found := outcome(case.data)) not in case.expected
        ]
    assert not wrong
    # One image of 25 megapixels in RGBA is 100 MB; a bomb's 4 gigapixels would be 16 GB.
    assert peak_bytes() - before < 200 * MEBIBYTE


def test_neighbours_of_bad_images_are_unharmed() -> None:
    good = encode(banner())
    expected = inspect(good, "1", LIMITS)
    assert isinstance(expected, Image)
    for case in list(corpus(seed=1))[::100]:
        inspect(case.data, "2", LIMITS)
        again = inspect(good, "1", LIMITS)
        assert isinstance(again, Image)
        assert features(again) == features(expected)


def test_pillow_is_left_as_it_was() -> None:
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, Pillow.MAX_IMAGE_PIXELS)
    for case in list(corpus(seed=2))[::50]:
        inspect(case.data, "1", LIMITS)
    assert before == (ImageFile.LOAD_TRUNCATED_IMAGES, Pillow.MAX_IMAGE_PIXELS)


STARTS = [start for starts in MAGIC.values() for start in starts] + [b"RIFF\xff\0\0\0WEBPVP8X"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(STARTS), st.binary(max_size=300))
def test_noise_after_a_signature_never_raises(start: Any, noise: Any) -> None:
    outcome(start + noise)
