"""The Beam side of reading: files in, located batches out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from beam_jobs.read.coverage import SpanRows
from beam_jobs.read.inputs import Inputs
from beam_jobs.read.signs import FileSign
from beam_jobs.read.span import ReadSpec, Span, SpanScan
from beam_jobs.read.spans import candidate_spans, needs_scan, read_span, resolve_spans, scan_span
from beam_jobs.storage import FileInfo

BATCHES = "batches"
ROWS = "rows"
_KNOWN = "known"
_GUESSED = "guessed"


@dataclass(eq=False)
class SplitFiles(beam.PTransform):
    """Splits files into spans with exact borders and row numbers.

    In: PBegin. Out: PCollection[Span], spread over the workers; every file has its last one.

    Attributes:
        inputs: a span's `file_index` is the file's place in this list.

    Raises:
        InputError: a file cannot be read.
        AuditError: the runner lost or doubled a span.
    """

    inputs: Inputs

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        spans = (
            pbegin
            | "Inputs" >> beam.Create([self.inputs])
            | "Files" >> beam.FlatMap(_numbered)
            | "Spread files" >> beam.Reshuffle()
            | "Guess spans" >> beam.FlatMap(_candidates).with_outputs(_GUESSED, main=_KNOWN)
        )
        resolved = (
            spans[_GUESSED]
            | "Spread guesses" >> beam.Reshuffle()
            | "Scan" >> beam.Map(lambda span: (span.file_index, scan_span(span)))
            | "By file" >> beam.GroupByKey()
            | "Resolve" >> beam.FlatMapTuple(_resolve)
        )
        return (spans[_KNOWN], resolved) | beam.Flatten() | "Spread spans" >> beam.Reshuffle()


def _numbered(inputs: Inputs) -> Iterator[tuple[int, FileInfo]]:
    yield from enumerate(inputs.files)


def _candidates(numbered: tuple[int, FileInfo]) -> Iterator[Any]:
    index, file = numbered
    spans = candidate_spans(file, index)
    if needs_scan(spans):
        yield from (beam.pvalue.TaggedOutput(_GUESSED, span) for span in spans)
    else:
        yield from spans


def _resolve(_: int, scans: Iterable[SpanScan]) -> list[Span]:
    return resolve_spans(sorted(scans, key=lambda scan: scan.span.number))


@dataclass(eq=False)
class ReadSpans(beam.PTransform):
    """Reads spans.

    In: PCollection[Span].
    Out: a dict of PCollections: `BATCHES` holds Located, every record of the spans once; `ROWS`
    holds `SpanRows`, one a span: what the reader itself counted, for `coverage.rows_of_files`.

    Raises:
        InputError: a file cannot be read to its end, or is not the generation planned.
    """

    spec: ReadSpec

    def expand(self, spans: beam.PCollection) -> dict[str, beam.PCollection]:
        read = spans | "Read" >> beam.FlatMap(_read, self.spec).with_outputs(ROWS, main=BATCHES)
        return {BATCHES: read[BATCHES], ROWS: read[ROWS]}


def _read(span: Span, spec: ReadSpec) -> Iterator[Any]:
    rows = 0
    signs: list[FileSign] = []
    for number, batch in enumerate(read_span(span, spec, tell=signs.append)):
        rows += batch.num_rows
        yield span.file_index, span.number, number, batch
    yield beam.pvalue.TaggedOutput(
        ROWS, SpanRows(span.file_index, span.first_row, rows, span.is_last, tuple(signs))
    )
