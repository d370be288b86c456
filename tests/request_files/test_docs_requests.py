"""The examples of docs/requests.md are what they are said to be."""

import json
import re
from pathlib import Path

import pytest

from beam_jobs.request_files.queue import list_queue
from support.request_lines import SPEC, read_rows

TEXT = (Path(__file__).parents[2] / "docs" / "requests.md").read_text()
JSON = re.findall(r"```json\n(.*?)```", TEXT, re.S)


def test_requests_of_every_shape_are_read(tmp_path: Path) -> None:
    shapes = [block for block in JSON if '"status"' not in block]
    assert len(shapes) == 4
    for block in shapes:
        (tmp_path / "q.jsonl").write_text(block)
        rows = read_rows(list_queue([f"{tmp_path}/*"]).files)
        assert rows[0].key == "r1"
        assert rows[0].values["bid"] == 0.4
        assert not any(row.reasons for row in rows)


def test_answers_have_the_members_of_the_table() -> None:
    (answers,) = [block for block in JSON if '"status"' in block]
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", TEXT, re.M)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    for line in answers.splitlines():
        assert [name for name in named if name in json.loads(line)] == list(json.loads(line))


def test_the_producer_writes_what_the_queue_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/requests.md", "exec"), {})
    queue = list_queue([f"{tmp_path}/queue/*"])
    assert not queue.unfinished
    (row,) = read_rows(queue.files, SPEC)
    assert (row.key, row.values["device"], row.reasons) == ("r1", "mobile", frozenset())
