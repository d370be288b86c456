"""Which column names the images, by what the flags, the schema and the names say."""

from pathlib import Path
from typing import Any

import pytest

from beam_jobs.config.verbs import DataConfig
from beam_jobs.errors import UsageError
from beam_jobs.images.limits import ImageLimits
from beam_jobs.images.spec import ImageSpec, image_column, image_spec, read_features
from beam_jobs.images.table import IMAGE_FEATURES
from beam_jobs.schema import Feature, FeatureType
from support.servers.gcs import GcsServer

TEXT, NUMBER = FeatureType.BYTES, FeatureType.INT
COMPUTED = [spec.feature for spec in IMAGE_FEATURES]


def features(**types: FeatureType) -> list[Feature]:
    return [Feature(name, type_) for name, type_ in types.items()]


@pytest.mark.parametrize(
    ("chosen", "columns", "domain", "expected"),
    [
        (None, features(ad=TEXT, banner=TEXT), [], "banner"),
        (None, features(ad=TEXT, main_Image=TEXT, images=NUMBER), [], "main_Image"),
        (None, [*features(banner_file=TEXT), *COMPUTED], [], "banner_file"),
        (None, features(picture=TEXT, banner=TEXT), ["picture"], "picture"),
        ("ad", features(ad=TEXT, banner=TEXT), ["banner"], "ad"),
    ],
)
def test_the_column_is_found(chosen: Any, columns: Any, domain: Any, expected: Any) -> None:
    assert image_column(chosen, columns, domain) == expected


@pytest.mark.parametrize(
    ("chosen", "columns", "domain", "message"),
    [
        (None, features(ad=TEXT), [], "no column has an image_domain in the schema, or a name"),
        (None, features(banner=NUMBER), [], "no column has an image_domain"),
        (None, [Feature("banner", TEXT, is_list=True)], [], "no column has an image_domain"),
        (None, COMPUTED, [], "no column has an image_domain"),
        (None, features(banner=TEXT, image=TEXT), [], "several columns may name them: banner, im"),
        (None, features(a=TEXT, b=TEXT), ["a", "b"], "several columns may name them: a, b"),
        ("bid", features(bid=NUMBER, ad=TEXT), [], "--image bid: is no column with one text a row"),
        ("image_hash", COMPUTED, [], "--image image_hash: is no column"),
    ],
)  # fmt: skip
def test_a_column_that_is_not_clear_must_be_named(
    chosen: Any, columns: Any, domain: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        image_column(chosen, columns, domain)
    assert chosen or "--image NAME" in str(raised.value)


def test_the_flags_become_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "banners").mkdir()
    monkeypatch.chdir(tmp_path)
    data = DataConfig(images="banners/", image_max_bytes=9, image_max_pixels=8, image_timeout=7)
    spec = image_spec(data, features(banner=TEXT))
    assert spec is not None
    assert (spec.prefix, spec.column, spec.timeout) == (f"{tmp_path}/banners", "banner", 7)
    assert (spec.limits.max_bytes, spec.limits.max_pixels) == (9, 8)


def test_a_prefix_of_a_bucket(gcs: GcsServer) -> None:
    gcs.put(gcs.uri("banners/a.jpg"), b"")
    spec = image_spec(DataConfig(images=gcs.uri("banners") + "/"), features(banner=TEXT))
    assert spec is not None
    assert spec.prefix == gcs.uri("banners")
    for prefix, message in (
        (gcs.uri("none"), "is not a folder, or is empty"),
        ("gs://no-such-bucket/banners", "there is no bucket no-such-bucket|or is empty"),
        ("s3://bucket/banners", "files of s3:// cannot be used"),
    ):
        with pytest.raises(UsageError, match=message):
            image_spec(DataConfig(images=prefix), features(banner=TEXT))


def test_records_may_carry_images_inside() -> None:
    """Then the schema's word is enough; there is nowhere to look for one that is not given."""
    columns = features(picture=TEXT)
    spec = image_spec(DataConfig(), columns, ["picture"], may_be_given=True)
    assert spec is not None
    assert (spec.column, spec.prefix) == ("picture", None)
    assert image_spec(DataConfig(), columns, ["picture"]) is None
    assert image_spec(DataConfig(), columns, [], may_be_given=True) is None


def test_without_the_flag_there_are_no_images() -> None:
    assert image_spec(DataConfig(), features(banner=TEXT)) is None
    columns = (*features(ad=TEXT), *COMPUTED)
    assert read_features(columns, None) == columns
    spec = ImageSpec("ad", "/banners", ImageLimits(), 30)
    assert read_features(columns, spec) == columns[:1]
