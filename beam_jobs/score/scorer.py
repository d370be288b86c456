"""A batch -> the same batch with scores; rows that make the model fail gain a finding."""

import re
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_jobs.batch import (
    IMAGE,
    IMAGE_TENSOR,
    OUTPUTS,
    ROWS_PER_BATCH,
    SCORE,
    Actions,
    Findings,
    Reason,
    quarantined_rows,
    set_column,
    with_findings,
    without,
)
from beam_jobs.errors import RunError
from beam_jobs.models.loader import Predict
from beam_jobs.score.class_check import Outputs
from beam_jobs.score.inputs import check_inputs, to_arrays
from beam_jobs.score.outputs import check_outputs, others_as_json, score_of
from beam_jobs.score.poison import Failed, find_failing
from beam_jobs.score.signature_binding import SignatureBinding

WHOLE_BATCHES = 4
"""A model that fails on so many batches as a whole, and has scored no row, ends the run."""

_MESSAGE_LENGTH = 300
_GRAPH_PLACES = re.compile(
    r"Graph execution error:\s+|Detected at node .*?\n(?:<stack traces unavailable>\n|  .*\n|\n)+"
    r"|\s*\[\[\{.*|\s*\[Op:\w+\]"
)


@dataclass
class Scorer:
    """Scores batches with one loaded model.

    Attributes:
        predict: the model.
        binding: how rows are given to it.
        actions: which findings keep a row from the model.
        max_rows: rows at a time; halved for good when the model runs out of memory.
        name: of the model, for messages.
    """

    predict: Predict
    binding: SignatureBinding
    actions: Actions
    max_rows: int = field(default=ROWS_PER_BATCH)
    name: str = ""
    _has_scored: bool = field(default=False, init=False)
    _whole_batches: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.max_rows = min(self.max_rows, self.binding.max_rows)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Adds SCORE and OUTPUTS, null in rows that are not scored; images are left out.

        Rows that the actions quarantine are not given to the model. A row that cannot be, or that
        makes it fail, or whose score is no number, gains a finding.

        Raises:
            RunError: the model does not give one row a row, or fails on every row.
        """
        rows = np.flatnonzero(~quarantined_rows(batch, self.actions))
        candidates = _take(batch, rows)
        found = check_inputs(candidates, self.binding)
        unfit = [f.rows for f in found]
        good = np.ones(len(rows), bool)
        if unfit:
            good[np.concatenate(unfit)] = False
        found = [replace(f, rows=rows[f.rows]) for f in found]
        rows = rows[good]
        scores, others, failed = self._score_all(_take(candidates, np.flatnonzero(good)))
        found += [Findings(Reason.MODEL_ERROR, rows[list(failed)], list(failed.values()))]
        del candidates
        batch = without(batch, IMAGE, IMAGE_TENSOR)
        batch = set_column(batch, SCORE, _spread(scores, rows, batch.num_rows))
        batch = set_column(batch, OUTPUTS, _spread(others, rows, batch.num_rows))
        return with_findings(batch, found)

    def _score_all(self, batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array, dict[int, str]]:
        """(scores, other outputs, {row: why it failed})."""
        scores = np.full(batch.num_rows, np.nan)
        others: list[tuple[int, pa.Array]] = []

        def attempt(first: int, last: int) -> str | None:
            try:
                answers = self._answers(batch, first, last)
            except RunError:
                raise
            except Exception as error:  # noqa: BLE001 (a model may raise anything)
                return _line(error)
            for start, outputs in answers:
                part = score_of(outputs, self.binding)
                scores[start : start + len(part)] = part
                others.append((start, others_as_json(outputs, self.binding, len(part))))
            return None

        starts = range(0, batch.num_rows, self.max_rows)
        pieces = [(start, min(start + self.max_rows, batch.num_rows)) for start in starts]
        found = find_failing(attempt, pieces)
        self._has_scored = self._has_scored or bool(others)
        failed = {row: f"the model failed: {why}" for row, why in found.rows.items()}
        if found.untried:
            failed |= dict.fromkeys(found.untried, self._why_untried(found))
        for row in np.flatnonzero(~np.isfinite(scores)).tolist():
            failed.setdefault(row, f"the score is {scores[row]}")
        return (
            pa.array(scores, mask=~np.isfinite(scores)),
            _joined(others, failed, batch.num_rows),
            dict(sorted(failed.items())),
        )

    def _answers(self, batch: pa.RecordBatch, first: int, last: int) -> list[tuple[int, Outputs]]:
        """[(first row, what the model gives)] for rows [first, last).

        One call, or several where memory is short.

        Raises:
            RunError: it does not give one row a row.
            Exception: whatever the model raises.
        """
        answers: list[tuple[int, Outputs]] = []
        while first < last:
            rows = min(last - first, self.max_rows)
            try:
                outputs = self.predict(to_arrays(batch.slice(first, rows), self.binding))
            except Exception as error:
                if rows == 1 or not _is_out_of_memory(error):
                    raise
                # Another thread may have found a smaller one.
                self.max_rows = min(self.max_rows, rows // 2)
                continue
            check_outputs(outputs, self.binding, rows)
            answers.append((first, outputs))
            first += rows
        return answers

    def _why_untried(self, found: Failed) -> str:
        """What is said of rows of a batch on which the model fails as a whole.

        Raises:
            RunError: there were several such batches, and it has never scored a row.
        """
        why = next(iter(found.rows.values()))
        self._whole_batches += 1
        if self._whole_batches >= WHOLE_BATCHES and not self._has_scored:
            raise RunError(
                f"model {self.name}: has failed on every row of {self._whole_batches} batches, and"
                f" has scored none: {why}"
            )
        return (
            f"the model failed on each of {len(found.rows)} rows of the batch that were tried"
            f" alone, so this one was not: {why}"
        )


def _joined(parts: list[tuple[int, pa.Array]], failed: dict[int, str], rows: int) -> pa.Array:
    """The other outputs of all ranges in order; null in rows that failed."""
    if not parts:
        return pa.nulls(rows, pa.string())
    parts.sort(key=lambda part: part[0])
    if len(parts) == 1 and not failed:
        return parts[0][1]
    places = np.concatenate([np.arange(first, first + len(part)) for first, part in parts])
    joined = pa.concat_arrays([part for _, part in parts])
    scored = ~np.isin(places, list(failed))
    return _spread(joined.filter(pa.array(scored)), places[scored], rows)


def _take(batch: pa.RecordBatch, rows: npt.NDArray[np.int64]) -> pa.RecordBatch:
    """These rows; the batch itself where they are all."""
    return batch if len(rows) == batch.num_rows else batch.take(pa.array(rows))


def _spread(values: pa.Array, rows: npt.NDArray[np.int64], size: int) -> pa.Array:
    """An array of `size` with the values at `rows`, null elsewhere."""
    if len(values) == size:
        return values
    places = np.full(size, -1)
    places[rows] = np.arange(len(rows))
    return values.take(pa.array(places, mask=places < 0))


def _is_out_of_memory(error: Exception) -> bool:
    import tensorflow as tf

    return isinstance(error, tf.errors.ResourceExhaustedError | MemoryError)


def _line(error: Exception) -> str:
    """What failed, without TensorFlow's account of where in the graph."""
    text = _GRAPH_PLACES.sub("", str(error))
    return (" ".join(text.split()) or type(error).__name__)[:_MESSAGE_LENGTH]
