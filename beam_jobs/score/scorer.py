"""A batch -> the same batch with scores; rows that make the model fail gain a finding."""

import re
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from beam_jobs import records
from beam_jobs.records import Actions, Findings, Reason
from beam_jobs.score.fit import InputPlan
from beam_jobs.score.inputs import check_inputs, to_arrays
from beam_jobs.score.model import Predict
from beam_jobs.score.outputs import check_outputs, others_as_json, score_of

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
        plan: how rows are given to it.
        actions: which findings keep a row from the model.
        max_rows: rows at a time; halved for good when the model runs out of memory.
    """

    predict: Predict
    plan: InputPlan
    actions: Actions
    max_rows: int = field(default=records.ROWS_PER_BATCH)

    def __post_init__(self) -> None:
        self.max_rows = min(self.max_rows, self.plan.max_rows)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Adds SCORE and OUTPUTS, null in rows that are not scored; images are left out.

        Rows that the actions quarantine are not given to the model. A row that cannot be, or that
        makes it fail, or whose score is no number, gains a finding.

        Raises:
            RunError: the model does not give one row a row.
        """
        rows = np.flatnonzero(~records.quarantined_rows(batch, self.actions))
        candidates = _take(batch, rows)
        found = check_inputs(candidates, self.plan)
        unfit = [f.rows for f in found]
        good = np.ones(len(rows), bool)
        if unfit:
            good[np.concatenate(unfit)] = False
        found = [replace(f, rows=rows[f.rows]) for f in found]
        rows = rows[good]
        scores, others, failed = self._score_all(_take(candidates, np.flatnonzero(good)))
        found += [Findings(Reason.MODEL_ERROR, rows[list(failed)], list(failed.values()))]
        del candidates
        batch = records.without(batch, records.IMAGE, records.IMAGE_TENSOR)
        batch = records.set_column(batch, records.SCORE, _spread(scores, rows, batch.num_rows))
        batch = records.set_column(batch, records.OUTPUTS, _spread(others, rows, batch.num_rows))
        return records.with_findings(batch, found)

    def _score_all(self, batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array, dict[int, str]]:
        """(scores, other outputs, {row: why it failed}); a queue of ranges instead of recursion."""
        scores = np.full(batch.num_rows, np.nan)
        others: list[tuple[int, pa.Array]] = []
        failed: dict[int, str] = {}
        ranges = [(0, batch.num_rows)] if batch.num_rows else []
        while ranges:
            first, last = ranges.pop()
            if last - first > self.max_rows:
                middle = first + self.max_rows
                ranges += [(middle, last), (first, middle)]
                continue
            part = batch.slice(first, last - first)
            try:
                outputs = self.predict(to_arrays(part, self.plan))
            except Exception as error:  # noqa: BLE001 (a model may raise anything)
                if last - first == 1:
                    failed[first] = f"the model failed: {_line(error)}"
                    continue
                if _is_out_of_memory(error):
                    # Another thread may have found a smaller one.
                    self.max_rows = min(self.max_rows, max(1, (last - first) // 2))
                middle = (first + last) // 2
                ranges += [(middle, last), (first, middle)]
                continue
            check_outputs(outputs, self.plan, last - first)
            scores[first:last] = score_of(outputs, self.plan)
            others.append((first, others_as_json(outputs, self.plan, last - first)))
        for row in np.flatnonzero(~np.isfinite(scores)).tolist():
            failed.setdefault(row, f"the score is {scores[row]}")
        return (
            pa.array(scores, mask=~np.isfinite(scores)),
            _joined(others, failed, batch.num_rows),
            dict(sorted(failed.items())),
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


def _take(batch: pa.RecordBatch, rows: np.ndarray) -> pa.RecordBatch:
    """These rows; the batch itself where they are all."""
    return batch if len(rows) == batch.num_rows else batch.take(pa.array(rows))


def _spread(values: pa.Array, rows: np.ndarray, size: int) -> pa.Array:
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
