"""Strict JSON (RFC 8259): what orjson reads, made to refuse what is ambiguous, and explained."""

import json
import re
from typing import Any

import orjson

from beam_jobs.records import shown

MAX_DEPTH = 256
"""Levels of nesting, the record's own object included (RFC 8259 leaves the limit to the parser).

Arrow's parser ends the process on 100,000 levels, Python's depends on the caller's stack.
"""
_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"

_NAMES = re.compile(rb'"[ \t\n\r]*:')


def parse_object(record: bytes) -> dict[str, Any]:
    """Strict JSON (RFC 8259): one object, no name twice.

    Numbers beyond the range of a double are infinite, as IEEE 754 rounds them.

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
        raise ValueError(f"no JSON object: {shown(value)}")
    return value


def _loads(record: bytes, text: str) -> Any:
    try:
        value = orjson.loads(record)
        # More than there are names: a text that begins with a colon or holds a quote before one,
        # or a name twice.
        if isinstance(value, dict) and len(_NAMES.findall(record)) == _count_names(value):
            return value
    except orjson.JSONDecodeError:
        pass  # either not JSON, or only a number beyond orjson: the slow parser knows
    return json.loads(
        text,
        object_pairs_hook=_no_name_twice,
        parse_constant=_no_constant,
        parse_int=_integer,
    )


def _count_names(value: dict[str, Any]) -> int:
    """Names of all objects in it, counted without recursion."""
    names = 0
    waiting: list[Any] = [value]
    while waiting:
        container = waiting.pop()
        if isinstance(container, dict):
            names += len(container)
            container = container.values()
        waiting += [item for item in container if isinstance(item, dict | list)]
    return names


def _integer(digits: str) -> int | float:
    # Python refuses to read more than 4,300 digits; a double cannot hold a tenth of them.
    return int(digits) if len(digits) < 4_300 else float(digits)


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
        raise ValueError(f"ambiguous: it names {shown(twice)} twice")
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
