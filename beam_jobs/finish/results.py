"""What the steps of a job have reported when its rows are done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from beam_jobs.monitoring.files import FileRead
from beam_jobs.publish.part_writer import SourceCounts
from beam_jobs.read.coverage import RangeRows, rows_of_files, signs_of_files
from beam_jobs.request_files.staged import AnswerPart
from beam_jobs.request_files.unreadable import Unreadable
from beam_jobs.runs.parts import Part
from beam_jobs.statistics.files import Statistics
from beam_jobs.storage import FileInfo


@dataclass(frozen=True)
class JobResults:
    """What writers, readers and statistics reported.

    Attributes:
        parts: of `scores` and `quarantine`.
        counts: what writers wrote.
        reads: what readers read.
        statistics: of all readable rows, one data set a slice.
        answers: parts of answers; none where nobody waits for answers.
        left_out: {place in the plan: why} of the request files that nobody read.
    """

    parts: Sequence[Part]
    counts: Sequence[SourceCounts]
    reads: Sequence[RangeRows]
    statistics: Statistics
    answers: Sequence[AnswerPart] = ()
    left_out: Mapping[int, Unreadable] = field(default_factory=dict)

    @property
    def total(self) -> SourceCounts:
        """What was written of all sources together."""
        return sum(self.counts, SourceCounts(-1))


@dataclass(frozen=True)
class InputsRead:
    """The input files of a run, and what was read of each.

    Attributes:
        files: of the plan, in its order.
        rows: records of each; 0 of one that nobody read.
        reads: what readers read.
        left_out: {place in the plan: why} of those that nobody read.
    """

    files: Sequence[FileInfo]
    rows: Sequence[int]
    reads: Sequence[RangeRows]
    left_out: Mapping[int, Unreadable]

    @classmethod
    def of(cls, files: Sequence[FileInfo], results: JobResults) -> "InputsRead":
        """Joins what was read with the planned files.

        Raises:
            AuditError: a file was not read from its first record to its last, once.
        """
        rows = rows_of_files(results.reads, [file.uri for file in files], results.left_out)
        return cls(files, rows, results.reads, results.left_out)

    @property
    def set_aside(self) -> list[str]:
        """Why files are set aside: a sentence each, in the plan's order."""
        return self._errors(is_set_aside=True)

    @property
    def changed(self) -> list[str]:
        """Which files have changed since they were planned: a sentence each."""
        return self._errors(is_set_aside=False)

    def _errors(self, *, is_set_aside: bool) -> list[str]:
        found = [why for _, why in sorted(self.left_out.items())]
        return [why.error for why in found if why.is_set_aside is is_set_aside]

    @property
    def have_all_changed(self) -> bool:
        """Whether nothing that was planned is there any more."""
        return len(self.changed) == len(self.files) > 0

    @property
    def answered(self) -> list[tuple[FileInfo, int]]:
        """(file, records) of those that were read."""
        both = enumerate(zip(self.files, self.rows, strict=True))
        return [found for place, found in both if place not in self.left_out]

    @property
    def files_read(self) -> tuple[FileRead, ...]:
        """What the anomalies of single files are found in."""
        uris = [file.uri for file in self.files]
        signs = signs_of_files(self.reads, uris)
        return tuple(FileRead(*file) for file in zip(uris, self.rows, signs, strict=True))

    def table(self) -> pa.Table:
        """Rows of the table `inputs`, without the run's own columns.

        Files that were read, and, without `rows`, those that are set aside; none that changed.
        """
        places = [
            place
            for place in range(len(self.files))
            if place not in self.left_out or self.left_out[place].is_set_aside
        ]
        files = [self.files[place] for place in places]
        rows = [None if place in self.left_out else self.rows[place] for place in places]
        return pa.table(
            {
                "uri": [file.uri for file in files],
                "generation": [file.generation for file in files],
                "bytes": pa.array([file.size for file in files], pa.int64()),
                "rows": pa.array(rows, pa.int64()),
            }
        )
