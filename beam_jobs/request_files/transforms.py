"""The Beam side of requests: groups of files in, located batches, and parts of answers out."""

import itertools
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import AsList
from apache_beam.transforms.window import GlobalWindows

from beam_jobs import storage
from beam_jobs.batch import SOURCE_FILE, Actions, BatchKey, KeyedBatch, column_or_none
from beam_jobs.errors import AuditError, InputError
from beam_jobs.read.coverage import RangeRows, exactly_one
from beam_jobs.read.inputs import Inputs
from beam_jobs.request_files.groups import Group, groups_in
from beam_jobs.request_files.ids import id_table, ids_of_group, mark_duplicates
from beam_jobs.request_files.parse import RequestSpec
from beam_jobs.request_files.read import read_requests
from beam_jobs.request_files.scan import scan_ids
from beam_jobs.request_files.staged import AnswerPart, AnswerWriter
from beam_jobs.request_files.unreadable import Unreadable, check_some_readable, unreadable
from beam_jobs.runs.run_row import RunIdentity
from beam_jobs.validation.duplicates import Duplicates
from beam_jobs.validation.keys import KEY_SCHEMA, files_with_repeats
from beam_jobs.validation.transforms import duplicates_of_files

BATCHES = "batches"
COUNTS = "counts"

T = TypeVar("T")


@dataclass(eq=False)
class GroupFiles(beam.PTransform[beam.pvalue.PBegin, beam.PCollection[Group]]):
    """Spreads the request files over the workers.

    In: PBegin. Out: PCollection[Group].

    Attributes:
        inputs: of the plan.
    """

    inputs: Inputs

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection[Group]:
        """Groups from the plan, spread over the workers."""
        found: beam.PCollection[Group] = (
            pbegin
            | "Inputs" >> beam.Create([self.inputs])
            | "Groups" >> beam.FlatMap(groups_in)
            | "Spread groups" >> beam.Reshuffle()
        )
        return found


@dataclass(frozen=True)
class Scan:
    """What a quick pass over all groups found.

    Attributes:
        first_rows: {group: `SOURCE_ROW` of the first request of its first file}.
        suspects: groups with ids that may occur more than once.
        unreadable: {place in the plan: why}, of the files that no later step reads.
    """

    first_rows: Mapping[int, int]
    suspects: frozenset[int]
    unreadable: Mapping[int, Unreadable]

    def skipped(self, group: Group) -> frozenset[int]:
        """Places in a group of the files that are not read."""
        places = range(len(group.files))
        return frozenset(place for place in places if group.first + place in self.unreadable)


@dataclass(eq=False)
class ScanIds(beam.PTransform[beam.PCollection[Group], beam.PCollection[Scan]]):
    """Counts requests, finds ids that may occur more than once, and files that cannot be read.

    In: PCollection[Group]. Out: one `Scan`, to be used as a side input.

    Attributes:
        spec: as for `ReadRequests`.
        inputs: of the plan.
        folder: for the id files, one a group; whoever ends the run removes it.

    Raises:
        InputError: no file at all can be read, or a service does not answer.
        AuditError: the runner dropped or duplicated a group's ids.
    """

    spec: RequestSpec
    inputs: Inputs
    folder: str

    def expand(self, groups: beam.PCollection[Group]) -> beam.PCollection[Scan]:
        """Scans of groups, then one step that joins them."""
        found: beam.PCollection[Scan] = (
            groups
            | "Scan ids" >> beam.Map(_scan, self.spec, self.folder)
            | "All scans" >> beam.combiners.ToList()
            | "Find suspects" >> beam.Map(_join, self.inputs, self.folder)
        )
        return found


class FindUnreadable(
    beam.PTransform[beam.PCollection[Scan], beam.PCollection[Mapping[int, Unreadable]]]
):
    """In: PCollection of the one `Scan`. Out: the one {place in the plan: `Unreadable`} of it."""

    def expand(self, scans: beam.PCollection[Scan]) -> beam.PCollection[Mapping[int, Unreadable]]:
        """The part of the scan that publishing needs."""
        found: beam.PCollection[Mapping[int, Unreadable]] = scans | "Find unreadable" >> beam.Map(
            lambda scan: scan.unreadable
        )
        return found


@dataclass(frozen=True)
class _GroupScan:
    requests: int
    unreadable: Mapping[int, Unreadable]


def _scan(group: Group, spec: RequestSpec, folder: str) -> tuple[int, _GroupScan]:
    """(the group, what was found); writes its ids, under the same name however often repeated."""
    requests, found = 0, {}

    def tell(place: int, error: InputError) -> None:
        found[group.first + place] = unreadable(group.files[place], error)

    with (
        storage.open_atomic(_scanned(group, folder)) as stream,
        pq.ParquetWriter(stream, KEY_SCHEMA, use_dictionary=False) as writer,
    ):
        for ids, owners in scan_ids(group, spec, tell):
            writer.write_table(ids_of_group(ids, group.number))
            requests += len(owners)
    return group.number, _GroupScan(requests, found)


def _join(scanned: Sequence[tuple[int, _GroupScan]], inputs: Inputs, folder: str) -> Scan:
    groups = groups_in(inputs)
    scans = dict(_all_once(scanned, groups))
    first_rows: dict[int, int] = {}
    left_out: dict[int, Unreadable] = {}
    for before, group in itertools.pairwise([None, *groups]):
        assert group is not None
        goes_on = before is not None and group.start > 0
        first_rows[group.number] = (
            first_rows[before.number] + scans[before.number].requests if goes_on and before else 1
        )
        left_out = {**scans[group.number].unreadable, **left_out}
    check_some_readable(left_out, len(inputs.files))
    with (
        storage.fetched([_scanned(group, folder) for group in groups]) as paths,
        tempfile.TemporaryDirectory(prefix="beam-jobs-ids-") as scratch,
    ):
        suspects = files_with_repeats(list(paths.values()), scratch)
    return Scan(first_rows, frozenset(suspects), left_out)


def _all_once(found: Sequence[tuple[int, T]], groups: Sequence[Group]) -> list[tuple[int, T]]:
    """What was found of each group, in order."""
    ordered = sorted(found, key=lambda one: one[0])
    numbers = [number for number, _ in ordered]
    if numbers != [group.number for group in groups]:
        raise AuditError(
            f"of {len(groups)} groups of request files the ids of {numbers} arrived: the runner"
            " dropped or duplicated some"
        )
    return ordered


def _scanned(group: Group, folder: str) -> str:
    return storage.join(folder, f"scanned-{group.number:05d}.parquet")


@dataclass(eq=False)
class FindDuplicateIds(beam.PTransform[beam.PCollection[Group], beam.PCollection[Duplicates]]):
    """Finds the requests whose id an earlier one has: reads the groups that hold suspects.

    In: PCollection[Group]. Out: one `Duplicates`, to be used as a side input.

    Attributes:
        spec: as for `ReadRequests`.
        inputs: of the plan.
        folder: as for `ScanIds`; the duplicates, too.
        scan: PCollection of the one `Scan`.

    Raises:
        InputError: a file has changed since it was scanned.
        AuditError: the runner dropped or duplicated a group's ids.
    """

    spec: RequestSpec
    inputs: Inputs
    folder: str
    scan: beam.PCollection[Scan]

    def expand(self, groups: beam.PCollection[Group]) -> beam.PCollection[Duplicates]:
        """Ids of suspect groups, then one step that looks through all of them."""
        found: beam.PCollection[Duplicates] = (
            groups
            | "Read suspects" >> beam.Map(_suspects, self.spec, self.folder, AsList(self.scan))
            | "All suspects" >> beam.combiners.ToList()
            | "Find duplicates" >> beam.Map(_duplicates_of, self.inputs, self.folder)
        )
        return found


def _suspects(
    group: Group, spec: RequestSpec, folder: str, scans: Sequence[Scan]
) -> tuple[int, str | None]:
    """(the group, a Parquet file of its ids; None where it has no suspect)."""
    scan = exactly_one(scans, _SCANS)
    if group.number not in scan.suspects:
        return group.number, None
    uri = storage.join(folder, f"ids-{group.number:05d}.parquet")
    first_row, skipped = scan.first_rows[group.number], scan.skipped(group)
    with (
        storage.open_atomic(uri) as stream,
        pq.ParquetWriter(stream, KEY_SCHEMA, use_dictionary=False) as writer,
    ):
        for batch in read_requests(group, spec, first_row, skipped=skipped):
            writer.write_table(id_table(batch, group))
    return group.number, uri


def _duplicates_of(
    written: Sequence[tuple[int, str | None]], inputs: Inputs, folder: str
) -> Duplicates:
    all_once = _all_once(written, groups_in(inputs))
    return duplicates_of_files([uri for _, uri in all_once if uri is not None], folder)


@dataclass(eq=False)
class ReadRequests(beam.PTransform[beam.PCollection[Group], dict[str, beam.PCollection[Any]]]):
    """Reads groups of request files, but for the files that cannot be read.

    In: PCollection[Group].
    Out: a dict of PCollections: `BATCHES` holds KeyedBatch; `COUNTS` holds `RangeRows`, what the
    reader read of each file.

    Attributes:
        spec: what to make of the lines.
        scan: PCollection of the one `Scan`.

    Raises:
        InputError: a file has changed since it was scanned.
    """

    spec: RequestSpec
    scan: beam.PCollection[Scan]

    def expand(self, groups: beam.PCollection[Group]) -> dict[str, beam.PCollection[Any]]:
        """One step with two outputs."""
        read = groups | "Read" >> beam.FlatMap(_read, self.spec, AsList(self.scan)).with_outputs(
            COUNTS, main=BATCHES
        )
        return {BATCHES: read[BATCHES], COUNTS: read[COUNTS]}


_SCANS = "scans of the ids"


def _read(group: Group, spec: RequestSpec, scans: Sequence[Scan]) -> Iterator[Any]:
    scan = exactly_one(scans, _SCANS)
    first_row, skipped = scan.first_rows[group.number], scan.skipped(group)
    counts: Counter[str] = Counter()
    for number, batch in enumerate(read_requests(group, spec, first_row, skipped=skipped)):
        counts.update(_requests_of(batch))
        yield BatchKey(group.number, 0, number), batch
    for place, file in enumerate(group.files):
        if place not in skipped:
            rows = RangeRows(group.first + place, first_row, counts[file.uri], group.is_last)
            yield beam.pvalue.TaggedOutput(COUNTS, rows)
        first_row = 1


def _requests_of(batch: pa.RecordBatch) -> dict[str, int]:
    """{request file: its rows in the batch}."""
    files = column_or_none(batch, SOURCE_FILE)
    assert files is not None
    return {item["values"]: item["counts"] for item in files.value_counts().to_pylist()}


@dataclass(eq=False)
class MarkIds(beam.PTransform[beam.PCollection[KeyedBatch], beam.PCollection[KeyedBatch]]):
    """Adds DUPLICATE_KEY findings.

    In and out: PCollection[KeyedBatch].

    Attributes:
        inputs: of the plan.
        duplicates: PCollection of the one `Duplicates` from `FindDuplicateIds`.
    """

    inputs: Inputs
    duplicates: beam.PCollection[Duplicates]

    def expand(self, batches: beam.PCollection[KeyedBatch]) -> beam.PCollection[KeyedBatch]:
        """One step, with the duplicates as a side input."""
        found: beam.PCollection[KeyedBatch] = batches | "Mark ids" >> beam.Map(
            _mark, self.inputs, AsList(self.duplicates)
        )
        return found


def _mark(element: KeyedBatch, inputs: Inputs, duplicates: Sequence[Duplicates]) -> KeyedBatch:
    key, batch = element
    found = exactly_one(duplicates, "ids that appear twice")
    group = groups_in(inputs)[key.source]
    return key, mark_duplicates(batch, found, group, inputs.uris)


@dataclass(eq=False)
class WriteAnswers(beam.PTransform[beam.PCollection[KeyedBatch], beam.PCollection[AnswerPart]]):
    """Writes the answers of scored batches into the run's folder.

    In: PCollection[KeyedBatch]. Out: PCollection[AnswerPart], one a bundle that has any.

    Raises:
        RunError: the run folder cannot be written.
    """

    folder: str
    run: RunIdentity
    actions: Actions

    def expand(self, batches: beam.PCollection[KeyedBatch]) -> beam.PCollection[AnswerPart]:
        """One step, which keeps one part open a bundle."""
        found: beam.PCollection[AnswerPart] = batches | "Write answers" >> beam.ParDo(
            _WriteAnswers(self.folder, self.run, dict(self.actions))
        )
        return found


class _WriteAnswers(beam.DoFn):
    """Keeps one part open through a bundle; memory holds one batch."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments
        self._writer: AnswerWriter | None = None

    def start_bundle(self) -> None:
        self.teardown()

    def process(self, element: KeyedBatch) -> None:
        if self._writer is None:
            self._writer = AnswerWriter(*self._arguments)
        self._writer.write(element[1])

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
