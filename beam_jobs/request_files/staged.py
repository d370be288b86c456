"""Answers while their run is not published: parts in the run's folder, and what they hold.

A part holds the answers of a bundle of batches, one behind the other. Which bytes of which parts
are the answers of a request file is told by fragments, so that nothing depends on how a runner
bundles batches, or in which order it sends them.
"""

import contextlib
import dataclasses
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson
import pyarrow as pa

from beam_jobs import storage
from beam_jobs.batch import Actions
from beam_jobs.errors import AuditError, RunError
from beam_jobs.request_files.answers import answer_lines, by_file
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import RunIdentity

FOLDER = "answers"
INDEX = "answers.json"
DELIVERED = "released.json"  # so named in the folders of all earlier runs


@dataclass(frozen=True)
class Fragment:
    """Answers of one request file within a part.

    Attributes:
        uri: of the request file.
        row: the first request's place in its file.
        rows: requests.
        part: name of the part.
        offset, length: bytes.
    """

    uri: str
    row: int
    rows: int
    part: str
    offset: int
    length: int


@dataclass(frozen=True)
class AnswerPart:
    """A finished part: its name, its size in bytes, and what it holds."""

    name: str
    bytes: int
    fragments: tuple[Fragment, ...]


class AnswerWriter:
    """Writes the answers of batches into one part, which appears whole, at `close`.

    Its name is new: a bundle that is repeated writes another part, and the run keeps the part of
    the attempt whose fragments it gets.
    """

    def __init__(self, folder: str, run: RunIdentity, actions: Actions) -> None:
        self._run, self._actions = run, actions
        self._name = f"part-{uuid.uuid4().hex}.jsonl"
        self._uri = storage.join(folder, FOLDER, self._name)
        self._resources = contextlib.ExitStack()
        self._fragments: list[Fragment] = []
        self._size = 0
        with self._guard():
            self._stream = self._resources.enter_context(storage.open_atomic(self._uri))

    def write(self, batch: pa.RecordBatch) -> None:
        """Writes the answers of a scored batch."""
        lines = answer_lines(batch, self._run, self._actions)
        with self._guard():
            for uri, row, rows, answers in by_file(batch, lines):
                self._stream.write(answers)
                fragment = Fragment(uri, row, rows, self._name, self._size, len(answers))
                self._fragments.append(fragment)
                self._size += len(answers)

    def close(self) -> AnswerPart:
        """Finishes the part."""
        with self._guard():
            self._resources.close()
        return AnswerPart(self._name, self._size, tuple(self._fragments))

    def abort(self) -> None:
        """Removes what is unfinished; nothing after `close`."""
        resources = self._resources.pop_all()
        with contextlib.suppress(OSError):
            resources.__exit__(InterruptedError, InterruptedError(), None)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.abort()
            raise cannot_answer(self._uri, error) from error


def cannot_answer(uri: str, error: OSError) -> RunError:
    """The error of a run whose answers cannot be written."""
    return RunError(
        f"{uri}: cannot be written ({error.strerror or error}); make room or make it writable,"
        " then run the command again"
    )


@dataclass(frozen=True)
class Answers:
    """What a run has to answer; in its folder from before it is published.

    Attributes:
        responses: the folder where readers wait.
        parts: {name: bytes}.
        files: the request files, each with its fragments' (part, offset, length), in order.
    """

    responses: str
    parts: dict[str, int]
    files: tuple[tuple[storage.FileInfo, tuple[tuple[str, int, int], ...]], ...]


def check_answered(
    parts: Sequence[AnswerPart], files: Sequence[storage.FileInfo], rows: Sequence[int]
) -> None:
    """Raises AuditError where parts do not hold each of a file's requests, all `rows`, once."""
    places: dict[str, list[tuple[int, int]]] = {file.uri: [] for file in files}
    for part in parts:
        for fragment in part.fragments:
            places[fragment.uri].append((fragment.row, fragment.rows))
    for file, wanted in zip(files, rows, strict=True):
        answered = 0
        for row, count in sorted(places[file.uri]):
            if row != answered + 1:
                break
            answered += count
        else:
            if answered == wanted:
                continue
        raise AuditError(
            f"{file.uri}: the answers do not follow each other from the first of {wanted} requests"
            f" to the last, but stop or repeat at request {answered + 1}: the runner lost or"
            " doubled some"
        )


def stage(
    folder: RunFolder,
    responses: str,
    files: Sequence[storage.FileInfo],
    parts: Sequence[AnswerPart],
) -> None:
    """Writes the index of a run's answers and removes parts that no index names.

    Only whoever holds the folder's lock may call this.

    Raises:
        AuditError: a part is missing, or not as it was written.
    """
    kept = {part.name: part.bytes for part in parts}
    places: dict[str, list[Fragment]] = {}
    for part in parts:
        for fragment in part.fragments:
            places.setdefault(fragment.uri, []).append(fragment)
    document = {
        "responses": responses,
        "parts": kept,
        "files": [
            {
                **dataclasses.asdict(file),
                "fragments": [
                    (fragment.part, fragment.offset, fragment.length)
                    for fragment in sorted(places.get(file.uri, []), key=lambda f: f.row)
                ],
            }
            for file in files
        ],
    }
    folder.write(storage.join(folder.path, INDEX), orjson.dumps(document))
    here = storage.join(folder.path, FOLDER)
    for left in storage.match(storage.join(here, "*")):
        if os.path.basename(left.uri) not in kept:
            storage.remove(left.uri)
    for name, size in kept.items():
        uri = storage.join(here, name)
        found = storage.info(uri).size if storage.exists(uri) else None
        if found != size:
            raise AuditError(
                f"{uri}: {'is missing' if found is None else f'has {found} bytes'}, written were"
                f" {size}"
            )


def read_answers(folder: RunFolder) -> Answers | None:
    """What the run has to answer; None where nobody waits for its answers."""
    uri = storage.join(folder.path, INDEX)
    if not storage.exists(uri):
        return None
    document = orjson.loads(storage.read_bytes(uri))
    files = [
        (
            storage.FileInfo(file["uri"], file["size"], file["generation"]),
            tuple((part, offset, length) for part, offset, length in file["fragments"]),
        )
        for file in document["files"]
    ]
    return Answers(document["responses"], document["parts"], tuple(files))
