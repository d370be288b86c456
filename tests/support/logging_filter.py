"""Cloud Logging's filters, as much of the language as the alerts use, and no more.

`field="value"` compares, `field:"value"` looks for a part (without regard to case); a field that an
entry lacks matches nothing; NOT turns round what follows it; lines are joined by AND, which binds
weaker than OR, as in Logging.
https://cloud.google.com/logging/docs/view/logging-query-language
"""

import json
import re
from typing import Any

_TOKEN = re.compile(r'\s*(\n\s*)*(\(|\)|OR\b|AND\b|NOT\b|[\w.]+\s*[:=]\s*"(?:[^"\\]|\\.)*")')


def matches(text: str, entry: dict[str, Any]) -> bool:
    """Whether a filter takes a log entry.

    Raises:
        ValueError: the filter has what is not understood here.
    """
    tokens, place = [], 0
    text = text.strip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise ValueError(f"not understood: {text[place:]!r}")
        tokens.append(found[2])
        place = found.end()
        place += len(text[place:]) - len(text[place:].lstrip())
    taken, rest = _all(tokens, entry)
    if rest:
        raise ValueError(f"not understood: {rest}")
    return taken


def _all(tokens: list[str], entry: dict[str, Any]) -> tuple[bool, list[str]]:
    taken, tokens = _any(tokens, entry)
    while tokens and tokens[0] not in (")", "OR"):
        also, tokens = _any(tokens[1:] if tokens[0] == "AND" else tokens, entry)
        taken = taken and also
    return taken, tokens


def _any(tokens: list[str], entry: dict[str, Any]) -> tuple[bool, list[str]]:
    taken, tokens = _one(tokens, entry)
    while tokens and tokens[0] == "OR":
        also, tokens = _one(tokens[1:], entry)
        taken = taken or also
    return taken, tokens


def _one(tokens: list[str], entry: dict[str, Any]) -> tuple[bool, list[str]]:
    if tokens[0] == "NOT":
        taken, rest = _one(tokens[1:], entry)
        return not taken, rest
    if tokens[0] == "(":
        taken, rest = _all(tokens[1:], entry)
        if rest[:1] != [")"]:
            raise ValueError(f"a parenthesis is open: {tokens}")
        return taken, rest[1:]
    found = re.fullmatch(r'([\w.]+)\s*([:=])\s*("(?:[^"\\]|\\.)*")', tokens[0])
    if found is None:
        raise ValueError(f"not understood: {tokens[0]}")
    value: Any = entry
    for name in found[1].split("."):
        value = value.get(name) if isinstance(value, dict) else None
    wanted = json.loads(found[3])
    if value is None:
        return False, tokens[1:]
    if found[2] == "=":
        return str(value).lower() == wanted.lower(), tokens[1:]
    return wanted.lower() in str(value).lower(), tokens[1:]
