"""Writes the batches of spans as parts, and counts what it wrote."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs import storage
from beam_jobs.batch import Actions, Reason, readable, split
from beam_jobs.publish.part_files import Part, PartTable, PartWriter, quarantine_part, scores_part
from beam_jobs.runs.run_row import RunIdentity
from beam_jobs.schema import Feature

ReasonCounts = tuple[tuple[Reason, int], ...]


@dataclass(frozen=True)
class FileCounts:
    """Rows of one input file; `+` adds up what bundles report.

    Attributes:
        file_index: position of the file in the plan.
        read: rows that arrived at the writer.
        scored: rows written to `scores`.
        quarantined: rows written to `quarantine`.
        reasons: quarantined rows a reason; a row counts once for each of its reasons.
        flags: scored rows a reason, likewise.
        readable: rows that statistics cover.
    """

    file_index: int
    read: int = 0
    scored: int = 0
    quarantined: int = 0
    reasons: ReasonCounts = ()
    flags: ReasonCounts = ()
    readable: int = 0

    def __add__(self, other: "FileCounts") -> "FileCounts":
        return FileCounts(
            self.file_index,
            self.read + other.read,
            self.scored + other.scored,
            self.quarantined + other.quarantined,
            _add(self.reasons, other.reasons),
            _add(self.flags, other.flags),
            self.readable + other.readable,
        )


def part_name(file_index: int, span_number: int, batch_number: int) -> str:
    """The same for every attempt at the same span: a repeated bundle overwrites its own file."""
    return f"part-{file_index:05d}-{span_number:05d}-{batch_number:06d}.parquet"


class SpanWriter:
    """Writes the batches of spans, in order, to a run folder's parts.

    A span is a range of one input file; one part holds rows of one span only, so that its name
    does not depend on how a runner bundles spans.

    Attributes:
        counts: {file_index: FileCounts} of what was written since the writer was made.
    """

    MAX_ROWS = 1_000_000
    MAX_BYTES = 256 * 1024 * 1024

    def __init__(
        self,
        folder: str,
        run: RunIdentity,
        features: Sequence[Feature],
        actions: Actions,
        computed: Collection[str] = (),
    ) -> None:
        self._folder, self._run, self._features = folder, run, tuple(features)
        self._actions, self._computed = actions, computed
        self._span: tuple[int, int] | None = None
        self._writers: dict[PartTable, PartWriter] = {}
        self.counts: dict[int, FileCounts] = {}

    def write(
        self, file_index: int, span_number: int, batch_number: int, batch: pa.RecordBatch
    ) -> list[Part]:
        """Writes one batch; the parts that this finished."""
        span = (file_index, span_number)
        finished = self.close() if span != self._span else []
        self._span = span
        scored, quarantined = split(batch, self._actions)
        rows = {
            PartTable.SCORES: scores_part(scored, self._run, self._features),
            PartTable.QUARANTINE: quarantine_part(quarantined, self._run, self._computed),
        }
        for table, part in rows.items():
            if not part.num_rows:
                continue
            if table not in self._writers:
                name = part_name(file_index, span_number, batch_number)
                uri = storage.join(self._folder, table.value, name)
                self._writers[table] = PartWriter(table, uri)
            writer = self._writers[table]
            writer.write(part)
            if writer.rows >= self.MAX_ROWS or writer.bytes >= self.MAX_BYTES:
                finished.append(self._writers.pop(table).close())
        counts = _count(file_index, rows, readable(batch).num_rows)
        self.counts[file_index] = self.counts.get(file_index, FileCounts(file_index)) + counts
        return finished

    def close(self) -> list[Part]:
        """Finishes the open parts."""
        parts = []
        while self._writers:
            _, writer = self._writers.popitem()
            parts.append(writer.close())
        self._span = None
        return sorted(parts)

    def abort(self) -> None:
        """Removes what is unfinished."""
        while self._writers:
            _, writer = self._writers.popitem()
            writer.abort()


def _add(left: ReasonCounts, right: ReasonCounts) -> ReasonCounts:
    total = dict(left)
    for reason, count in right:
        total[reason] = total.get(reason, 0) + count
    return tuple(sorted(total.items()))


def _count(file_index: int, rows: dict[PartTable, pa.RecordBatch], readable: int) -> FileCounts:
    scored, quarantined = rows[PartTable.SCORES], rows[PartTable.QUARANTINE]
    return FileCounts(
        file_index,
        scored.num_rows + quarantined.num_rows,
        scored.num_rows,
        quarantined.num_rows,
        _reason_counts(quarantined.column(quarantined.schema.get_field_index("reasons"))),
        _reason_counts(scored.column(scored.schema.get_field_index("flags"))),
        readable,
    )


def _reason_counts(column: pa.ListArray) -> ReasonCounts:
    counted = pc.value_counts(column.flatten()).to_pylist()
    return tuple(sorted((Reason(item["values"]), item["counts"]) for item in counted))
