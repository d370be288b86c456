"""Rows done so far, told by workers to the process that shows them.

Beam's local runner gives metrics only at the end, and its workers may be other processes; so each
worker appends its counts to a file of its own in a folder that the launching process watches.
"""

import os
import threading
from pathlib import Path

import apache_beam as beam
import numpy as np

from beam_jobs.records import Located


class RowCounter:
    """Sums what the workers have reported into a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def add(self, stage: str, rows: int) -> None:
        """Reports rows that went through a stage; called by workers."""
        name = f"{stage}.{os.getpid()}.{threading.get_ident()}"
        with open(os.path.join(self.folder, name), "ab") as stream:
            stream.write(np.int64(rows).tobytes())

    def total(self, stage: str) -> int:
        """Rows that went through a stage so far."""
        files = Path(self.folder).glob(f"{stage}.*")
        return sum(int(np.frombuffer(f.read_bytes(), np.int64).sum()) for f in files)


class CountRows(beam.DoFn):
    """A located batch -> the same, its rows reported under `stage`."""

    def __init__(self, stage: str, counter: RowCounter | None) -> None:
        self.stage = stage
        self.counter = counter

    def process(self, element: Located) -> list[Located]:
        if self.counter is not None:
            self.counter.add(self.stage, element[3].num_rows)
        return [element]
