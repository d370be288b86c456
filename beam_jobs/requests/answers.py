"""Scored batches -> answer lines, and the files that hold them.

An answer is written twice: into the run's folder while the run goes on, and, once the run is
published, under the name where its reader waits for it (`release`). That second step never
replaces a file, and a step repeated after a crash finds its own work done.
"""

import contextlib
import gzip
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs import records, storage
from beam_jobs.errors import RunError
from beam_jobs.publish.runs import RunIdentity
from beam_jobs.records import Actions

OK = "OK"
REJECTED = "REJECTED"

_ESCAPED = r'[\x00-\x1f"\\]'
"""What cannot stand in a JSON text as it is."""


def answer_lines(batch: pa.RecordBatch, run: RunIdentity, actions: Actions) -> pa.Array:
    """string[n]: the answer of each row with its line end; null where a row has no id.

    Args:
        batch: scored rows and quarantined ones, in the order of the requests.
        run: named in every answer.
        actions: decide which rows are rejected.
    """
    rows = batch.num_rows
    keys = records.column_or_none(batch, records.KEY)
    if keys is None or not rows:
        return pa.nulls(rows, pa.string())
    rejected = records.quarantined_rows(batch, actions)
    is_ok = pa.array(~rejected)
    scores = records.column_or_none(batch, records.SCORE)
    outputs = records.column_or_none(batch, records.OUTPUTS)
    end = orjson.dumps({"model_version": run.model_version, "run_id": run.run_id}).decode()[1:]
    parts = [
        '{"id":',
        _quoted(keys),
        pc.if_else(is_ok, f',"status":"{OK}","score":', f',"status":"{REJECTED}","score":'),
        "null" if scores is None else _or_null(_numbers(scores), is_ok),
        ',"outputs":',
        "null" if outputs is None else _or_null(outputs, is_ok),
        _findings(batch, rejected),
        f",{end}\n",
    ]
    return pc.binary_join_element_wise(*parts, "")


def _or_null(texts: pa.Array, present: pa.Array) -> pa.Array:
    return pc.fill_null(pc.if_else(present, texts, None), "null")


def _numbers(values: pa.Array) -> pa.Array:
    """Shortest texts that read back as the same doubles; null where JSON has no number."""
    texts = pc.cast(values, pa.string())
    whole = pc.equal(values, pc.trunc(values))
    if pc.any(whole).as_py():
        # Readers take 1 for an integer, and -0 for 0.
        decimal = pc.replace_substring_regex(texts, r"^(-?[0-9]+)$", r"\1.0")
        texts = pc.if_else(whole, decimal, texts)
    return pc.if_else(pc.is_finite(values), texts, None)


def _quoted(texts: pa.Array) -> pa.Array:
    quoted = pc.binary_join_element_wise('"', texts, '"', "")
    odd = np.flatnonzero(np.asarray(pc.match_substring_regex(texts, _ESCAPED).fill_null(False)))
    if not len(odd):
        return quoted
    values = texts.take(pa.array(odd)).to_pylist()
    escaped = pa.array([orjson.dumps(value).decode() for value in values], pa.string())
    mask = np.zeros(len(texts), bool)
    mask[odd] = True
    return pc.replace_with_mask(quoted, pa.array(mask), escaped)


def _findings(batch: pa.RecordBatch, rejected: np.ndarray) -> pa.Array | str:
    """The members flags, reasons and details; only rows with findings cost a step each."""
    none = ',"flags":[],"reasons":[],"details":[]'
    column = records.column_or_none(batch, records.FINDINGS)
    if column is None or not len(column.flatten()):
        return none
    reasons, details = records.reasons_and_details(column)
    found = np.flatnonzero(np.asarray(pc.list_value_length(column)) > 0)
    place = pa.array(found)
    texts = [
        _members([] if bad else codes, codes if bad else [], explained)
        for bad, codes, explained in zip(
            rejected[found],
            reasons.take(place).to_pylist(),
            details.take(place).to_pylist(),
            strict=True,
        )
    ]
    mask = np.zeros(batch.num_rows, bool)
    mask[found] = True
    everywhere = pa.repeat(pa.scalar(none, pa.string()), batch.num_rows)
    return pc.replace_with_mask(everywhere, pa.array(mask), pa.array(texts, pa.string()))


def _members(flags: list[str], reasons: list[str], details: list[str]) -> str:
    members = {"flags": flags, "reasons": reasons, "details": details}
    return "," + orjson.dumps(members).decode()[1:-1]


def by_file(batch: pa.RecordBatch, lines: pa.Array) -> Iterator[tuple[str, memoryview]]:
    """(request file, its answers in this batch as bytes), in the order of the rows.

    A row without an answer still names its file: a file of such rows has an empty answer file.
    """
    files = records.column_or_none(batch, records.SOURCE_FILE)
    if files is None or not len(files):
        return
    same = np.asarray(pc.equal(files[1:], files[:-1]))
    begins = np.concatenate([[0], np.flatnonzero(~same) + 1])
    # Without nulls the values' own buffer is the file's content.
    texts = pc.fill_null(lines, "")
    _, offsets_buffer, values = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[texts.offset :]
    data = memoryview(values) if values is not None else memoryview(b"")
    for begin, end in zip(begins, [*begins[1:], len(files)], strict=True):
        yield files[int(begin)].as_py(), data[offsets[begin] : offsets[end]]


@contextlib.contextmanager
def open_answers(uri: str) -> Iterator[BinaryIO]:
    """A stream whose file appears whole or not at all; compressed where the name ends in `.gz`.

    The same answers always give the same bytes.
    """
    with storage.open_atomic(uri) as raw:
        if uri.endswith(".gz"):
            with gzip.GzipFile("", "wb", 6, raw, mtime=0) as stream:
                yield stream  # type: ignore[misc]  # written like any binary stream
        else:
            yield raw


def write_answers(
    batches: Iterable[pa.RecordBatch],
    targets: Mapping[str, str],
    run: RunIdentity,
    actions: Actions,
) -> Iterator[pa.RecordBatch]:
    """Writes the answers of a group of files while its batches pass through.

    Args:
        batches: of `read_requests`, scored, in its order.
        targets: {request file: its answer file in the run's folder}. A file without requests gets
            an empty answer file.
        run: named in every answer.
        actions: decide which rows are rejected.

    Raises:
        RunError: a file cannot be written.
    """
    waiting = dict(targets)
    with contextlib.ExitStack() as current:
        stream: BinaryIO | None = None
        open_for: str | None = None
        for batch in batches:
            lines = answer_lines(batch, run, actions)
            for file, answers in by_file(batch, lines):
                with _told(targets[file]):
                    if file != open_for:
                        current.close()
                        stream = current.enter_context(open_answers(waiting.pop(file)))
                        open_for = file
                    assert stream is not None
                    stream.write(answers)
            yield batch
    for target in waiting.values():
        with _told(target), open_answers(target):
            pass


@contextlib.contextmanager
def _told(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{uri}: cannot be written ({error.strerror or error}); nothing was answered;"
            " make room, then run the command again"
        ) from error


def release(staged: str, folder: str, names: Iterable[str]) -> str:
    """Puts a staged answer file where its reader waits, and returns its URI there.

    It takes the first of the names that is free, or that already holds these very answers: then
    an earlier attempt was interrupted after this step. No file is ever replaced.

    Args:
        staged: the file in the run's folder.
        folder: `--responses`.
        names: without end, as `queue.answer_names` gives them.
    """
    for name in names:
        uri = storage.join(folder, name)
        with _told(uri):
            if storage.copy_new(staged, uri) or storage.same_bytes(staged, uri):
                return uri
    raise AssertionError("the names have an end")
