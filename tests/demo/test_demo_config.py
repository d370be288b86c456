"""The file of flags that the demo leaves."""

import os
from pathlib import Path

import pytest

from beam_jobs.config.flags import load_file
from beam_jobs.demo.run import _write_config


def test_the_file_is_read_back_whatever_the_folder_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = os.path.join("demo", 'a "b" \\ ü')
    settings = {"runs": os.path.join(folder, "runs"), "warehouse": f"duckdb:{folder}/w.duckdb"}
    file = _write_config(folder, settings | {"key": "ad_id"})
    assert load_file(file)[0] == settings | {"key": "ad_id"}
