"""Globs over the names of objects, with the meaning that `glob.glob(recursive=True)` gives them."""

import re
from collections.abc import Callable
from dataclasses import dataclass

_MAGIC = re.compile(r"[*?\[]")
_ESCAPED = re.compile(r"\[([*?\[])\]")
_PLAIN_START = re.compile(r"(?:[^*?\[]|\[[*?\[]\])*")
_VISIBLE = r"(?!\.)"  # as in a shell, a wildcard does not match the dot that a name begins with


@dataclass(frozen=True)
class Pattern:
    """What to list and what to keep of it.

    Attributes:
        prefix: of all names that can match; the whole name where `names` is None.
        names: matches whole names; None where the pattern has no wildcard.
        in_one_folder: whether matches lie directly in one folder.
    """

    prefix: str
    names: re.Pattern[str] | None
    in_one_folder: bool


def escape(path: str) -> str:
    """The pattern that matches exactly this path: each `*`, `?` and `[` stands in brackets."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def is_plain(text: str) -> bool:
    """Whether a pattern matches one name only, the one that `unescaped` gives."""
    return _PLAIN_START.fullmatch(text) is not None


def unescaped(text: str) -> str:
    """The text that an escaped pattern stands for."""
    return _ESCAPED.sub(r"\1", text)


def with_real_names(pattern: str, exists: Callable[[str], bool]) -> str:
    """The pattern with each name in it escaped that holds a `[` and is there as it stands.

    Such a name does not match itself: `runs[1]` as a pattern is `runs1`. Names behind the first
    that really is a pattern stay as they are.

    Args:
        pattern: absolute.
        exists: whether there is a file or folder of that path.
    """
    names: list[str] = []
    path: list[str] = []
    rest = pattern.split("/")
    while rest:
        name = rest[0]
        if "[" in name and exists("/".join([*path, name])):
            names.append(escape(name))
        elif is_plain(name):
            names.append(name)
        else:
            break
        path.append(unescaped(names[-1]))
        rest.pop(0)
    return "/".join(names + rest)


def parse_pattern(text: str) -> Pattern:
    """The pattern of an object's name, without bucket."""
    if is_plain(text):
        return Pattern(unescaped(text), None, True)
    *folders, last = text.split("/")
    parts = ["".join(map(_folder, folders)), _name(last) if last != "**" else _folder("**") + _ANY]
    in_one_folder = last != "**" and all(map(is_plain, folders))
    start = _PLAIN_START.match(text)
    assert start is not None, "it matches the empty text"
    return Pattern(unescaped(start[0]), re.compile("".join(parts)), in_one_folder)


_ANY = rf"{_VISIBLE}[^/]+"


def _folder(segment: str) -> str:
    return f"(?:{_ANY}/)*" if segment == "**" else _name(segment) + "/"


def _name(segment: str) -> str:
    if not _MAGIC.search(segment):
        return re.escape(segment)
    parts, place = ["" if segment.startswith(".") else _VISIBLE], 0
    while place < len(segment):
        character = segment[place]
        place += 1
        if character == "*":
            parts.append("[^/]*")
        elif character == "?":
            parts.append("[^/]")
        elif (
            character == "["
            and (end := segment.find("]", place + 1 + (segment[place : place + 1] == "!"))) > 0
        ):
            inside = (
                segment[place:end].replace("\\", "\\\\").replace("^", "\\^").replace("[", "\\[")
            )
            parts.append(f"[^/{inside[1:]}]" if inside.startswith("!") else f"[{inside}]")
            place = end + 1
        else:
            parts.append(re.escape(character))
    return "".join(parts)
