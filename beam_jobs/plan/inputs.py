"""Which data files a job reads, and what its patterns match besides."""

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from beam_jobs import storage
from beam_jobs.errors import UsageError
from beam_jobs.read import format_of

_SHOWN = 3


@dataclass(frozen=True)
class Matched:
    """What the patterns of a flag match.

    Attributes:
        files: each once, sorted by URI.
        notes: what else matches and is not read, in sentences.
    """

    files: tuple[storage.FileInfo, ...]
    notes: tuple[str, ...] = ()


def match_inputs(patterns: Sequence[str], flag: str) -> Matched:
    """The files of all patterns, and the folders and broken links whose data nobody reads.

    Raises:
        UsageError: a pattern matches no file, or a file has an unknown suffix.
    """
    files: dict[str, storage.FileInfo] = {}
    no_files: dict[str, str] = {}
    for pattern in patterns:
        found = storage.match_flag(pattern, flag, no_files.__setitem__)
        if not found:
            raise UsageError(f"{flag} {pattern}: matches no file{_instead(no_files)}")
        storage.check_readable(found[0], flag)
        files.update((file.uri, file) for file in found)
    for uri in files:
        try:
            format_of(uri)
        except UsageError as error:
            raise UsageError(f"{flag} {error}") from error
    return Matched(tuple(sorted(files.values())), _not_read(no_files, files, flag))


def _instead(no_files: Mapping[str, str]) -> str:
    return f"; there is {name_some(no_files)}" if no_files else ""


def _not_read(no_files: Mapping[str, str], files: Iterable[str], flag: str) -> tuple[str, ...]:
    """The note of what is no file; of a folder only where no file in it is read (`**`)."""
    read = {parent for uri in files for parent in _parents(uri)}
    others = {path: what for path, what in no_files.items() if path.rstrip("/") not in read}
    return (f"{flag}: not read, no files: {name_some(others)}",) if others else ()


def _parents(uri: str) -> Iterator[str]:
    while (parent := posixpath.dirname(uri)) != uri:
        yield parent
        uri = parent


def name_some(no_files: Mapping[str, str]) -> str:
    """The first paths, with what each is, and how many more there are."""
    found = [f"{path} ({what})" for path, what in sorted(no_files.items())]
    return name_first(found)


def name_first(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
