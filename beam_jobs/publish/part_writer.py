"""Writes the batches of byte ranges as parts, and counts what it wrote."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs import storage
from beam_jobs.batch import Actions, BatchKey, Reason, readable, split
from beam_jobs.publish.part_files import PartWriter, quarantine_part, scores_part
from beam_jobs.runs.parts import Part, PartTable
from beam_jobs.runs.run_row import RunIdentity
from beam_jobs.schema import Feature

ReasonCounts = tuple[tuple[Reason, int], ...]


@dataclass(frozen=True)
class SourceCounts:
    """Rows of one source (see `BatchKey`); `+` adds up what bundles report.

    Attributes:
        source: of the rows.
        read: rows that arrived at the writer.
        scored: rows written to `scores`.
        quarantined: rows written to `quarantine`.
        reasons: quarantined rows a reason; a row counts once for each of its reasons.
        flags: scored rows a reason, likewise.
        readable: rows that statistics cover.
    """

    source: int
    read: int = 0
    scored: int = 0
    quarantined: int = 0
    reasons: ReasonCounts = ()
    flags: ReasonCounts = ()
    readable: int = 0

    def __add__(self, other: "SourceCounts") -> "SourceCounts":
        return SourceCounts(
            self.source,
            self.read + other.read,
            self.scored + other.scored,
            self.quarantined + other.quarantined,
            _add(self.reasons, other.reasons),
            _add(self.flags, other.flags),
            self.readable + other.readable,
        )


def part_name(key: BatchKey) -> str:
    """The same for every attempt at a byte range: a repeated bundle overwrites its own file."""
    return f"part-{key.source:05d}-{key.byte_range:05d}-{key.batch:06d}.parquet"


class RangeWriter:
    """Writes the batches of byte ranges, in order, to a run folder's parts.

    One part holds rows of one byte range of one source only, so that its name does not depend on
    how a runner makes bundles.

    Attributes:
        counts: {source: SourceCounts} of what was written since the writer was made.
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
        self._open: tuple[int, ...] | None = None
        self._writers: dict[PartTable, PartWriter] = {}
        self.counts: dict[int, SourceCounts] = {}

    def write(self, key: BatchKey, batch: pa.RecordBatch) -> list[Part]:
        """Writes one batch; the parts that this finished."""
        finished = self.close() if key[:2] != self._open else []
        self._open = key[:2]
        scored, quarantined = split(batch, self._actions)
        rows = {
            PartTable.SCORES: scores_part(scored, self._run, self._features),
            PartTable.QUARANTINE: quarantine_part(quarantined, self._run, self._computed),
        }
        for table, part in rows.items():
            if not part.num_rows:
                continue
            if table not in self._writers:
                name = part_name(key)
                uri = storage.join(self._folder, table.value, name)
                self._writers[table] = PartWriter(table, uri)
            writer = self._writers[table]
            writer.write(part)
            if writer.rows >= self.MAX_ROWS or writer.bytes >= self.MAX_BYTES:
                finished.append(self._writers.pop(table).close())
        counts = _count(key.source, rows, readable(batch).num_rows)
        self.counts[key.source] = self.counts.get(key.source, SourceCounts(key.source)) + counts
        return finished

    def close(self) -> list[Part]:
        """Finishes the open parts."""
        parts = []
        while self._writers:
            _, writer = self._writers.popitem()
            parts.append(writer.close())
        self._open = None
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


def _count(source: int, rows: dict[PartTable, pa.RecordBatch], readable: int) -> SourceCounts:
    scored, quarantined = rows[PartTable.SCORES], rows[PartTable.QUARANTINE]
    return SourceCounts(
        source,
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
