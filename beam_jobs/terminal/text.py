"""Values as text: for a terminal, for a pipe, and as JSON."""

import datetime
import decimal
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from beam_jobs.notes import printable

if TYPE_CHECKING:
    from rich.console import Console

PIPED_WIDTH = 100
"""Columns of a summary that goes into a file or a log."""


def plain(value: Any) -> str:
    """A value in full on one line without tabs, for a pipe; nothing for null."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case bytes():
            return printable(value.decode(errors="backslashreplace"))
        case list() | tuple() | Mapping():
            return printable(json_text(value))
        case datetime.date() | datetime.time():
            return value.isoformat()
    return printable(str(value))


def csv_cell(value: Any) -> str:
    """A value in full as a cell of CSV (RFC 4180): nothing for null, `""` for an empty text."""
    match value:
        case None:
            return ""
        case str():
            text = value
        case bytes():
            text = value.decode(errors="backslashreplace")
        case list() | tuple() | Mapping():
            text = json_text(value)
        case _:
            return plain(value)
    if not text or text != text.strip() or any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def shown(value: Any) -> str:
    """A value as a person reads it; numbers have at most six significant digits."""
    match value:
        case float():
            return f"{value:.6g}"
        case datetime.datetime():
            return value.isoformat(sep=" ", timespec="seconds")
        case list() | tuple() if not any(isinstance(each, list | Mapping) for each in value):
            return "; ".join(map(shown, value))
    return plain(value)


def share(part: int, whole: int) -> str:
    """A percentage that never rounds something to nothing."""
    if not whole:
        return ""
    percent = 100 * part / whole
    return "< 0.01 %" if 0 < percent < 0.01 else f"{percent:.2f} %"


def json_text(value: Any) -> str:
    """JSON on one line. NaN and infinity become null; dates are ISO 8601; bytes are text."""
    return json.dumps(_jsonable(value), ensure_ascii=False, allow_nan=False)


def _jsonable(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case decimal.Decimal():
            return _jsonable(int(value) if value == value.to_integral_value() else float(value))
        case Mapping():
            return {plain(key): _jsonable(item) for key, item in value.items()}
        case list() | tuple():
            return [_jsonable(item) for item in value]
        case bytes():
            return value.decode(errors="backslashreplace")
        case datetime.date() | datetime.time():
            return value.isoformat()
    return str(value)


def print_json(value: Any) -> None:
    """One JSON value on one line of standard output."""
    print(json_text(value), flush=True)


def print_error(message: str) -> None:
    """`beam-jobs: error: ...`, one line on standard error however long it is."""
    if is_terminal(sys.stderr):
        from rich.text import Text

        line = Text.assemble("beam-jobs: ", ("error: ", "bold red"), _one_line(message))
        console(sys.stderr).print(line, soft_wrap=True)
    else:
        print(f"beam-jobs: error: {_one_line(message)}", file=sys.stderr, flush=True)


def _one_line(message: str) -> str:
    return printable(" ".join(message.split()))


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads the stream."""
    return stream.isatty()


def console(stream: TextIO) -> "Console":
    """Rich's console: no guessing of markup, emoji or highlights in what is data."""
    from rich.console import Console

    width = None if is_terminal(stream) else PIPED_WIDTH
    return Console(
        file=stream,
        width=width,
        markup=False,
        emoji=False,
        highlight=False,
        force_terminal=is_terminal(stream),
    )


def print_pairs(pairs: Mapping[str, str], notes: Sequence[str] = ()) -> None:
    """What and value, a line each; then notes."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        print(f"{name:<{width}}  {printable(value)}")
    for note in notes:
        print(f"note: {printable(note)}")
