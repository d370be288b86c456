"""Published runs' answers -> files where their readers wait for them.

A file appears whole and is never replaced. A step repeated after a crash finds its own work done,
and the next run, whatever it has to do itself, first finishes what a killed one left.
"""

import collections
import datetime
import gzip
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO, cast

import orjson

from beam_jobs import storage
from beam_jobs.errors import InputError
from beam_jobs.request_files.queue import answer_names
from beam_jobs.request_files.staged import DELIVERED, FOLDER, Answers, cannot_answer, read_answers
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import RunRow

_IN_MEMORY = 16 << 20
_CHUNK = 1 << 20

OPEN_PARTS = 8
"""Parts of answers that are open at a time: in Cloud Storage each has a buffer of 2 MiB."""

_SLACK = datetime.timedelta(hours=1)
"""How far the clocks of machines may be apart."""


def deliver_answers(folder: RunFolder) -> int | None:
    """Puts the answers of a published run where their readers wait, and notes that this is done.

    Returns:
        The number of answer files; None where they were put before, or the run had no --responses.

    Raises:
        RunError: a file cannot be written; the next run tries again.
    """
    if is_delivered(folder):
        return None
    answers = read_answers(folder)
    put = [] if answers is None else _put_all(folder, answers)
    document = {"responses": answers and answers.responses, "answers": put}
    folder.write(_marker(folder), orjson.dumps(document))
    return None if answers is None else len(put)


def check_deliverable(folder: RunFolder) -> None:
    """Before a run is published: whether its answers can be put where their readers wait.

    Raises:
        UsageError: this account may not, or the place is gone.
    """
    answers = None if is_delivered(folder) else read_answers(folder)
    if answers is not None:
        storage.check_writable(answers.responses, "--responses", storage.Access.ADD)


def is_delivered(folder: RunFolder) -> bool:
    """Whether the run's answers were put where their readers wait."""
    return storage.exists(_marker(folder))


def forget_delivery(folder: RunFolder) -> None:
    """Before a run is computed again; the caller knows that nobody has its answers yet."""
    storage.remove(_marker(folder))


def _marker(folder: RunFolder) -> str:
    return storage.join(folder.path, DELIVERED)


def undelivered(runs: Iterable[RunRow]) -> list[RunRow]:
    """The published queue runs whose answers some process left behind, the oldest first.

    Every run delivers what it finds left before it does anything of its own. So of a run that
    has delivered its answers, everything published before it started is delivered: however many
    runs there are, few folders are looked into.

    Args:
        runs: published ones of the queue, the one that was published last first.
    """
    left: list[RunRow] = []
    since: datetime.datetime | None = None
    for run in runs:
        if since is not None and run.finished_at < since - _SLACK:
            break
        if is_delivered(RunFolder(run.run_folder)):
            since = since or run.started_at
        else:
            left.append(run)
    return left[::-1]


def deliver_left(runs: Iterable[RunRow], tell: Callable[[str], None]) -> None:
    """Delivers what earlier processes left behind; a folder that is gone is told, not an error.

    Args:
        runs: published ones of the queue, the one that was published last first.
        tell: told one sentence for the user.

    Raises:
        RunError: answers cannot be written.
    """
    for run in undelivered(runs):
        folder = RunFolder(run.run_folder)
        if not storage.exists(folder.manifest):
            tell(f"run {run.run_id}: its folder {folder.path} is gone, and so are its answers")
            continue
        with folder.lock(tell):
            delivered = deliver_answers(folder)
        if delivered is not None:
            tell(f"run {run.run_id}: delivered the answers of {delivered} request files")


def _put_all(folder: RunFolder, answers: Answers) -> list[tuple[str, str, str]]:
    """(request file, generation, answer file) of each file that was put."""
    put = []
    with _OpenParts(storage.join(folder.path, FOLDER)) as parts:
        for file, fragments in answers.files:
            uri = _put(file, fragments, parts, answers.responses)
            put.append((file.uri, file.generation, uri))
    return put


class _OpenParts:
    """The parts that were read last; a run may have more than a process may open."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._streams: collections.OrderedDict[str, BinaryIO] = collections.OrderedDict()

    def __enter__(self) -> "_OpenParts":
        return self

    def __exit__(self, *_: object) -> None:
        while self._streams:
            self._streams.popitem()[1].close()

    def get(self, name: str) -> BinaryIO:
        """The part's stream, good until other parts have been asked for."""
        if name not in self._streams:
            if len(self._streams) >= OPEN_PARTS:
                self._streams.popitem(last=False)[1].close()
            info = storage.info(storage.join(self._folder, name))
            self._streams[name] = storage.open_pinned(info)
        self._streams.move_to_end(name)
        return self._streams[name]


def _put(
    file: storage.FileInfo,
    fragments: Sequence[tuple[str, int, int]],
    parts: _OpenParts,
    responses: str,
) -> str:
    """Puts the answers of one request file; their URI.

    They take the first of the names that is free, or that already holds these very answers: then
    an earlier attempt was interrupted after this step.
    """
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spooled:
        content = cast(BinaryIO, spooled)
        if file.uri.endswith(".gz"):
            with gzip.GzipFile("", "wb", 6, content, mtime=0) as packed:
                _join(fragments, parts, cast(BinaryIO, packed))
        else:
            _join(fragments, parts, content)
        for name in answer_names(file):
            uri = storage.join(responses, name)
            try:
                if storage.create(uri, content) or _holds(uri, content):
                    return uri
            except OSError as error:
                raise cannot_answer(uri, error) from error
    raise AssertionError("the names have an end")


def _join(fragments: Iterable[tuple[str, int, int]], parts: _OpenParts, target: BinaryIO) -> None:
    for name, offset, length in fragments:
        stream = parts.get(name)
        stream.seek(offset)
        for start in range(0, length, _CHUNK):
            target.write(stream.read(min(_CHUNK, length - start)))


def _holds(uri: str, content: BinaryIO) -> bool:
    """Whether a file has exactly this content; one that its reader just took away has not."""
    content.seek(0)
    try:
        with storage.open_pinned(storage.info(uri)) as stream:
            while True:
                theirs, ours = stream.read(_CHUNK), content.read(_CHUNK)
                if theirs != ours or not ours:
                    return theirs == ours
    except (FileNotFoundError, InputError):
        return False
