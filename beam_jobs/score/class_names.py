"""Which of two classes is the positive one, told by their names."""

from collections.abc import Sequence
from dataclasses import dataclass

_POSITIVE = frozenset({"1", "true", "t", "yes", "y", "positive", "pos"})
_NEGATIVE = frozenset({"0", "-1", "false", "f", "no", "n", "negative", "neg"})
_NOT = ("not_", "not-", "not ", "no_", "no-", "no ", "non_", "non-", "non ")


@dataclass(frozen=True)
class LabelWords:
    """What the schema says of the label's values.

    Attributes:
        positive: names of the positive class: the label's own name, the true value of its
            `bool_domain`.
        negative: likewise of the other.
    """

    positive: frozenset[str] = frozenset()
    negative: frozenset[str] = frozenset()


def positive_class(names: Sequence[str], label: LabelWords) -> int | None:
    """Position of the positive one of two names; None where they do not tell."""
    first, second = (_plain(name) for name in names)
    signs = _sign(first, second, label) - _sign(second, first, label)
    if first == second or not signs:
        return None
    return 0 if signs > 0 else 1


def _plain(name: str) -> str:
    """In lower case; a whole number without its fraction: TensorFlow writes 1.0 or 1.000000."""
    text = name.strip().lower()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else text


def _sign(name: str, other: str, label: LabelWords) -> int:
    """1 for a positive word, -1 for a negative one, 0 for any other."""
    if name in {_plain(word) for word in label.positive}:
        return 1
    if name in {_plain(word) for word in label.negative} or any(
        name == f"{negation}{other}" for negation in _NOT
    ):
        return -1
    if _is_number(name) and _is_number(other) and {name, other} not in ({"0", "1"}, {"-1", "1"}):
        return 0  # 1 and 2 may be anything
    return (name in _POSITIVE) - (name in _NEGATIVE)


def _is_number(name: str) -> bool:
    return name.removeprefix("-").replace(".", "", 1).isdecimal()
