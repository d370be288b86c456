"""A month in folders whose names others take for patterns, beside a folder that would match."""

import shutil
from pathlib import Path

import pytest

from support.commands import monthly_flags, run_command

pytestmark = pytest.mark.integration

ODD, NEIGHBOUR = "we?ird [1]*'\" é%#", "we1ird 1x'\" é%#"


def test_a_month_in_an_oddly_named_folder_reads_and_publishes_its_own(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, neighbour = tmp_path / ODD, tmp_path / NEIGHBOUR
    for part in ("ads/2026-09", "banners", "models", "baseline"):
        shutil.copytree(demo / part, odd / part)
    (odd / "beam-jobs.toml").write_text('ads = "ads/{month}/*"\n')
    shutil.copytree(odd / "ads", neighbour / "ads")
    given = monthly_flags(
        odd, odd, f"--config={odd}/beam-jobs.toml", f"--warehouse=duckdb:{tmp_path}/we [1]*.duckdb"
    )
    flags = ["monthly", *(word for word in given if not word.startswith("--ads")), "--json"]
    first = run_command(*flags)
    assert first.code == 0, first.err
    plain = run_command("monthly", *monthly_flags(demo, tmp_path, "--json"))
    assert first.json["rows"] == plain.json["rows"]
    # The same files again where a pattern would find them: keys, parts and tables of the run.
    shutil.copytree(odd / "runs", neighbour / "runs")
    again = run_command(*flags, "--force")
    assert again.code == 0, again.err
    assert again.json["rows"] == plain.json["rows"]
    monkeypatch.chdir(odd)
    here = run_command(*flags, "--ads=ads/2026-09/*")
    assert (here.code, here.json["status"]) == (0, "UNCHANGED"), here.err
