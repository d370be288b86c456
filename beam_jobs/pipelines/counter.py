"""Rows done so far, reported by workers to the process that shows them.

Beam's local runner gives metrics only at the end, and its workers may be other processes; so each
worker appends its counts to files of its own in a folder that the launching process watches.
"""

import contextlib
import enum
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import numpy as np

from beam_jobs.batch import KeyedBatch


class Stage(str, enum.Enum):
    """What a run does, in order."""

    START = "start"
    SCORE = "score"
    PUBLISH = "publish"


class RowCounter:
    """Sums what the workers have reported into a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def begin(self, stage: Stage) -> None:
        """Reports that a stage has begun; called by workers."""
        self.add(stage, 0)

    def add(self, stage: Stage, rows: int) -> None:
        """Reports rows that went through a stage; called by workers.

        A worker on another machine does not have the folder, and reports nothing.
        """
        name = f"{stage.value}.{os.getpid()}.{threading.get_ident()}"
        with (
            contextlib.suppress(FileNotFoundError),
            open(os.path.join(self.folder, name), "ab") as stream,
        ):
            stream.write(np.int64(rows).tobytes())

    def stage(self) -> Stage:
        """The last stage that has begun."""
        begun = {path.name.split(".", 1)[0] for path in Path(self.folder).iterdir()}
        return [stage for stage in Stage if stage is Stage.START or stage.value in begun][-1]

    def rows(self) -> int:
        """Rows scored or quarantined so far."""
        files = Path(self.folder).glob(f"{Stage.SCORE.value}.*")
        return sum(int(np.frombuffer(path.read_bytes(), np.int64).sum()) for path in files)


class CountRows(beam.DoFn):
    """A located batch -> the same, its rows reported to the counter."""

    def __init__(self, counter: RowCounter | None) -> None:
        self.counter = counter

    def process(self, element: KeyedBatch) -> Iterator[KeyedBatch]:
        """The element itself; its rows are reported to the counter."""
        if self.counter is not None:
            self.counter.add(Stage.SCORE, element[1].num_rows)
        yield element
