"""The Beam side of requests: groups of files in, located batches, and parts of answers out."""

import itertools
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.pvalue import AsList
from apache_beam.transforms.window import GlobalWindows

from beam_jobs import records, storage
from beam_jobs.check.keys import KEY_SCHEMA, find_duplicates
from beam_jobs.errors import AuditError
from beam_jobs.publish.runs import RunIdentity
from beam_jobs.read.coverage import SpanRows, only
from beam_jobs.records import Actions, Located
from beam_jobs.requests.glance import glance
from beam_jobs.requests.groups import Group, groups_of
from beam_jobs.requests.ids import anywhere, id_table, mark_duplicates
from beam_jobs.requests.parse import RequestSpec
from beam_jobs.requests.read import read_requests
from beam_jobs.requests.staged import AnswerPart, AnswerWriter

BATCHES = "batches"
COUNTS = "counts"

T = TypeVar("T")


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


@dataclass(frozen=True)
class Look:
    """What a quick look at all groups found.

    Attributes:
        first_rows: {group: `SOURCE_ROW` of the first request of its first file}.
        suspects: ids that may stand twice.
    """

    first_rows: Mapping[int, int]
    suspects: pa.Array


@dataclass(eq=False)
class LookAtIds(beam.PTransform):
    """Counts the requests of all groups and finds ids that may occur more than once.

    In: PCollection[Group]. Out: one `Look`, to be used as a side input.

    Attributes:
        spec: as for `ReadRequests`.
        files: of the plan.
        folder: for the id files, one a group; whoever ends the run removes it.

    Raises:
        InputError: a file cannot be read to its end, or is not the generation planned.
        AuditError: the runner lost or doubled a group's ids.
    """

    spec: RequestSpec
    files: Sequence[storage.FileInfo]
    folder: str

    def expand(self, groups: beam.PCollection) -> beam.PCollection:
        return (
            groups
            | "Look at ids" >> beam.Map(_look, self.spec, self.folder)
            | "All looks" >> beam.combiners.ToList()
            | "Find suspects" >> beam.Map(_look_of, groups_of(self.files), self.folder)
        )


def _look(group: Group, spec: RequestSpec, folder: str) -> tuple[int, int]:
    """(the group, its requests); writes its ids, under the same name however often repeated."""
    requests = 0
    with (
        storage.open_atomic(_looked_at(group, folder)) as stream,
        pq.ParquetWriter(stream, KEY_SCHEMA, use_dictionary=False) as writer,
    ):
        for ids, owners in glance(group, spec):
            writer.write_table(anywhere(ids))
            requests += len(owners)
    return group.number, requests


def _look_of(looked: Sequence[tuple[int, int]], groups: Sequence[Group], folder: str) -> Look:
    requests = dict(_all_once(looked, groups))
    first_rows: dict[int, int] = {}
    for before, group in itertools.pairwise([None, *groups]):
        assert group is not None
        goes_on = before is not None and group.start > 0
        first_rows[group.number] = (
            first_rows[before.number] + requests[before.number] if goes_on and before else 1
        )
    found = _twice([_looked_at(group, folder) for group in groups])
    return Look(first_rows, found.column("key").combine_chunks())


def _all_once(found: Sequence[tuple[int, T]], groups: Sequence[Group]) -> list[tuple[int, T]]:
    """What was found of each group, in order."""
    ordered = sorted(found, key=lambda one: one[0])
    numbers = [number for number, _ in ordered]
    if numbers != [group.number for group in groups]:
        raise AuditError(
            f"of {len(groups)} groups of request files the ids of {numbers} arrived: the runner"
            " lost or doubled some"
        )
    return ordered


def _looked_at(group: Group, folder: str) -> str:
    return storage.join(folder, f"looked-{group.number:05d}.parquet")


def _twice(uris: Sequence[str]) -> pa.Table:
    with (
        storage.fetched(sorted(uris)) as paths,
        tempfile.TemporaryDirectory(prefix="beam-jobs-ids-") as scratch,
    ):
        return find_duplicates(list(paths.values()), scratch)


@dataclass(eq=False)
class FindDuplicateIds(beam.PTransform):
    """Finds the ids that occur more than once: reads the groups that hold suspects.

    In: PCollection[Group]. Out: one pa.Table of `keys.KEY_SCHEMA`, to be used as a side input.

    Attributes:
        spec: as for `ReadRequests`.
        files: of the plan.
        folder: as for `LookAtIds`.
        look: PCollection of the one `Look`.

    Raises:
        AuditError: the runner lost or doubled a group's ids.
    """

    spec: RequestSpec
    files: Sequence[storage.FileInfo]
    folder: str
    look: beam.PCollection

    def expand(self, groups: beam.PCollection) -> beam.PCollection:
        return (
            groups
            | "Read suspects" >> beam.Map(_suspects, self.spec, self.folder, AsList(self.look))
            | "All suspects" >> beam.combiners.ToList()
            | "Find duplicates" >> beam.Map(_duplicates_of, groups_of(self.files))
        )


def _suspects(
    group: Group, spec: RequestSpec, folder: str, looks: Sequence[Look]
) -> tuple[int, str | None]:
    """(the group, a Parquet file of those of its ids that are suspects; None where none is)."""
    look = only(looks, _LOOKS)
    if not len(look.suspects):
        return group.number, None
    with storage.fetched([_looked_at(group, folder)]) as paths:
        ids = pq.read_table(*paths.values(), columns=["key"]).column("key")
    if not pc.any(pc.is_in(ids, value_set=look.suspects)).as_py():
        return group.number, None
    uri = storage.join(folder, f"ids-{group.number:05d}.parquet")
    with (
        storage.open_atomic(uri) as stream,
        pq.ParquetWriter(stream, KEY_SCHEMA, use_dictionary=False) as writer,
    ):
        for batch in read_requests(group, spec, look.first_rows[group.number]):
            table = id_table(batch, group.uris, group.first)
            writer.write_table(table.filter(pc.is_in(table.column("key"), value_set=look.suspects)))
    return group.number, uri


def _duplicates_of(written: Sequence[tuple[int, str | None]], groups: Sequence[Group]) -> pa.Table:
    return _twice([uri for _, uri in _all_once(written, groups) if uri is not None])


@dataclass(eq=False)
class ReadRequests(beam.PTransform):
    """Reads groups of request files.

    In: PCollection[Group].
    Out: a dict of PCollections: `BATCHES` holds Located, a group's number in the place of a file's
    index; `COUNTS` holds `SpanRows`, what the reader read of each file.

    Attributes:
        spec: what to make of the lines.
        look: PCollection of the one `Look`.

    Raises:
        InputError: a file cannot be read to its end, or is not the generation planned.
    """

    spec: RequestSpec
    look: beam.PCollection

    def expand(self, groups: beam.PCollection) -> dict[str, beam.PCollection]:
        read = groups | "Read" >> beam.FlatMap(_read, self.spec, AsList(self.look)).with_outputs(
            COUNTS, main=BATCHES
        )
        return {BATCHES: read[BATCHES], COUNTS: read[COUNTS]}


_LOOKS = "looks at the ids"


def _read(group: Group, spec: RequestSpec, looks: Sequence[Look]) -> Iterator[Any]:
    first_row = only(looks, _LOOKS).first_rows[group.number]
    counts: Counter[str] = Counter()
    for number, batch in enumerate(read_requests(group, spec, first_row)):
        counts.update(_requests_of(batch))
        yield group.number, 0, number, batch
    for place, file in enumerate(group.files):
        rows = SpanRows(group.first + place, first_row, counts[file.uri], group.is_last)
        yield beam.pvalue.TaggedOutput(COUNTS, rows)
        first_row = 1


def _requests_of(batch: pa.RecordBatch) -> dict[str, int]:
    """{request file: its rows in the batch}."""
    files = records.column_or_none(batch, records.SOURCE_FILE)
    assert files is not None
    return {item["values"]: item["counts"] for item in files.value_counts().to_pylist()}


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
