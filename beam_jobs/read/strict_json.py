"""Strict JSON (RFC 8259): what orjson reads, made to refuse what is ambiguous, and explained."""

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from beam_jobs.batch import truncated

MAX_DEPTH = 256
"""Levels of nesting, the record's own object included (RFC 8259 leaves the limit to the parser).

Arrow's parser ends the process on 100,000 levels, Python's depends on the caller's stack.
"""
_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"

_NAMES = re.compile(rb'"[ \t\n\r]*:')

_LONG_INTEGER = re.compile(rb"[0-9]{19}")
"""What an integer must hold that orjson, which knows 64 bits, may round to a double."""


class Written(float):
    """A number with the text that it was written as, which is how it is shown."""

    text: str

    def __new__(cls, text: str) -> "Written":
        """A number that keeps its text."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __repr__(self) -> str:
        return self.text


def parse_object(record: bytes) -> dict[str, Any]:
    """Strict JSON (RFC 8259): one object, no name twice.

    Integers are exact, however long. Other numbers beyond the range of a double are infinite, as
    IEEE 754 rounds them, and `Written`.

    Raises:
        UnicodeDecodeError: not UTF-8.
        ValueError: not JSON, no object, a name twice, or nested too deeply; the message completes
            "the record is".
    """
    text = record.decode()
    try:
        value = _loads(record, text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    if record.count(b"[") + record.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ValueError(_TOO_DEEP)
    if not isinstance(value, dict):
        raise ValueError(f"no JSON object: {truncated(value)}")
    return value


def _loads(record: bytes, text: str) -> Any:
    try:
        value = orjson.loads(record)
        # More than there are names: a text that begins with a colon or holds a quote before one,
        # or a name twice.
        if (
            isinstance(value, dict)
            and len(_NAMES.findall(record)) == _count_names(value)
            and not (_LONG_INTEGER.search(record) and _may_be_rounded(value))
        ):
            return value
    except orjson.JSONDecodeError:
        pass  # either not JSON, or only a number beyond orjson: the slow parser knows
    return json.loads(
        text,
        object_pairs_hook=_no_name_twice,
        parse_constant=_no_constant,
        parse_int=_integer,
        parse_float=Written,
    )


def number_text(record: bytes, name: str) -> str:
    """A number of an object, as it is written there; the record is one that can be parsed."""
    text: str = json.loads(record, parse_int=str, parse_float=str)[name]
    return text


def _may_be_rounded(value: Any) -> bool:
    """Whether any number in it may be an integer beyond 64 bits."""
    return any(
        isinstance(item, float) and abs(item) >= 2**63
        for container in _containers(value)
        for item in (container.values() if isinstance(container, dict) else container)
    )


def _count_names(value: dict[str, Any]) -> int:
    """Names of all objects in it."""
    return sum(len(container) for container in _containers(value) if isinstance(container, dict))


def _containers(value: Any) -> Iterator[Any]:
    """All objects and lists in it, found without recursion."""
    waiting: list[Any] = [value]
    while waiting:
        container = waiting.pop()
        yield container
        items = container.values() if isinstance(container, dict) else container
        waiting += [item for item in items if isinstance(item, dict | list)]


def _integer(digits: str) -> int | Written:
    # Python refuses to read more than 4,300 digits; a double cannot hold a tenth of them.
    return int(digits) if len(digits) < 4_300 else Written(digits)


def _depth(value: Any) -> int:
    """Levels of lists and objects, counted without recursion."""
    depth, level = 0, [value]
    while containers := [item for item in level if isinstance(item, list | dict)]:
        depth += 1
        level = [
            item
            for container in containers
            for item in (container.values() if isinstance(container, dict) else container)
        ]
    return depth


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"ambiguous: it names {truncated(twice)} twice")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"not JSON: {name} is no number in JSON")


def is_unicode(text: str) -> bool:
    """Whether it has no half of a surrogate pair, which UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
