"""Files on a local disk, where they differ from objects."""

import dataclasses
import glob
import os
from pathlib import Path
from typing import Any

import pytest

from beam_jobs import storage
from beam_jobs.errors import InputError


def test_a_file_that_changed_leaves_no_stream_open(tmp_path: Path) -> None:
    path = tmp_path / "ads.csv"
    path.write_text("id\n1\n")
    planned = dataclasses.replace(storage.info(str(path)), generation="before")
    with pytest.raises(InputError, match=r"ads\.csv: changed during the run") as told:
        storage.open_pinned(planned)
    assert told.tb is not None  # whoever holds the error holds what its frames held
    links = Path("/proc/self/fd").iterdir()
    assert str(path) not in [os.path.realpath(link) for link in links]


def test_what_matches_and_is_no_file_is_told_and_what_is_gone_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("id\n")
    (tmp_path / "b.csv").mkdir()
    (tmp_path / "c.csv").symlink_to(tmp_path / "none")
    (tmp_path / "d.csv").symlink_to(tmp_path / "d.csv")
    os.mkfifo(tmp_path / "e.csv")
    (tmp_path / "f.csv").symlink_to(tmp_path / "a.csv")
    found, matches = glob.glob, []

    def and_one_that_was_just_removed(pattern: str, **how: Any) -> list[str]:
        matches.append(pattern)
        return [*found(pattern, **how), f"{tmp_path}/gone.csv"]

    monkeypatch.setattr(glob, "glob", and_one_that_was_just_removed)
    told: dict[str, str] = {}
    files = storage.match(f"{tmp_path}/*.csv", told.__setitem__)
    assert matches
    assert [file.uri for file in files] == [f"{tmp_path}/a.csv", f"{tmp_path}/f.csv"]
    assert told == {
        f"{tmp_path}/b.csv": "a folder",
        f"{tmp_path}/c.csv": "a link to nothing",
        f"{tmp_path}/d.csv": "not accessible: Too many levels of symbolic links",
        f"{tmp_path}/e.csv": "no regular file",
    }
