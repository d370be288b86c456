"""Statistics that TFDV 1.16 and 1.21 wrote, in each form, read by whichever runs the tests."""

import json
from pathlib import Path

import pytest

from beam_jobs.statistics.files import Statistics, load_statistics
from support.statistics_corpus import CORPUS, MONTHS, distances, statistics_of

VERSIONS = ("1.16.1", "1.21.0")
FORMS = ("FeatureStats.pb", "binpb", "tfrecord", "pbtxt")
EXPECTED = json.loads((CORPUS / "distances.json").read_text())
"""As TFDV 1.16 and this code on its stack gave them."""


def path_of(version: str, month: str, form: str, folder: Path) -> Path:
    """The file; `.binpb` is what TFX calls FeatureStats.pb."""
    if form != "binpb":
        return CORPUS / f"tfdv-{version}" / f"{month}.{form}"
    copy = folder / f"{month}.binpb"
    copy.write_bytes(path_of(version, month, "FeatureStats.pb", folder).read_bytes())
    return copy


def load(version: str, month: str, form: str, folder: Path) -> Statistics:
    return load_statistics(str(path_of(version, month, form, folder)), "--baseline")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("version", VERSIONS)
def test_distances_of_either_version_agree(version: str, form: str, tmp_path: Path) -> None:
    previous, current = (load(version, month, form, tmp_path) for month in MONTHS)
    found = distances(current, previous)
    assert len(found) == 6
    assert found == pytest.approx(EXPECTED, rel=0, abs=1e-12)


@pytest.mark.parametrize("month", MONTHS)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_form_holds_the_same(version: str, month: str, tmp_path: Path) -> None:
    first, *others = (load(version, month, form, tmp_path) for form in FORMS)
    assert first.datasets[0].num_examples == 600
    assert all(other == first for other in others)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_month_of_this_stack_against_one_of_the_other(version: str, tmp_path: Path) -> None:
    previous = load(version, "previous", "FeatureStats.pb", tmp_path)
    found = distances(statistics_of("current"), previous)
    assert found == pytest.approx(EXPECTED, rel=0, abs=1e-12)
