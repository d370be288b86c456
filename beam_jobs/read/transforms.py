"""The Beam side of reading: files in, located batches out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from beam_jobs.read.spans import (
    ReadSpec,
    Span,
    SpanScan,
    candidate_spans,
    needs_scan,
    read_span,
    resolve_spans,
    scan_span,
)
from beam_jobs.records import Located
from beam_jobs.storage import FileInfo

_KNOWN = "known"
_GUESSED = "guessed"


@dataclass(eq=False)
class SplitFiles(beam.PTransform):
    """Splits files into spans with exact borders and row numbers.

    In: PBegin. Out: PCollection[Span], spread over the workers; files without records have none.

    Attributes:
        files: the inputs; a span's `file_index` is the place in this sequence.

    Raises:
        InputError: a file cannot be read.
    """

    files: Sequence[FileInfo]

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        spans = (
            pbegin
            | "Files" >> beam.Create(list(enumerate(self.files)))
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

    In: PCollection[Span]. Out: PCollection[Located], every record of the spans once.

    Raises:
        InputError: a file cannot be read to its end, or is not the generation planned.
    """

    spec: ReadSpec

    def expand(self, spans: beam.PCollection) -> beam.PCollection:
        return spans | "Read" >> beam.FlatMap(_read, self.spec)


def _read(span: Span, spec: ReadSpec) -> Iterator[Located]:
    for number, batch in enumerate(read_span(span, spec)):
        yield span.file_index, span.number, number, batch


@dataclass(eq=False)
class CountRead(beam.PTransform):
    """Counts what was read, apart from what is written: the audit compares the two.

    In: PCollection[Located]. Out: PCollection[(file index, rows)], one a file.
    """

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        return (
            batches
            | "Rows read" >> beam.Map(lambda element: (element[0], element[3].num_rows))
            | "Rows a file" >> beam.CombinePerKey(sum)
        )
