"""A month that somebody rolled back, and the command that a schedule repeats."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.storage.holder import user_name
from support.commands import ROWS, Run, run_command

pytestmark = pytest.mark.integration
Ask = Callable[[str], Any]


def test_a_run_that_a_person_rolled_back_from_is_not_published_by_its_schedule(
    monthly: Run, ask: Ask, tmp_path: Path
) -> None:
    """The command that a scheduler repeats finds its run superseded, and says by whom."""
    warehouse = f"--warehouse=duckdb:{tmp_path / 'ads.duckdb'}"
    first = monthly("--json", "--slice=device").json
    second = monthly("--json").json
    assert (first["status"], second["status"]) == ("PUBLISHED", "PUBLISHED")
    back = ("rollback", "--month=2026-09", "--reason=wrong prices", warehouse)
    assert run_command(*back).code == 0

    def current() -> list[str]:
        return [row["run_id"] for row in ask("SELECT DISTINCT run_id FROM current_scores")]

    again = monthly("--json")
    note, *others = again.json["notes"]
    assert (again.code, again.json["status"]) == (0, "UNCHANGED")
    assert again.json == second | {
        "status": "UNCHANGED", "notes": [note, *others], "seconds": 0.0,
    }  # fmt: skip
    assert others == second["notes"]
    why = rf"{user_name()} rolled back from it to {first['run_id']} at \d{{4}}-.* UTC"
    to = f"`beam-jobs rollback --month 2026-09 --to {second['run_id']}`"
    assert re.match(
        rf"run {second['run_id']} is not published again: {why} \(wrong prices\);", note
    )
    assert to in note
    plan = monthly("--plan", "--json").json
    assert (plan["notes"][0], plan["existing_run"], plan["replaces"]) == (note, "SUPERSEDED", None)
    assert current() == [first["run_id"]]

    # Also where nothing but the warehouse remembers it; for people the figures are the run's.
    Path(second["run_folder"], "summary.json").unlink()
    shown = monthly()
    assert (shown.code, "UNCHANGED" in shown.out) == (0, True)
    assert f"{ROWS:,}" in shown.out
    assert "rolled back from it" in shown.out
    assert current() == [first["run_id"]]

    forced = monthly("--json", "--force").json
    assert (forced["run_id"], forced["status"]) == (second["run_id"], "PUBLISHED")
    assert current() == [second["run_id"]]
    assert "rolled back" not in " ".join(monthly("--plan", "--json").json["notes"])
