"""The Beam side of requests: groups of files in, located batches, and parts of answers out."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import AsList
from apache_beam.transforms.window import GlobalWindows

from beam_jobs import records, storage
from beam_jobs.check.keys import KEY_SCHEMA
from beam_jobs.check.transforms import find_duplicates_of
from beam_jobs.publish.runs import RunIdentity
from beam_jobs.read.coverage import SpanRows, only
from beam_jobs.records import Actions, Located
from beam_jobs.requests.ids import id_table, mark_duplicates
from beam_jobs.requests.parse import RequestSpec
from beam_jobs.requests.read import group_files, read_requests
from beam_jobs.requests.staged import AnswerPart, AnswerWriter

BATCHES = "batches"
COUNTS = "counts"


@dataclass(frozen=True)
class Group:
    """Request files that one worker reads together.

    Attributes:
        number: of the group; stands for the file's index in `Located`.
        first: place of its first file in the plan.
        files: in the plan's order.
    """

    number: int
    first: int
    files: tuple[storage.FileInfo, ...]

    @property
    def uris(self) -> list[str]:
        return [file.uri for file in self.files]


def groups_of(files: Sequence[storage.FileInfo]) -> list[Group]:
    """The plan's files in groups."""
    groups, first = [], 0
    for number, some in enumerate(group_files(files)):
        groups.append(Group(number, first, some))
        first += len(some)
    return groups


@dataclass(eq=False)
class GroupFiles(beam.PTransform):
    """Spreads the request files over the workers.

    In: PBegin. Out: PCollection[Group].

    Attributes:
        files: of the plan.
    """

    files: Sequence[storage.FileInfo]

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        groups = groups_of(self.files)
        return pbegin | "Groups" >> beam.Create(groups) | "Spread groups" >> beam.Reshuffle()


@dataclass(eq=False)
class ReadRequests(beam.PTransform):
    """Reads groups of request files.

    In: PCollection[Group].
    Out: a dict of PCollections: `BATCHES` holds Located, a group's number in the place of a file's
    index; `COUNTS` holds `SpanRows`, what the reader read of each file.

    Raises:
        InputError: a file cannot be read to its end, or is not the generation planned.
    """

    spec: RequestSpec

    def expand(self, groups: beam.PCollection) -> dict[str, beam.PCollection]:
        read = groups | "Read" >> beam.FlatMap(_read, self.spec).with_outputs(COUNTS, main=BATCHES)
        return {BATCHES: read[BATCHES], COUNTS: read[COUNTS]}


def _read(group: Group, spec: RequestSpec) -> Iterator[Any]:
    counts: Counter[str] = Counter()
    for number, batch in enumerate(read_requests(group.files, spec)):
        counts.update(_requests_of(batch))
        yield group.number, 0, number, batch
    for rows in _whole_files(group, counts):
        yield beam.pvalue.TaggedOutput(COUNTS, rows)


def _requests_of(batch: pa.RecordBatch) -> dict[str, int]:
    """{request file: its rows in the batch}."""
    files = records.column_or_none(batch, records.SOURCE_FILE)
    assert files is not None
    return {item["values"]: item["counts"] for item in files.value_counts().to_pylist()}


def _whole_files(group: Group, counts: Mapping[str, int]) -> list[SpanRows]:
    return [
        SpanRows(group.first + place, 1, counts[file.uri], is_last=True)
        for place, file in enumerate(group.files)
    ]


@dataclass(eq=False)
class FindDuplicateIds(beam.PTransform):
    """Reads the ids of all groups and finds those that occur more than once.

    In: PCollection[Group]. Out: one pa.Table of `keys.KEY_SCHEMA`, to be used as a side input.

    Attributes:
        spec: as for `ReadRequests`.
        files: URIs of the plan's request files.
        folder: for the id files, one a group; whoever ends the run removes it.

    Raises:
        AuditError: the runner lost or doubled a group's ids.
    """

    spec: RequestSpec
    files: Sequence[str]
    folder: str

    def expand(self, groups: beam.PCollection) -> beam.PCollection:
        return (
            groups
            | "Read ids" >> beam.Map(_write_ids, self.spec, self.folder)
            | "All id files" >> beam.combiners.ToList()
            | "Find duplicates" >> beam.Map(find_duplicates_of, self.files)
        )


def _write_ids(group: Group, spec: RequestSpec, folder: str) -> tuple[str, list[SpanRows]]:
    """The Parquet file of a group's ids; the same name however often a bundle is repeated."""
    uri = storage.join(folder, f"ids-{group.number:05d}.parquet")
    with (
        storage.open_atomic(uri) as stream,
        pq.ParquetWriter(stream, KEY_SCHEMA, use_dictionary=False) as writer,
    ):
        counts: Counter[str] = Counter()
        for batch in read_requests(group.files, spec):
            writer.write_table(id_table(batch, group.uris, group.first))
            counts.update(_requests_of(batch))
    return uri, _whole_files(group, counts)


@dataclass(eq=False)
class MarkIds(beam.PTransform):
    """Adds DUPLICATE_KEY findings.

    In and out: PCollection[Located].

    Attributes:
        files: URIs of the plan's request files.
        duplicates: PCollection of the one table from `FindDuplicateIds`.
    """

    files: Sequence[str]
    duplicates: beam.PCollection

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        return batches | "Mark ids" >> beam.Map(_mark, self.files, AsList(self.duplicates))


def _mark(element: Located, files: Sequence[str], duplicates: Sequence[pa.Table]) -> Located:
    *place, batch = element
    return *place, mark_duplicates(batch, only(duplicates, "ids that stand twice"), files)


@dataclass(eq=False)
class WriteAnswers(beam.PTransform):
    """Writes the answers of scored batches into the run's folder.

    In: PCollection[Located]. Out: PCollection[AnswerPart], one a bundle that has any.

    Raises:
        RunError: the run folder cannot be written.
    """

    folder: str
    run: RunIdentity
    actions: Actions

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        return batches | "Write answers" >> beam.ParDo(
            _WriteAnswers(self.folder, self.run, dict(self.actions))
        )


class _WriteAnswers(beam.DoFn):
    """Keeps one part open through a bundle; memory holds one batch."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments
        self._writer: AnswerWriter | None = None

    def start_bundle(self) -> None:
        self.teardown()

    def process(self, element: Located) -> None:
        if self._writer is None:
            self._writer = AnswerWriter(*self._arguments)
        self._writer.write(element[3])

    def finish_bundle(self) -> Iterator[Any]:
        if self._writer is not None:
            part: AnswerPart = self._writer.close()
            self._writer = None
            yield GlobalWindows.windowed_value_at_end_of_window(part)

    def teardown(self) -> None:
        # A bundle that failed never reaches finish_bundle.
        if self._writer is not None:
            self._writer.abort()
            self._writer = None
