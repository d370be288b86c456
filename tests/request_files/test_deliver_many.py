"""Answers in more parts than a process may open files."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_jobs import storage
from beam_jobs.request_files.deliver import OPEN_PARTS, deliver_answers
from beam_jobs.request_files.staged import FOLDER, AnswerPart, Fragment, stage
from beam_jobs.runs.folder import RunFolder

PARTS = 3_000


@pytest.fixture
def few_files() -> Iterator[None]:
    """This process may open a few files more than it has open now."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 3 * OPEN_PARTS, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def make_answers(folder: RunFolder, responses: Path) -> dict[str, str]:
    """{answer file: its content}: a request file a part, and one with a line in every part."""
    parts, expected = [], {}
    spread = str(responses.parent / "queue" / "spread.jsonl")
    files = [storage.FileInfo(spread, 1, "7")]
    for number in range(PARTS):
        name, own, line = f"part-{number}.jsonl", f"own {number}\n", f"spread {number}\n"
        storage.write_atomic(f"{folder.path}/{FOLDER}/{name}", (own + line).encode())
        uri = str(responses.parent / "queue" / f"{number:04d}.jsonl")
        files.append(storage.FileInfo(uri, 1, "7"))
        fragments = (
            Fragment(uri, 1, 1, name, 0, len(own)),
            # The last part has the first line: no order of parts can be relied on.
            Fragment(spread, PARTS - number, 1, name, len(own), len(line)),
        )
        parts.append(AnswerPart(name, len(own + line), fragments))
        expected[os.path.basename(uri)] = own
    stage(folder, str(responses), files, parts)
    lines = [f"spread {number}\n" for number in reversed(range(PARTS))]
    return expected | {"spread.jsonl": "".join(lines)}


@pytest.mark.usefixtures("few_files")
def test_more_parts_than_may_be_open_are_delivered_each_once(tmp_path: Path) -> None:
    folder, responses = RunFolder(str(tmp_path / "run")), tmp_path / "responses"
    expected = make_answers(folder, responses)
    assert deliver_answers(folder) == PARTS + 1
    assert {path.name: path.read_text() for path in responses.iterdir()} == expected
    assert deliver_answers(folder) is None
    assert len(list(responses.iterdir())) == PARTS + 1
