"""Which of a model's numbers is the score; decided before any work, by evidence where there is."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from beam_jobs.config.flags import nearest
from beam_jobs.errors import UsageError
from beam_jobs.models.evidence import CLASS_OUTPUT, ClassNames
from beam_jobs.models.signature import DType, Signature, TensorInfo
from beam_jobs.score.class_names import LabelWords, positive_class

SCORE_NAMES = ("score", "scores", "probability", "probabilities", "predictions", "logistic")
"""Outputs that are the score where there are several, the first of these that exists."""

_NUMBERS = ("float", "bfloat", "int", "uint", "bool")
"""How the names of types begin whose values are real numbers."""

_FLOATS = ("float", "bfloat")

_MOST_COLUMNS = 2  # more classes have no positive one


@dataclass(frozen=True)
class Score:
    """Where the score is in the model's answer.

    Attributes:
        output: name of it.
        index: its column; None where only the model's answer tells how many there are.
        is_named: whether the user named the column: then nothing else is asked.
        label: what the schema says of the label's values, for classes that the answer names.
    """

    output: str
    index: int | None
    is_named: bool = False
    label: LabelWords = field(default_factory=LabelWords)


def choose_score(
    signature: Signature, chosen: str | None, label: LabelWords
) -> tuple[Score, list[str]]:
    """The score, and what the user should know of the choice.

    Args:
        signature: of the model.
        chosen: OUTPUT or OUTPUT:INDEX, None to choose by the rules in docs/models.md.
        label: what the schema says of the label's values.

    Raises:
        UsageError: there is no such output or column, or one must be chosen.
    """
    outputs = signature.outputs
    listed = ", ".join(str(output) for output in outputs)
    output, index = _named(outputs, chosen, listed) if chosen else (_found(outputs, listed), None)
    if output.dtype == DType.STRING.value:
        raise UsageError(f"--score {output.name}: is text, not a number; there are {listed}")
    if output.shape is not None and not 1 <= len(output.shape) <= 2:
        raise UsageError(
            f"--score: output {output} has {len(output.shape)} dimensions; a score is one number"
            " a row, [None] or a column of [None, k]"
        )
    if index is not None:
        if output.width is not None and index >= output.width:
            raise UsageError(f"--score {chosen}: output {output} has no column {index}")
        return Score(output.name, index, is_named=True, label=label), []
    index, notes = _column(output, signature.evidence.classes, label)
    if output.width == 1 and output.name in signature.evidence.softmax:
        notes.append(
            f"output {output} is a softmax of one column, which is 1 in every row; a sigmoid may"
            " be meant"
        )
    return Score(output.name, index, label=label), notes


def is_number(output: TensorInfo) -> bool:
    """Whether its values are real numbers or booleans."""
    return output.dtype.startswith(_NUMBERS)


def positive_column(width: int) -> int:
    """The only column; of two classes the second, which is the positive one.

    Raises:
        ValueError: of more columns one must be chosen.
    """
    if width not in (1, _MOST_COLUMNS):
        raise ValueError(f"{width} columns")
    return width - 1


def _named(
    outputs: Sequence[TensorInfo], chosen: str, listed: str
) -> tuple[TensorInfo, int | None]:
    by_name = {output.name: output for output in outputs}
    name, _, text = chosen.partition(":")
    if name not in by_name or (text and not text.isdecimal()):
        raise UsageError(
            f"--score {chosen}: no such output; there are {listed}{nearest(name, by_name)}"
        )
    return by_name[name], int(text) if text else None


def _found(outputs: Sequence[TensorInfo], listed: str) -> TensorInfo:
    """The only number; else the first of the usual names. A class's number is no score."""
    numbers = [output for output in outputs if is_number(output)]
    if len(numbers) == 1:
        return numbers[0]
    floats = [output for output in numbers if output.dtype.startswith(_FLOATS)]
    by_name = {output.name: output for output in floats or outputs}
    named = [by_name[name] for name in SCORE_NAMES if name in by_name]
    if not named:
        raise UsageError(f"--score: name the output that is the score; there are {listed}")
    return named[0]


def _column(
    output: TensorInfo, classes: Sequence[ClassNames], label: LabelWords
) -> tuple[int | None, list[str]]:
    """The column of the score where none was named; None where their number is not known yet."""
    width = output.width
    if width is None:
        return None, []
    fitting = [each for each in classes if len(each.names) == width]
    if width == _MOST_COLUMNS:  # other texts than classes may be constants, too
        fitting = [
            each
            for each in fitting
            if CLASS_OUTPUT.search(each.output) or positive_class(each.names, label) is not None
        ]
    if width != _MOST_COLUMNS or not fitting:
        try:
            return positive_column(width), []
        except ValueError:
            raise UsageError(
                f"--score: output {output} has {width} columns; choose one, for example"
                f" --score {output.name}:1{_called(fitting)}"
            ) from None
    positions = {positive_class(each.names, label) for each in fitting}
    told = [position for position in positions if position is not None]
    if len(told) != 1:
        raise UsageError(
            f"--score: output {output} has 2 columns; choose {output.name}:0 or"
            f" {output.name}:1{_called(fitting)}"
        )
    index = told[0]
    if index == _MOST_COLUMNS - 1:
        return index, []
    name = fitting[0].names[0]
    return index, [
        f"output {fitting[0].output} says that column 0 of {output.name} is the class {name!r}:"
        f" that column is the score (--score {output.name}:0 says so, too)"
    ]


def _called(classes: Sequence[ClassNames]) -> str:
    """What the model calls its columns."""
    return "".join(
        f"; output {each.output} calls them {', '.join(map(repr, each.names[:10]))}"
        for each in classes[:1]
    )
