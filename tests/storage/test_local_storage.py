"""Files on a local disk, where they differ from objects."""

import dataclasses
import os
from pathlib import Path

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
