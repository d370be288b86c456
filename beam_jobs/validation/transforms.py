"""The Beam side of row checks and keys."""

import itertools
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.pvalue import AsList
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs import storage
from beam_jobs.batch import Located
from beam_jobs.read.coverage import SpanRows, only, rows_of_files
from beam_jobs.read.inputs import Inputs
from beam_jobs.read.span import ReadSpec, Span
from beam_jobs.read.spans import read_span
from beam_jobs.validation.duplicates import Duplicates, write_duplicates
from beam_jobs.validation.keys import KEY_SCHEMA, find_duplicates, key_table, mark_keys
from beam_jobs.validation.rows import RowChecks, check_rows, compile_checks


@dataclass(eq=False)
class CheckRows(beam.PTransform):
    """Adds a finding to a row for each cell that violates the schema.

    In and out: PCollection[Located].

    Attributes:
        schema: serialized TFDV schema; compiled once a worker.
    """

    schema: bytes

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        return batches | "Check rows" >> beam.ParDo(_CheckRows(self.schema))


class _CheckRows(beam.DoFn):
    def __init__(self, schema: bytes) -> None:
        self.schema = schema
        self.checks: RowChecks = ()

    def setup(self) -> None:
        self.checks = compile_checks(schema_pb2.Schema.FromString(self.schema))

    def process(self, element: Located) -> Iterator[Located]:
        *place, batch = element
        yield *place, check_rows(batch, self.checks)


@dataclass(eq=False)
class FindDuplicateKeys(beam.PTransform):
    """Reads the keys of all spans and finds the records whose key an earlier one has.

    In: PCollection[Span]. Out: one `Duplicates`, to be used as a side input.

    Attributes:
        key: the column that identifies a row.
        inputs: of the plan.
        folder: for the key files, one a span, and the duplicates; whoever ends the run removes it.

    Raises:
        AuditError: the runner lost or doubled a span's keys.
    """

    key: str
    inputs: Inputs
    folder: str

    def expand(self, spans: beam.PCollection) -> beam.PCollection:
        spec = ReadSpec((), self.key, key_only=True)
        return (
            spans
            | "Read keys" >> beam.Map(_write_keys, spec, self.folder)
            | "All key files" >> beam.combiners.ToList()
            | "Find duplicates" >> beam.Map(find_duplicates_of, self.inputs, self.folder)
        )


def _write_keys(span: Span, spec: ReadSpec, folder: str) -> tuple[str, list[SpanRows]]:
    """The Parquet file of a span's keys; the same name however often a bundle is repeated."""
    uri = storage.join(folder, f"keys-{span.file_index:05d}-{span.number:05d}.parquet")
    rows = 0
    with (
        storage.open_atomic(uri) as stream,
        # Keys hardly repeat: a dictionary would only cost.
        pq.ParquetWriter(stream, KEY_SCHEMA, use_dictionary=False) as writer,
    ):
        for batch in read_span(span, spec):
            writer.write_table(key_table(batch, span.file_index))
            rows += batch.num_rows
    return uri, [SpanRows(span.file_index, span.first_row, rows, span.is_last)]


def find_duplicates_of(
    written: Sequence[tuple[str, list[SpanRows]]], inputs: Inputs, folder: str
) -> Duplicates:
    """The duplicates of key tables, which must hold all rows of all inputs.

    Args:
        written: (key file, what was read for it).
        inputs: of the plan.
        folder: for the duplicates.

    Raises:
        AuditError: the runner lost or doubled a key file.
    """
    rows_of_files(itertools.chain.from_iterable(rows for _, rows in written), inputs.uris)
    return duplicates_of_files([uri for uri, _ in written], folder)


def duplicates_of_files(uris: Sequence[str], folder: str) -> Duplicates:
    """The duplicates of files of key tables, in a file of the folder.

    Its name is new: a bundle that is repeated takes nothing from under those who read the first.
    """
    with (
        storage.fetched(sorted(uris)) as paths,
        tempfile.TemporaryDirectory(prefix="beam-jobs-keys-") as scratch,
    ):
        uri = storage.join(folder, f"duplicates-{uuid.uuid4().hex}.parquet")
        return write_duplicates(uri, find_duplicates(list(paths.values()), scratch))


@dataclass(eq=False)
class MarkKeys(beam.PTransform):
    """Adds MISSING_KEY and DUPLICATE_KEY findings.

    In and out: PCollection[Located].

    Attributes:
        key: name of the key's column.
        inputs: of the plan.
        duplicates: PCollection of the one `Duplicates` from `FindDuplicateKeys`.
    """

    key: str
    inputs: Inputs
    duplicates: beam.PCollection

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        return batches | "Mark keys" >> beam.Map(
            _mark, self.key, self.inputs, AsList(self.duplicates)
        )


def _mark(element: Located, key: str, inputs: Inputs, duplicates: Sequence[Duplicates]) -> Located:
    file_index, span, number, batch = element
    found = only(duplicates, "keys that stand twice")
    return file_index, span, number, mark_keys(batch, key, file_index, found, inputs.uris)
