"""docs/images.md says what the code does."""

import dataclasses
from pathlib import Path

from beam_jobs.batch import Reason
from beam_jobs.config.verbs import DataConfig
from beam_jobs.images.limits import ImageLimits
from beam_jobs.images.table import IMAGE_FEATURES
from beam_jobs.images.tensor_options import Fit, ImageTensorOptions, ResizeMethod, Scaling

DOCS = (Path(__file__).parents[2] / "docs" / "images.md").read_text()


NOT_SET = ("none", "found")


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_features() -> None:
    table = rows(DOCS.split("<!-- features:")[1].split("<!-- end of features -->")[0])
    expected = [
        [f"`{spec.feature.name}`", spec.feature.type.value, spec.unit, spec.meaning, spec.source]
        for spec in IMAGE_FEATURES
    ]
    assert table[2:] == expected


def test_limits() -> None:
    table = {row[0]: row[1] for row in rows(DOCS)}
    for limit in dataclasses.fields(ImageLimits):
        assert table[f"`{limit.name}`"] == str(limit.default)


def test_flags() -> None:
    """Each flag of images with its default; limits are shown by the flag that sets them."""
    table = {row[0].split()[0].strip("`"): row[1] for row in rows(DOCS)}
    for field in dataclasses.fields(DataConfig):
        if field.name.startswith("image"):
            shown = table["--" + field.name.replace("_", "-")]
            assert shown == str(field.default) or (field.default is None and shown in NOT_SET)
    assert ImageLimits.max_bytes == DataConfig.image_max_bytes
    assert ImageLimits.max_pixels == DataConfig.image_max_pixels


def test_reasons() -> None:
    documented = {row[0].strip("`") for row in rows(DOCS)}
    assert {reason.value for reason in Reason if reason.value.startswith("IMAGE_")} <= documented


def test_options() -> None:
    table = {row[0]: row for row in rows(DOCS)}
    for key, choices in (("resize", ResizeMethod), ("fit", Fit), ("scaling", Scaling)):
        assert all(f"`{choice.value}`" in table[f"`{key}`"][1] for choice in choices)
        default = getattr(ImageTensorOptions(), key)
        assert table[f"`{key}`"][2] == f"`{default.value}`"
    named = " ".join(table)
    assert all(f"`{option.name}`" in named for option in dataclasses.fields(ImageTensorOptions))
