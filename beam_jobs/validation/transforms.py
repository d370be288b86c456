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
from beam_jobs.batch import KeyedBatch
from beam_jobs.read.byte_range import ByteRange, ReadSpec
from beam_jobs.read.coverage import RangeRows, exactly_one, rows_of_files
from beam_jobs.read.inputs import Inputs
from beam_jobs.read.reading import read_range
from beam_jobs.validation.duplicates import Duplicates, write_duplicates
from beam_jobs.validation.keys import KEY_SCHEMA, find_duplicates, key_table, mark_keys
from beam_jobs.validation.rows import RowChecks, check_rows, compile_checks


@dataclass(eq=False)
class CheckRows(beam.PTransform[beam.PCollection[KeyedBatch], beam.PCollection[KeyedBatch]]):
    """Adds a finding to a row for each cell that violates the schema.

    In and out: PCollection[KeyedBatch].

    Attributes:
        schema: serialized TFDV schema; compiled once a worker.
    """

    schema: bytes

    def expand(self, batches: beam.PCollection[KeyedBatch]) -> beam.PCollection[KeyedBatch]:
        """One step; the checks are compiled once a worker."""
        found: beam.PCollection[KeyedBatch] = batches | "Check rows" >> beam.ParDo(
            _CheckRows(self.schema)
        )
        return found


class _CheckRows(beam.DoFn):
    def __init__(self, schema: bytes) -> None:
        self.schema = schema
        self.checks: RowChecks = ()

    def setup(self) -> None:
        self.checks = compile_checks(schema_pb2.Schema.FromString(self.schema))

    def process(self, element: KeyedBatch) -> Iterator[KeyedBatch]:
        key, batch = element
        yield key, check_rows(batch, self.checks)


@dataclass(eq=False)
class FindDuplicateKeys(beam.PTransform[beam.PCollection[ByteRange], beam.PCollection[Duplicates]]):
    """Reads the keys of all byte ranges and finds the records whose key an earlier one has.

    In: PCollection[ByteRange]. Out: one `Duplicates`, to be used as a side input.

    Attributes:
        key: the column that identifies a row.
        inputs: of the plan.
        folder: for the key files, one a byte range, and the duplicates; whoever ends the run
        removes it.

    Raises:
        AuditError: the runner dropped or duplicated a byte range's keys.
    """

    key: str
    inputs: Inputs
    folder: str

    def expand(self, byte_ranges: beam.PCollection[ByteRange]) -> beam.PCollection[Duplicates]:
        """Key files by byte range, then one step that looks through all of them."""
        spec = ReadSpec((), self.key, key_only=True)
        found: beam.PCollection[Duplicates] = (
            byte_ranges
            | "Read keys" >> beam.Map(_write_keys, spec, self.folder)
            | "All key files" >> beam.combiners.ToList()
            | "Find duplicates" >> beam.Map(find_duplicates_of, self.inputs, self.folder)
        )
        return found


def _write_keys(byte_range: ByteRange, spec: ReadSpec, folder: str) -> tuple[str, list[RangeRows]]:
    """The Parquet file of a byte range's keys; the same name however often a bundle is repeated."""
    uri = storage.join(folder, f"keys-{byte_range.file_index:05d}-{byte_range.number:05d}.parquet")
    rows = 0
    with (
        storage.open_atomic(uri) as stream,
        # Keys hardly repeat: a dictionary would only cost.
        pq.ParquetWriter(stream, KEY_SCHEMA, use_dictionary=False) as writer,
    ):
        for batch in read_range(byte_range, spec):
            writer.write_table(key_table(batch, byte_range.file_index))
            rows += batch.num_rows
    return uri, [RangeRows(byte_range.file_index, byte_range.first_row, rows, byte_range.is_last)]


def find_duplicates_of(
    written: Sequence[tuple[str, list[RangeRows]]], inputs: Inputs, folder: str
) -> Duplicates:
    """The duplicates of key tables, which must hold all rows of all inputs.

    Args:
        written: (key file, what was read for it).
        inputs: of the plan.
        folder: for the duplicates.

    Raises:
        AuditError: the runner dropped or duplicated a key file.
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
class MarkKeys(beam.PTransform[beam.PCollection[KeyedBatch], beam.PCollection[KeyedBatch]]):
    """Adds MISSING_KEY and DUPLICATE_KEY findings.

    In and out: PCollection[KeyedBatch].

    Attributes:
        key: name of the key's column.
        inputs: of the plan.
        duplicates: PCollection of the one `Duplicates` from `FindDuplicateKeys`.
    """

    key: str
    inputs: Inputs
    duplicates: beam.PCollection[Duplicates]

    def expand(self, batches: beam.PCollection[KeyedBatch]) -> beam.PCollection[KeyedBatch]:
        """One step, with the duplicates as a side input."""
        found: beam.PCollection[KeyedBatch] = batches | "Mark keys" >> beam.Map(
            _mark, self.key, self.inputs, AsList(self.duplicates)
        )
        return found


def _mark(
    element: KeyedBatch, key: str, inputs: Inputs, duplicates: Sequence[Duplicates]
) -> KeyedBatch:
    at, batch = element
    found = exactly_one(duplicates, "keys that appear twice")
    return at, mark_keys(batch, key, at.source, found, inputs.uris)
