"""A run's folder: RUNS/<job>/<period>/<run_id>/, complete in itself.

Whatever publishing needs lies here, so approving a held run and putting an earlier run of a month
back are the same act as publishing it the first time.
"""

import contextlib
import datetime
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs import storage
from beam_jobs.errors import AuditError, InputError, UsageError, cannot_write
from beam_jobs.runs.parts import Part, PartTable
from beam_jobs.runs.run_row import RunRow, period_name
from beam_jobs.warehouse.ddl import google_type
from beam_jobs.warehouse.tables import arrow_schema

_log = logging.getLogger(__name__)

RUN_TABLES = ("anomalies", "feature_statistics", "inputs")
"""Small tables of a run, one Parquet file each in its folder."""

_FILES_AT_ONCE = 16
"""Looked at, or removed: in Cloud Storage each is a request or two."""


@dataclass(frozen=True)
class Manifest:
    """What a run wrote.

    Attributes:
        run: its line in `runs` when it was written.
        parts: all files of `scores` and `quarantine`.
    """

    run: RunRow
    parts: tuple[Part, ...]

    def rows(self, table: PartTable) -> int:
        """Rows in all parts of a table."""
        return sum(part.rows for part in self.parts if part.table is table)

    def uris(self, table: PartTable) -> list[str]:
        """Paths of all parts of a table."""
        return [part.uri for part in self.parts if part.table is table]


class RunFolder:
    """Paths of a run's files, and the few operations on them.

    What is in `keys` is needed until the run ends.
    """

    def __init__(self, path: str) -> None:
        """Takes the folder's path; a relative one is resolved now, against the current folder."""
        self.path = storage.absolute(path)
        self.plan = storage.join(self.path, "plan.json")
        self.manifest = storage.join(self.path, "manifest.json")
        self.statistics = storage.join(self.path, "statistics.binpb")
        self.anomalies_proto = storage.join(self.path, "anomalies.pbtxt")
        self.anomalies = self.table("anomalies")
        self.summary = storage.join(self.path, "summary.json")
        self.report = storage.join(self.path, "report.html")
        self.keys = storage.join(self.path, "keys")
        self.failure = storage.join(self.path, "failure.json")
        self.traceback = storage.join(self.path, "failure.txt")

    @classmethod
    def of(cls, runs: str, job: str, period: datetime.date, run_id: str) -> "RunFolder":
        """The folder of a run below the folder of all runs."""
        return cls(storage.join(runs, job, period_name(job, period), run_id))

    def parts(self, table: PartTable) -> str:
        """The folder of a table's parts."""
        return storage.join(self.path, table.value)

    def table(self, name: str) -> str:
        """The Parquet file of one of `RUN_TABLES`."""
        return storage.join(self.path, f"{name}.parquet")

    @contextlib.contextmanager
    def lock(self, waiting: Callable[[str], None] = _log.warning) -> Iterator[None]:
        """Keeps other processes from working on the same run; waits for one that does.

        A process that ends, however it ends, holds no lock; see `storage.lock`.

        Args:
            waiting: called once with a sentence: that, and for whom, this process waits.
        """
        with contextlib.ExitStack() as held:
            with _writing(self.path):
                held.enter_context(storage.lock(self.path, waiting))
            yield

    def write(self, uri: str, data: bytes) -> None:
        """Writes one of the folder's files, whole or not at all.

        Raises:
            RunError: it cannot be written.
        """
        with _writing(uri):
            storage.write_atomic(uri, data)

    def write_table(self, name: str, table: pa.Table, run: RunRow) -> None:
        """Writes one of `RUN_TABLES`; the run's own columns are filled in here.

        Args:
            name: of the table.
            table: its columns, `run_id`, `job` and `period` needless.
            run: gives these.

        Raises:
            ValueError: a column is missing.
            RunError: the file cannot be written.
        """
        schema = arrow_schema(name)
        constants = {"run_id": run.run_id, "job": run.job, "period": run.period}
        columns = []
        for field in schema:
            if field.name in constants:
                value = pa.scalar(constants[field.name], field.type)
                columns.append(pa.repeat(value, table.num_rows))
            elif field.name in table.column_names:
                columns.append(table.column(field.name).cast(field.type))
            else:
                raise ValueError(
                    f"table {name!r}: no column {field.name!r} in {table.column_names}"
                )
        uri = self.table(name)
        with _writing(uri), storage.open_atomic(uri) as stream:
            rows = pa.table(columns, schema=schema)
            # BigQuery takes lists only as Parquet's specification names their parts.
            pq.write_table(rows, stream, compression="snappy", use_compliant_nested_type=True)

    def write_manifest(self, manifest: Manifest) -> None:
        """Writes `manifest.json`; the run is complete from here on."""
        document = {
            "run": manifest.run.to_json(),
            "parts": [
                {
                    "table": part.table.value,
                    "name": os.path.basename(part.uri),
                    "rows": part.rows,
                    "bytes": part.bytes,
                }
                for part in sorted(manifest.parts)
            ],
        }
        self.write(self.manifest, orjson.dumps(document, option=orjson.OPT_INDENT_2))

    def read_manifest(self) -> Manifest:
        """Raises UsageError where the folder is gone, or holds no complete run."""
        try:
            document = orjson.loads(storage.read_bytes(self.manifest))
            parts = [
                Part(
                    PartTable(part["table"]),
                    storage.join(self.path, part["table"], part["name"]),
                    part["rows"],
                    part["bytes"],
                )
                for part in document["parts"]
            ]
            return Manifest(RunRow.from_record(document["run"]), tuple(parts))
        except FileNotFoundError as error:
            there = storage.exists(self.path)
            what = "holds no manifest.json" if there else "does not exist"
            raise UsageError(
                f"run folder {self.path}: {what}; restore it, or run the period again with --force"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"run folder {self.path}: manifest.json cannot be read ({error}); restore it, or"
                " run the period again with --force"
            ) from error

    def check(self, parts: Sequence[Part]) -> None:
        """Compares every part, once each, with its file: size, and rows in the footer.

        Raises:
            AuditError: naming each file that is missing, unreadable, listed twice or not as it
                was written.
            UsageError: an earlier version of this program wrote other columns.
        """
        wrong = []
        seen: set[str] = set()
        uris = [*(part.uri for part in parts), *map(self.table, RUN_TABLES)]
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            looked_at = list(pool.map(_look_at, uris))
        for part, found in zip(parts, looked_at, strict=False):
            if part.uri in seen:
                wrong.append(f"{part.uri} is listed twice")
            seen.add(part.uri)
            if isinstance(found, str):
                wrong.append(f"{found} ({part.rows} rows)")
            elif (found.rows, found.bytes) != (part.rows, part.bytes):
                wrong.append(
                    f"{part.uri} has {found.rows} rows in {found.bytes} bytes, written were"
                    f" {part.rows} rows in {part.bytes} bytes"
                )
        wrong += [found for found in looked_at[len(parts) :] if isinstance(found, str)]
        if wrong:
            raise AuditError(f"run folder {self.path}: {'; '.join(wrong)}")
        names = [*(part.table.value for part in parts), *RUN_TABLES]
        for table, found in zip(names, looked_at, strict=True):
            if isinstance(found, _Looked) and (other := _other_columns(table, found.schema)):
                raise UsageError(
                    f"run folder {self.path}: an earlier version of beam-jobs wrote it, with other"
                    f" columns ({other}); it cannot be published any more: run the period again"
                )

    def sweep(self, parts: Sequence[Part]) -> list[str]:
        """Removes what attempts that were killed left: other parts, unfinished files.

        Only whoever holds the lock may call this, after the last part was written.

        Returns:
            The paths that were removed.
        """
        wanted = {part.uri for part in parts}
        folders = tuple(f"{self.parts(table)}/" for table in PartTable)
        left = [
            file.uri
            for file in storage.list_files(self.path)
            if (file.uri.startswith(folders) and file.uri not in wanted)
            or ("/" not in storage.relative(self.path, file.uri) and file.uri.endswith(".tmp"))
        ]
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            list(pool.map(storage.remove, left))
        return left


@dataclass(frozen=True)
class _Looked:
    """What a Parquet file says of itself."""

    rows: int
    bytes: int
    schema: pa.Schema


def _look_at(uri: str) -> _Looked | str:
    """At a Parquet file; a text where it cannot be read."""
    try:
        file = storage.info(uri)
        with storage.open_pinned(file) as stream:
            footer = pq.read_metadata(stream)
            return _Looked(footer.num_rows, file.size, footer.schema.to_arrow_schema())
    except FileNotFoundError:
        return f"{uri} is missing"
    except (OSError, InputError, pa.ArrowInvalid) as error:
        return f"{uri} cannot be read: {error}"


def _other_columns(table: str, found: pa.Schema) -> str:
    """The first of a table's fixed columns that a file has not, or as another type; else empty."""
    for field in arrow_schema(table):
        place = found.get_field_index(field.name)
        if place < 0:
            return f"without {table}.{field.name}"
        ours, theirs = map(google_type, (field.type, found.field(place).type))
        if theirs != ours:
            return f"{table}.{field.name} is {theirs} there, and {ours} now"
    return ""


@contextlib.contextmanager
def _writing(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(uri, error) from error
