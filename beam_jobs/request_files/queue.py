"""Which request files wait, and how their answers are called.

A file is identified by its URI and generation: a file that was replaced is another file.
"""

import itertools
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from beam_jobs import storage

UNFINISHED = ".tmp"
"""Suffix of a name under which a producer is still writing."""

_SUFFIXES = (".jsonl.gz", ".jsonl")


@dataclass(frozen=True)
class Queue:
    """The files that match, each once, by URI.

    Attributes:
        files: request files.
        unfinished: files with the suffix `.tmp`; nobody reads them.
        strange: URIs of files with a suffix that request files do not have; nobody reads them,
            and somebody should be told.
        no_files: {path: what it is} of what is called like a request file and is none: a folder,
            a link to nothing.
    """

    files: tuple[storage.FileInfo, ...]
    unfinished: tuple[str, ...] = ()
    of_other_kinds: tuple[str, ...] = ()
    no_files: Mapping[str, str] = field(default_factory=dict)


def list_queue(patterns: Sequence[str]) -> Queue:
    """The files that the patterns match; none at all is an empty queue, not an error.

    Raises:
        UsageError: a pattern's bucket is missing, or closed.
    """
    no_files: dict[str, str] = {}

    def pass_over(path: str, what: str) -> None:
        if path.endswith(_SUFFIXES):
            no_files[path] = what

    matched = (storage.match_flag(pattern, "--queue", pass_over) for pattern in patterns)
    found = sorted({file for files in matched for file in files})
    unfinished = tuple(file.uri for file in found if file.uri.endswith(UNFINISHED))
    files = tuple(file for file in found if file.uri.endswith(_SUFFIXES))
    known = {*unfinished, *(file.uri for file in files)}
    of_other_kinds = tuple(file.uri for file in found if file.uri not in known)
    return Queue(files, unfinished, of_other_kinds, no_files)


def unconsumed(
    files: Sequence[storage.FileInfo], consumed: Collection[tuple[str, str]]
) -> tuple[storage.FileInfo, ...]:
    """The files whose (uri, generation) is not among those of the ledger."""
    known = set(consumed)
    return tuple(file for file in files if (file.uri, file.generation) not in known)


def answer_names(file: storage.FileInfo) -> Iterator[str]:
    """Names that a file's answers may have, without end; the first that is free is theirs.

    `ads.jsonl`: the request file's own name. Where that is taken, by a request file of another
    folder or an earlier generation of this one, `ads~GENERATION.jsonl`, then
    `ads~GENERATION~2.jsonl` and so on.
    """
    name = posixpath.basename(file.uri)
    suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), "")
    stem = name.removesuffix(suffix)
    yield name
    yield f"{stem}~{file.generation}{suffix}"
    for number in itertools.count(2):
        yield f"{stem}~{file.generation}~{number}{suffix}"
