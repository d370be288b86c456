"""The Beam side of reading: files in, located batches out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from beam_jobs.batch import BatchKey
from beam_jobs.read.byte_range import ByteRange, RangeScan, ReadSpec
from beam_jobs.read.coverage import RangeRows
from beam_jobs.read.inputs import Inputs
from beam_jobs.read.reading import read_range
from beam_jobs.read.signs import FileSign
from beam_jobs.read.splitting import candidate_ranges, needs_scan, resolve_ranges, scan_range
from beam_jobs.storage import FileInfo

BATCHES = "batches"
ROWS = "rows"
_KNOWN = "known"
_GUESSED = "guessed"


@dataclass(eq=False)
class SplitFiles(beam.PTransform[beam.pvalue.PBegin, beam.PCollection[ByteRange]]):
    """Splits files into byte ranges with exact borders and row numbers.

    In: PBegin. Out: PCollection[ByteRange], spread over the workers; every file has its last one.

    Attributes:
        inputs: a byte range's `file_index` is the file's place in this list.

    Raises:
        InputError: a file cannot be read.
        AuditError: the runner dropped or duplicated a byte range.
    """

    inputs: Inputs

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection[ByteRange]:
        """Guesses borders, scans what cannot be known, and spreads the result."""
        byte_ranges = (
            pbegin
            | "Inputs" >> beam.Create([self.inputs])
            | "Files" >> beam.FlatMap(_numbered)
            | "Spread files" >> beam.Reshuffle()
            | "Guess byte ranges" >> beam.FlatMap(_candidates).with_outputs(_GUESSED, main=_KNOWN)
        )
        resolved = (
            byte_ranges[_GUESSED]
            | "Spread guesses" >> beam.Reshuffle()
            | "Scan" >> beam.Map(lambda byte_range: (byte_range.file_index, scan_range(byte_range)))
            | "By file" >> beam.GroupByKey()
            | "Resolve" >> beam.FlatMapTuple(_resolve)
        )
        found: beam.PCollection[ByteRange] = (
            (byte_ranges[_KNOWN], resolved)
            | beam.Flatten()
            | "Spread byte ranges" >> beam.Reshuffle()
        )
        return found


def _numbered(inputs: Inputs) -> Iterator[tuple[int, FileInfo]]:
    yield from enumerate(inputs.files)


def _candidates(numbered: tuple[int, FileInfo]) -> Iterator[Any]:
    index, file = numbered
    byte_ranges = candidate_ranges(file, index)
    if needs_scan(byte_ranges):
        yield from (beam.pvalue.TaggedOutput(_GUESSED, byte_range) for byte_range in byte_ranges)
    else:
        yield from byte_ranges


def _resolve(_: int, scans: Iterable[RangeScan]) -> list[ByteRange]:
    return resolve_ranges(sorted(scans, key=lambda scan: scan.byte_range.number))


@dataclass(eq=False)
class ReadRanges(beam.PTransform[beam.PCollection[ByteRange], dict[str, beam.PCollection[Any]]]):
    """Reads byte ranges.

    In: PCollection[ByteRange].
    Out: a dict of PCollections: `BATCHES` holds KeyedBatch, every record of the byte ranges once;
    `ROWS` holds `RangeRows`, one a byte range: what the reader itself counted, for
    `coverage.rows_of_files`.

    Raises:
        InputError: a file cannot be read to its end, or is not the generation planned.
    """

    spec: ReadSpec

    def expand(self, byte_ranges: beam.PCollection[ByteRange]) -> dict[str, beam.PCollection[Any]]:
        """One step with two outputs."""
        read = byte_ranges | "Read" >> beam.FlatMap(_read, self.spec).with_outputs(
            ROWS, main=BATCHES
        )
        return {BATCHES: read[BATCHES], ROWS: read[ROWS]}


def _read(byte_range: ByteRange, spec: ReadSpec) -> Iterator[Any]:
    rows = 0
    signs: list[FileSign] = []
    for number, batch in enumerate(read_range(byte_range, spec, tell=signs.append)):
        rows += batch.num_rows
        yield BatchKey(byte_range.file_index, byte_range.number, number), batch
    yield beam.pvalue.TaggedOutput(
        ROWS,
        RangeRows(
            byte_range.file_index, byte_range.first_row, rows, byte_range.is_last, tuple(signs)
        ),
    )
