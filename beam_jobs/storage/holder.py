"""Processes, as other people are told of them: whose, where, doing what, since when."""

import dataclasses
import datetime
import getpass
import json
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass

_PROGRAM = "beam-jobs"


def user_name() -> str:
    """The operating system's user; in a container whose user has no name, its number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def command_name(argv: Sequence[str] | None = None) -> str:
    """What a process does, such as `beam-jobs approve 3f2c9a1b5d7e8f60`.

    Only the words before the first flag: flags may hold secrets.
    """
    words = list(sys.argv if argv is None else argv) or [_PROGRAM]
    name = os.path.basename(words[0])
    shown = [_PROGRAM if name == "__main__.py" else name]
    for word in words[1:3]:
        if word.startswith("-"):
            break
        shown.append(word[:64])
    return " ".join(shown)


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        host: name of its machine.
        pid: its number there.
        user: whose it is.
        command: what it does, see `command_name`.
        since: when it took the lock, by the clock of its machine, ISO 8601 in UTC.
    """

    host: str
    pid: int
    user: str
    command: str
    since: str

    @classmethod
    def this(cls) -> "Holder":
        """This process, from now on."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return cls(socket.gethostname(), os.getpid(), user_name(), command_name(), now)

    def to_json(self) -> str:
        """As it is kept in the lock."""
        return json.dumps(dataclasses.asdict(self))


def describe_holder(text: str) -> str:
    """Who holds a lock and since when, in words, from the text in the lock."""
    try:
        found = json.loads(text)
        holder = Holder(**{field.name: found[field.name] for field in dataclasses.fields(Holder)})
    except (ValueError, KeyError, TypeError):
        return "another process works here"
    return (
        f"process {holder.pid} of {holder.user} on {holder.host} ({holder.command}) works here"
        f" since {holder.since}"
    )
