"""Globs over the names of objects, with the meaning that `glob.glob(recursive=True)` gives them."""

import re
from dataclasses import dataclass

_MAGIC = re.compile(r"[*?\[]")
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


def parse_pattern(text: str) -> Pattern:
    """The pattern of an object's name, without bucket."""
    found = _MAGIC.search(text)
    if found is None:
        return Pattern(text, None, True)
    *folders, last = text.split("/")
    parts = ["".join(map(_folder, folders)), _name(last) if last != "**" else _folder("**") + _ANY]
    in_one_folder = last != "**" and not any(map(_MAGIC.search, folders))
    return Pattern(text[: found.start()], re.compile("".join(parts)), in_one_folder)


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
