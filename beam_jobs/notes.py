"""What a person is told while a command works: one line on standard error, safe to print."""

import re
import sys

# Control characters, and the invisible ones that reorder or hide text. Data must not be able to
# steer a person's terminal.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def printable(text: str) -> str:
    r"""The text on one line, unprintable characters written as escapes such as `\x1b`."""
    return _UNPRINTABLE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    code = ord(character)
    return _ESCAPES.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def print_note(message: str) -> None:
    """A line on standard error that is no error."""
    print(f"beam-jobs: {printable(message)}", file=sys.stderr, flush=True)
