"""A run's folder: RUNS/<job>/<period>/<run_id>/, complete in itself.

Whatever publishing needs lies here, so approving a held run and putting an earlier run of a month
back are the same act as publishing it the first time.
"""

import contextlib
import datetime
import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs import storage
from beam_jobs.errors import AuditError, UsageError
from beam_jobs.publish.parts import Part, PartTable, cannot_write
from beam_jobs.publish.runs import RunRow, period_name
from beam_jobs.tables import arrow_schema

_log = logging.getLogger(__name__)

RUN_TABLES = ("anomalies", "feature_statistics", "inputs")
"""Small tables of a run, one Parquet file each in its folder."""


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
        return sum(part.rows for part in self.parts if part.table is table)

    def uris(self, table: PartTable) -> list[str]:
        return [part.uri for part in self.parts if part.table is table]


class RunFolder:
    """Paths of a run's files, and the few operations on them."""

    def __init__(self, path: str) -> None:
        """Takes the folder's path; a relative one is resolved now, against the current folder."""
        self.path = os.path.abspath(path)
        self.plan = storage.join(self.path, "plan.json")
        self.manifest = storage.join(self.path, "manifest.json")
        self.statistics = storage.join(self.path, "statistics.binpb")
        self.anomalies_proto = storage.join(self.path, "anomalies.pbtxt")
        self.anomalies = self.table("anomalies")
        self.summary = storage.join(self.path, "summary.json")
        self.report = storage.join(self.path, "report.html")

    @classmethod
    def of(cls, runs: str, job: str, period: datetime.date, run_id: str) -> "RunFolder":
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

        The system releases the lock when its process ends, however it ends.

        Args:
            waiting: told once, in a sentence, that and for whom this process waits.
        """
        with _writing(self.path):
            os.makedirs(self.path, exist_ok=True)
            stream = open(storage.join(self.path, ".lock"), "a+")  # noqa: SIM115 (closed below)
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                holder = stream.read().strip() or "unknown"
                waiting(f"{self.path}: process {holder} works on this run; waiting for it to end")
                fcntl.flock(stream, fcntl.LOCK_EX)
            stream.truncate(0)
            stream.write(str(os.getpid()))
            stream.flush()
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
            what = "holds no manifest.json" if os.path.isdir(self.path) else "does not exist"
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
        """
        wrong = []
        seen: set[str] = set()
        for part in parts:
            if part.uri in seen:
                wrong.append(f"{part.uri} is listed twice")
            seen.add(part.uri)
            found = _rows_and_bytes(part.uri)
            if isinstance(found, str):
                wrong.append(f"{found} ({part.rows} rows)")
            elif found != (part.rows, part.bytes):
                wrong.append(
                    f"{part.uri} has {found[0]} rows in {found[1]} bytes, written were"
                    f" {part.rows} rows in {part.bytes} bytes"
                )
        tables = [_rows_and_bytes(self.table(name)) for name in RUN_TABLES]
        wrong += [found for found in tables if isinstance(found, str)]
        if wrong:
            raise AuditError(f"run folder {self.path}: {'; '.join(wrong)}; nothing was published")

    def sweep(self, parts: Sequence[Part]) -> list[str]:
        """Removes what attempts that were killed left: other parts, unfinished files.

        Only whoever holds the lock may call this, after the last part was written.

        Returns:
            The paths that were removed.
        """
        left = [path for path in Path(self.path).glob("*.tmp") if path.is_file()]
        for table in PartTable:
            wanted = {os.path.basename(part.uri) for part in parts if part.table is table}
            folder = Path(self.parts(table))
            left += [path for path in folder.glob("*") if path.name not in wanted]
        for path in left:
            storage.remove(str(path))
        return sorted(map(str, left))


def _rows_and_bytes(uri: str) -> tuple[int, int] | str:
    """Of a Parquet file; a text where it cannot be read."""
    try:
        return pq.read_metadata(uri).num_rows, storage.info(uri).size
    except FileNotFoundError:
        return f"{uri} is missing"
    except (OSError, pa.ArrowInvalid) as error:
        return f"{uri} cannot be read: {error}"


@contextlib.contextmanager
def _writing(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(uri, error) from error
