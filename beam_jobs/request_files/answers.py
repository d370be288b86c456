"""Scored batches -> answer lines."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.batch import (
    FINDINGS,
    KEY,
    OUTPUTS,
    SCORE,
    SOURCE_FILE,
    SOURCE_ROW,
    Actions,
    column_or_none,
    distinct_reasons,
    finding_text,
    quarantined_rows,
)
from beam_jobs.runs.run_row import RunIdentity

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
    keys = column_or_none(batch, KEY)
    if keys is None or not rows:
        return pa.nulls(rows, pa.string())
    rejected = quarantined_rows(batch, actions)
    is_ok = pa.array(~rejected)
    scores = column_or_none(batch, SCORE)
    outputs = column_or_none(batch, OUTPUTS)
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


def _findings(batch: pa.RecordBatch, rejected: npt.NDArray[np.bool_]) -> pa.Array | str:
    """The members flags, reasons and details; only rows with findings cost a step each."""
    none = ',"flags":[],"reasons":[],"details":[]'
    column = column_or_none(batch, FINDINGS)
    if column is None or not len(column.flatten()):
        return none
    reasons = distinct_reasons(column)
    found = np.flatnonzero(np.asarray(pc.list_value_length(column)) > 0)
    place = pa.array(found)
    texts = [
        _members([] if bad else codes, codes if bad else [], explained)
        for bad, codes, explained in zip(
            rejected[found],
            reasons.take(place).to_pylist(),
            column.take(place).to_pylist(),
            strict=True,
        )
    ]
    mask = np.zeros(batch.num_rows, bool)
    mask[found] = True
    everywhere = pa.repeat(pa.scalar(none, pa.string()), batch.num_rows)
    return pc.replace_with_mask(everywhere, pa.array(mask), pa.array(texts, pa.string()))


def _members(flags: list[str], reasons: list[str], found: list[dict[str, Any]]) -> str:
    details = [finding_text(**finding) for finding in found]
    members = {"flags": flags, "reasons": reasons, "details": details}
    return "," + orjson.dumps(members).decode()[1:-1]


def by_file(batch: pa.RecordBatch, lines: pa.Array) -> Iterator[tuple[str, int, int, memoryview]]:
    """(request file, first row, rows, answers as bytes) of rows that follow each other in a file.

    The batch's rows may stand in any order. A row without an answer still names its file: a file
    of such rows has an empty answer file.
    """
    files = column_or_none(batch, SOURCE_FILE)
    places = column_or_none(batch, SOURCE_ROW)
    if files is None or places is None or not len(files):
        return
    rows, codes = np.asarray(places), np.asarray(files.dictionary_encode().indices)
    # Without nulls the values' own buffer is the file's content.
    texts = pc.fill_null(lines, "")
    order = np.lexsort((rows, codes))
    if (np.diff(order) != 1).any():
        rows, codes, texts = rows[order], codes[order], texts.take(pa.array(order))
        files = files.take(pa.array(order))
    begins = np.flatnonzero((np.diff(codes, prepend=-1) != 0) | (np.diff(rows, prepend=-1) != 1))
    _, offsets_buffer, values = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[texts.offset :]
    data = memoryview(values) if values is not None else memoryview(b"")
    for begin, end in zip(begins, [*begins[1:], len(files)], strict=True):
        answers = data[offsets[begin] : offsets[end]]
        yield files[int(begin)].as_py(), int(rows[begin]), int(end - begin), answers
