"""Whether the classes that a model names in its answer contradict the column that is its score.

What the graph tells was weighed when the run was planned; names that are computed are seen here
first, before anything is published. Where the user named the column, nothing is asked.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_jobs.errors import RunError
from beam_jobs.models.evidence import CLASS_OUTPUT
from beam_jobs.score.class_names import positive_class
from beam_jobs.score.score_choice import Score, positive_column

Outputs = Mapping[str, npt.NDArray[Any]]

_CLASSES = 2


def check_classes(outputs: Outputs, score: Score) -> None:
    """Looks at all rows of an answer.

    Args:
        outputs: {output: array [n, ...]}.
        score: which column was taken.

    Raises:
        RunError: the other of two columns is the positive class, or the columns have no fixed one.
    """
    values = outputs[score.output]
    if score.is_named or values.ndim != 2 or values.shape[1] != _CLASSES or not len(values):
        return
    column = positive_column(_CLASSES) if score.index is None else score.index
    for name, classes in outputs.items():
        if name == score.output or not _may_be_classes(name, classes):
            continue
        if classes.ndim == 2 and classes.shape[1] == _CLASSES:
            _check_columns(name, classes, score, column)
        elif classes.size == len(values):
            _check_predicted(name, classes.reshape(-1), values[:, column], score)


def _may_be_classes(name: str, values: npt.NDArray[Any]) -> bool:
    """Texts may be; numbers where the output's name says so and they are those of two classes."""
    if values.dtype == object:
        return True
    is_named = values.dtype.kind in "iu" and CLASS_OUTPUT.search(name) is not None
    return is_named and bool(np.isin(values, (-1, 0, 1)).all())


def _check_columns(name: str, classes: npt.NDArray[Any], score: Score, column: int) -> None:
    """Of an output that may name the class of each column."""
    first, second = classes[0]
    names = _text(first), _text(second)
    says_so = CLASS_OUTPUT.search(name) is not None
    if (classes != classes[0]).any():
        if says_so or np.isin(classes, (first, second)).all():
            raise _unclear(score, f"output {name!r} names their classes in no fixed order")
        return
    positive = positive_class(names, score.label)
    if positive != column and (says_so or positive is not None):
        raise _unclear(score, f"output {name!r} calls them {names[0]!r}, {names[1]!r}")


def _check_predicted(
    name: str, classes: npt.NDArray[Any], scores: npt.NDArray[Any], score: Score
) -> None:
    """Of an output that may name the class that a row is predicted to have.

    Where a class is chosen by a threshold of the score, rows of the positive class have the
    higher scores, whatever the threshold.
    """
    encoded = pa.array(classes).dictionary_encode()
    names = [_text(value) for value in encoded.dictionary.to_pylist()]
    if CLASS_OUTPUT.search(name) is None or len(names) != _CLASSES:
        return
    positive = positive_class(names, score.label)
    if positive is None:
        return
    is_positive = np.asarray(encoded.indices) == positive
    if scores[is_positive].mean() < scores[~is_positive].mean():
        raise _unclear(
            score,
            f"rows of class {names[positive]!r} in output {name!r} have the lower numbers in the"
            " column that would be the score",
        )


def _text(value: object) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def _unclear(score: Score, why: str) -> RunError:
    return RunError(
        f"output {score.output!r} has 2 columns, and {why}; choose the score with --score"
        f" {score.output}:0 or {score.output}:1"
    )
