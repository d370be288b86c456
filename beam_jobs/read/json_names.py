"""Which names JSON records have, where their values do not matter."""

import contextlib
from collections.abc import Iterable

import orjson

from beam_jobs.read.strict_json import parse_object


def names_of(record: bytes) -> list[str]:
    """Names of a record's fields; [] where it is not an object."""
    try:
        value = orjson.loads(record)
    except orjson.JSONDecodeError:
        return []
    return list(value) if isinstance(value, dict) else []


def nested_names(records: Iterable[bytes]) -> frozenset[str]:
    """Names under which any of the records has a list or an object; bad records have none."""
    names: set[str] = set()
    for record in records:
        # Few records have brackets where no column is nested: the others need no parser.
        if b"[" not in record and record.count(b"{") < 2:
            continue
        with contextlib.suppress(ValueError):
            value = parse_object(record)
            names.update(name for name in value if isinstance(value[name], list | dict))
    return frozenset(names)
