"""Which version of a model a value of --model names; no TensorFlow."""

import datetime
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from beam_jobs.errors import UsageError
from beam_jobs.models.registry import resolve_model


def model(folder: Path, content: bytes = b"graph") -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(content)
    (folder / "variables/variables.index").write_bytes(b"index")
    return folder


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    for version in ("2", "9", "10"):
        model(tmp_path / "ads" / version, version.encode())
    (tmp_path / "ads/temp-1764000000").mkdir()
    (tmp_path / "ads/\u00b2").mkdir()
    (tmp_path / "ads/11").write_text("a file, not a version")
    return tmp_path / "ads"


def aliases(ads: Path, **names: object) -> None:
    (ads / "aliases.json").write_text(json.dumps(names))


@pytest.mark.parametrize(
    ("names", "at", "version"),
    [
        (None, "", "10"),
        ({"champion": "2"}, "", "2"),
        ({"champion": "2"}, "@champion", "2"),
        ({"champion": "2", "challenger": "9"}, "@challenger", "9"),
        ({"challenger": "9"}, "", "10"),
    ],
)
def test_the_version(ads: Path, names: dict[str, str] | None, at: str, version: str) -> None:
    if names is not None:
        aliases(ads, **names)
    located = resolve_model(f"{ads}{at}")
    assert (located.path, located.version) == (str(ads / version), version)


def test_a_version_that_nobody_named_is_told(ads: Path) -> None:
    """A copied folder switches the champion: since when, and what else there is."""
    before = datetime.datetime.now(datetime.UTC).replace(second=0, microsecond=0)
    os.utime(ads / "10/saved_model.pb", (0, 0))  # as `cp -p` keeps it
    found = resolve_model(str(ads)).choice
    told = re.fullmatch(
        rf"--model {ads}: there is no aliases.json, so version 10 is taken, the highest, there"
        r" since (.*) UTC; there are also 9, 2; \{\"champion\": \"10\"\} in aliases.json pins it",
        found,
    )
    assert told is not None
    since = datetime.datetime.fromisoformat(f"{told[1]}+00:00")
    assert before <= since <= datetime.datetime.now(datetime.UTC)
    aliases(ads, challenger="9")
    assert ": aliases.json names no champion, so version 10" in resolve_model(str(ads)).choice
    assert resolve_model(f"{ads}@challenger").choice == ""
    aliases(ads, champion="9")
    assert resolve_model(str(ads)).choice == ""


def test_one_version_alone_is_no_choice(tmp_path: Path) -> None:
    model(tmp_path / "ads/3")
    assert resolve_model(str(tmp_path / "ads")).choice == ""


def test_one_model_is_versioned_by_its_fingerprint(tmp_path: Path) -> None:
    located = resolve_model(str(model(tmp_path / "mine")))
    assert located.version == located.fingerprint
    assert len(located.fingerprint) == 16


def test_an_at_in_a_folder_above_is_no_alias(tmp_path: Path) -> None:
    folder = model(tmp_path / "me@work" / "ads")
    assert resolve_model(str(folder)).path == str(folder)


@pytest.mark.parametrize("change", ["bytes", "name", "one more"])
def test_the_fingerprint_is_of_all_files(tmp_path: Path, change: str) -> None:
    folder = model(tmp_path / "a")
    before = resolve_model(str(folder)).fingerprint
    copy = shutil.copytree(folder, tmp_path / "b")
    assert resolve_model(str(copy)).fingerprint == before
    index = copy / "variables/variables.index"
    if change == "bytes":
        index.write_bytes(b"indey")
    elif change == "name":
        index.rename(copy / "variables/variables.indey")
    else:
        (copy / "assets").mkdir()
        (copy / "assets/words.txt").touch()
    assert resolve_model(str(copy)).fingerprint != before


@pytest.mark.parametrize(
    ("names", "at", "message"),
    [
        ({"champion": "3"}, "", "alias 'champion' names version 3, but the versions are 2, 9, 10"),
        ({"champion": "../ads/2"}, "", "alias 'champion' names version ../ads/2, but"),
        ({"champion": "temp-1764000000"}, "", "but the versions are 2, 9, 10"),
        ({"champion": 2}, "", 'must map aliases to versions: {"champion": "3"}'),
        ({}, "@challenger", "no alias 'challenger' in aliases.json; it has none"),
    ],
)
def test_a_wrong_alias_is_refused(
    ads: Path, names: dict[str, object], at: str, message: str
) -> None:
    aliases(ads, **names)
    with pytest.raises(UsageError) as refused:
        resolve_model(f"{ads}{at}", "--challenger")
    assert str(refused.value).startswith(f"--challenger {ads}{at}: ")
    assert message in str(refused.value)


def test_aliases_that_are_no_json_are_refused(ads: Path) -> None:
    (ads / "aliases.json").write_text("champion: 3")
    with pytest.raises(UsageError, match=r"aliases\.json cannot be read"):
        resolve_model(str(ads))


def test_what_is_no_model_is_refused(ads: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder; expected a SavedModel or numbered"):
        resolve_model(str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="is one SavedModel, without versions, so it has no"):
        resolve_model(f"{ads / '2'}@champion")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no saved_model\.pb and no numbered.*it holds nothing"):
        resolve_model(str(tmp_path / "empty"))
    (ads / "12").mkdir()
    with pytest.raises(UsageError, match=r"ads/12 has no saved_model\.pb"):
        resolve_model(str(ads))
