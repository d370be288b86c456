"""The list of a run's input files, in a file of its own that workers read once.

In the graph it would stand at every step that asks for it, and a service takes a graph of some
megabytes only: Dataflow 20. So the graph has the list's address, however many files there are.
"""

import functools
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from beam_jobs import storage
from beam_jobs.errors import RunError
from beam_jobs.storage import FileInfo

_KEPT = 4
"""Lists that a process keeps in memory: one a run."""


@dataclass(frozen=True)
class Inputs:
    """The input files of a run.

    Attributes:
        uri: of a JSON object whose member `inputs` lists the files, such as `plan.json`. Whoever
            runs the graph writes it first; it never changes.
    """

    uri: str

    @property
    def files(self) -> tuple[FileInfo, ...]:
        """The files, in the order in which all else numbers them.

        Raises:
            RunError: the list cannot be read.
        """
        return _files(self.uri)

    @property
    def uris(self) -> tuple[str, ...]:
        """The files' URIs."""
        return _uris(self.uri)


def as_json(files: Iterable[FileInfo]) -> list[dict[str, Any]]:
    """The files as `Inputs` reads them."""
    return [asdict(file) for file in files]


def write_inputs(uri: str, files: Iterable[FileInfo]) -> Inputs:
    """Writes a list that stands in no `plan.json`.

    Raises:
        RunError: it cannot be written.
    """
    try:
        storage.write_atomic(uri, orjson.dumps({"inputs": as_json(files)}))
    except OSError as error:
        raise RunError(f"{uri}: cannot be written ({error.strerror or error})") from error
    return Inputs(uri)


@functools.lru_cache(_KEPT)
def _files(uri: str) -> tuple[FileInfo, ...]:
    try:
        listed = orjson.loads(storage.read_bytes(uri))["inputs"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{uri}: the list of input files cannot be read ({error})") from error
    return tuple(FileInfo(**file) for file in listed)


@functools.lru_cache(_KEPT)
def _uris(uri: str) -> tuple[str, ...]:
    return tuple(file.uri for file in _files(uri))
