"""A run's Parquet files -> a staging table of BigQuery, loaded once however often it is tried.

The load job's id follows from what is loaded where. So a repeated run finds the job of the first
attempt, finished or still at work, and does not load again.
"""

import contextlib
import datetime
import functools
import hashlib
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import bigquery

from beam_jobs import storage
from beam_jobs.errors import RunError
from beam_jobs.warehouse import ddl
from beam_jobs.warehouse.bigquery.jobs import Dataset, is_passing, outcome, pauses

# https://cloud.google.com/bigquery/quotas#load_jobs. The third limit, 1,500 load jobs a table and
# day, stays far away: a staging table takes one job for each 10,000 files.
MAX_URIS = 10_000
"""Source URIs of a load job."""
MAX_BYTES = 15 * 10**12
"""Bytes of a load job's files."""

EXPIRY = datetime.timedelta(days=3)
"""When a staging table goes by itself: a held run that is approved sooner is not loaded again."""

_FILES_AT_ONCE = 16


@dataclass(frozen=True)
class Staging:
    """A table for the rows of some files.

    Attributes:
        url: of the warehouse, for messages.
        table: where the rows belong in the end.
        run_id: of the run.
        uris: the files; local ones are uploaded, as one file.
        schema: the files' columns.
    """

    dataset: Dataset
    url: str
    table: str
    run_id: str
    uris: Sequence[str]
    schema: pa.Schema

    def load(self) -> str:
        """Makes the table whole, loading what is not loaded yet; its name.

        Raises:
            google.api_core.exceptions.GoogleAPICallError: a file does not fit or may not be read.
            RunError: other rows arrived than were loaded.
        """
        # In Cloud Storage each file is a request.
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            files = list(pool.map(storage.info, self.uris))
        fingerprint = self._fingerprint(files)
        name = f"staged_{self.table}_{self.run_id}_{fingerprint[:12]}"
        self._make(name)
        waiting = pauses()
        for number in itertools.count() if files else ():
            found, rows, error = self._attempt(
                name, files, f"beam-jobs_{name}_{fingerprint[12:]}_{number}"
            )
            if rows is None and error is None:
                # Another account's job, which only that account may ask for. The table holds
                # nothing but these files' rows: all of them, or the load is done again.
                rows = self._rows(files)
            if rows is None:
                # A failed job keeps its id: another try needs another number.
                if not found:
                    pause = next(waiting)
                    assert error is not None
                    if pause is None or not is_passing(error):
                        raise error
                    time.sleep(pause)
                continue
            arrived = self.dataset.client.get_table(self._id(name), self.dataset.retry).num_rows
            if arrived == rows:
                break
            if not found:
                raise RunError(
                    f"--warehouse {self.url}: {arrived} rows are in {name}, {rows} were loaded;"
                    " run the command again"
                )
            # Loaded long ago: the table has expired since and was made anew above.
        self._keep(name)
        return name

    def _id(self, name: str) -> str:
        return f"{self.dataset.id}.{name}"

    def _fingerprint(self, files: Sequence[storage.FileInfo]) -> str:
        """40 hexadecimal digits: the same for the same content in the same place."""
        parts = [
            self.dataset.id,
            *(f"{f.name} {ddl.google_type(f.type)}" for f in self.schema),
        ]
        parts += map(storage.digest, files)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]

    def _rows(self, files: Sequence[storage.FileInfo]) -> int:
        """Rows of the files, by their footers."""

        def rows(file: storage.FileInfo) -> int:
            with storage.open_pinned(file) as stream:
                found: int = pq.read_metadata(stream).num_rows
                return found

        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            return sum(pool.map(rows, files))

    def _make(self, name: str) -> None:
        """An empty table, unless an earlier attempt made it."""
        table = bigquery.Table(self._id(name), schema=api_schema(self.schema))
        table.expires = datetime.datetime.now(datetime.UTC) + EXPIRY
        self.dataset.client.create_table(table, exists_ok=True, retry=self.dataset.retry)

    def _keep(self, name: str) -> None:
        """Lets the table last three more days, also where it is old or was just replaced."""
        table = bigquery.Table(self._id(name))
        table.expires = datetime.datetime.now(datetime.UTC) + EXPIRY
        self.dataset.client.update_table(table, ["expires"], retry=self.dataset.retry)

    def _attempt(
        self, name: str, files: Sequence[storage.FileInfo], job_id: str
    ) -> tuple[bool, int | None, GoogleAPICallError | None]:
        """(whether a job was there already, rows loaded if they are, why not).

        Neither rows nor why not: of a job of another account.
        """
        found_any, rows = False, 0
        for place, begin in enumerate(self._loads(name, files)):
            found, job = self.dataset.known(f"{job_id}_{place}", begin)
            found_any |= found
            error = outcome(self.dataset, job) if job is not None else None
            if job is None or error is not None:
                return found, None, error
            rows += job.output_rows
        return found_any, rows, None

    def _loads(
        self, name: str, files: Sequence[storage.FileInfo]
    ) -> Iterator[Callable[[str], bigquery.LoadJob]]:
        """One function a load job, which begins it under an id; the first empties the table."""
        if not storage.is_local(self.uris[0]):
            for place, uris in enumerate(batches(files)):
                yield functools.partial(self._load, name, uris, place > 0)
        else:
            yield functools.partial(self._upload, name)

    def _load(self, name: str, uris: Sequence[str], append: bool, job_id: str) -> bigquery.LoadJob:
        return self.dataset.client.load_table_from_uri(
            uris,
            self._id(name),
            job_id,
            location=self.dataset.location,
            job_config=self._config(append),
            retry=self.dataset.retry,
        )

    def _upload(self, name: str, job_id: str) -> bigquery.LoadJob:
        with _as_one_file(self.uris, self.schema) as stream:
            return self.dataset.client.load_table_from_file(
                stream,
                self._id(name),
                job_id=job_id,
                location=self.dataset.location,
                job_config=self._config(append=False),
            )

    def _config(self, append: bool) -> bigquery.LoadJobConfig:
        lists = bigquery.ParquetOptions()
        lists.enable_list_inference = True
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=api_schema(self.schema),
            write_disposition="WRITE_APPEND" if append else "WRITE_TRUNCATE",
            create_disposition="CREATE_NEVER",
        )
        config.parquet_options = lists
        return config


def batches(files: Sequence[storage.FileInfo]) -> Iterator[list[str]]:
    """URIs of consecutive files, as many as one load job takes."""
    uris: list[str] = []
    size = 0
    for file in files:
        if uris and (len(uris) == MAX_URIS or size + file.size > MAX_BYTES):
            yield uris
            uris, size = [], 0
        uris.append(file.uri)
        size += file.size
    if uris:
        yield uris


@contextlib.contextmanager
def _as_one_file(uris: Sequence[str], schema: pa.Schema) -> Iterator[IO[bytes]]:
    """Parquet files as one, on disk: one load job, and memory for one row group."""
    if len(uris) == 1:
        with open(uris[0], "rb") as stream:
            yield stream
        return
    with tempfile.TemporaryFile(prefix="beam-jobs-") as stream:
        with pq.ParquetWriter(stream, schema, use_compliant_nested_type=True) as writer:
            for uri in uris:
                with pq.ParquetFile(uri) as file:
                    for group in range(file.num_row_groups):
                        writer.write_table(file.read_row_group(group).cast(schema))
        stream.seek(0)
        yield stream


def api_schema(schema: pa.Schema) -> list[bigquery.SchemaField]:
    """The columns as BigQuery's API has them."""
    return [_api_field(field) for field in schema]


def _api_field(field: pa.Field) -> bigquery.SchemaField:
    type_, mode = field.type, "NULLABLE"
    if pa.types.is_list(type_):
        type_, mode = type_.value_type, "REPEATED"
    if pa.types.is_struct(type_):
        return bigquery.SchemaField(field.name, "RECORD", mode, fields=api_schema(type_))
    return bigquery.SchemaField(field.name, ddl.google_type(type_), mode)
