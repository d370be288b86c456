"""What is called like a request file and is none is told, and costs nothing else."""

import os
from pathlib import Path
from typing import Any, Self

import pytest

from beam_jobs.commands import requests as requests_command
from support.commands import run_command
from support.queues import answers_in, ask, good, put, queue_flags

pytestmark = pytest.mark.integration


class TwoRounds:
    """Stands for `Interrupted`: the user interrupts after the second round."""

    def __init__(self) -> None:
        self.pauses = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def within(self, _: float) -> bool:
        self.pauses += 1
        return self.pauses == 2


def test_a_folder_and_a_broken_link_are_told_in_every_round_and_the_others_answered(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, later = tmp_path / "queue", tmp_path / "later.jsonl"
    (queue / "folder.jsonl").mkdir(parents=True)
    (queue / "done").mkdir()  # not called like a request file: nobody expects an answer
    (queue / "link.jsonl").symlink_to(later)
    told = (
        f"not answered, no request files: {queue}/folder.jsonl (a folder), {queue}/link.jsonl"
        " (a link to nothing)"
    )

    def requests(*argv: str) -> Any:
        done = run_command("requests", *queue_flags(setup, tmp_path, *argv))
        assert done.code == 0, done.err
        return done

    assert f"beam-jobs: {told}" in requests().err.splitlines()
    with monkeypatch.context() as patch:
        patch.setattr(requests_command, "Interrupted", TwoRounds)
        assert requests("--watch=1").err.splitlines().count(f"beam-jobs: {told}") == 1
    assert requests("--plan", "--json").json["notes"].count(told) == 1

    put(tmp_path, "a.jsonl", good("a", 3))
    done = requests("--json").json
    assert (done["status"], done["rows"]["scored"], done["unreadable"]) == ("PUBLISHED", 3, [])
    assert done["notes"].count(told) == 1
    again = requests("--json").json
    assert (again["status"], again["notes"].count(told)) == ("UNCHANGED", 1)
    assert ask(tmp_path, "SELECT uri FROM inputs") == [(f"{queue}/a.jsonl",)]

    os.rename(put(tmp_path, "b.jsonl", good("b", 2)).uri, later)
    done = requests("--json").json
    assert (done["status"], done["rows"]["scored"]) == ("PUBLISHED", 2)
    assert [row["id"] for row in answers_in(tmp_path / "responses/link.jsonl")] == ["b-0", "b-1"]
    assert f"not answered, no request files: {queue}/folder.jsonl (a folder)" in done["notes"]
