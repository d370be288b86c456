"""Scored batches -> the rows of `scores` and `quarantine`, and Parquet parts of a run folder."""

import contextlib
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_jobs import storage
from beam_jobs.batch import (
    FINDINGS,
    KEY,
    OUTPUTS,
    RAW,
    RAW_LIMIT_BYTES,
    SCORE,
    SOURCE_FILE,
    SOURCE_ROW,
    column_or_none,
    distinct_reasons,
    feature_names,
    json_record,
)
from beam_jobs.errors import cannot_write
from beam_jobs.runs.parts import Part, PartTable
from beam_jobs.runs.run_row import RunIdentity
from beam_jobs.schema import Feature
from beam_jobs.warehouse.tables import arrow_schema, own_columns, scores_schema


def scores_part(
    batch: pa.RecordBatch, run: RunIdentity, features: Sequence[Feature]
) -> pa.RecordBatch:
    """Rows of `scores`, columns exactly `tables.scores_schema(features)`.

    Args:
        batch: scored rows, none of them quarantined; findings left are flags.
        run: goes into every row.
        features: the schema's; one that the batch lacks becomes a column of nulls.
    """
    schema = scores_schema(features)
    findings = column_or_none(batch, FINDINGS)
    columns: dict[str, pa.Array | None] = {
        **_common(batch, run),
        "score": column_or_none(batch, SCORE),
        "outputs": column_or_none(batch, OUTPUTS),
        "model_version": pa.repeat(pa.scalar(run.model_version, pa.string()), batch.num_rows),
        "flags": _empty_lists(batch.num_rows) if findings is None else distinct_reasons(findings),
    }
    for name, column in own_columns(features).items():
        columns[column] = column_or_none(batch, name)
    return _conform(columns, schema, batch.num_rows)


def quarantine_part(
    batch: pa.RecordBatch, run: RunIdentity, computed: Collection[str] = ()
) -> pa.RecordBatch:
    """Rows of `quarantine`: all reasons and details, and the record as it was.

    `raw` is cut at `RAW_LIMIT_BYTES`. A format without a text record (Parquet) gives a JSON
    object of the row's own columns; numbers that JSON lacks appear as texts ("NaN").

    Args:
        batch: rows with findings.
        run: goes into every row.
        computed: features that are not of the record.
    """
    findings = column_or_none(batch, FINDINGS)
    columns = {
        **_common(batch, run),
        "reasons": _empty_lists(batch.num_rows) if findings is None else distinct_reasons(findings),
        "details": findings,
        "raw": _raw(batch, computed),
    }
    return _conform(columns, arrow_schema("quarantine"), batch.num_rows)


def _common(batch: pa.RecordBatch, run: RunIdentity) -> dict[str, pa.Array | None]:
    constants = {
        "run_id": pa.scalar(run.run_id, pa.string()),
        "job": pa.scalar(run.job, pa.string()),
        "period": pa.scalar(run.period, pa.date32()),
    }
    return {name: pa.repeat(value, batch.num_rows) for name, value in constants.items()} | {
        "key": column_or_none(batch, KEY),
        "source_file": column_or_none(batch, SOURCE_FILE),
        "source_row": column_or_none(batch, SOURCE_ROW),
    }


def _empty_lists(num_rows: int) -> pa.Array:
    return pa.ListArray.from_arrays(
        pa.array(np.zeros(num_rows + 1, np.int32)), pa.array([], pa.string())
    )


def _conform(
    columns: dict[str, pa.Array | None], schema: pa.Schema, num_rows: int
) -> pa.RecordBatch:
    arrays = []
    for field in schema:
        column = columns[field.name]
        if column is None:
            column = pa.nulls(num_rows, field.type)
        arrays.append(column if column.type == field.type else column.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _raw(batch: pa.RecordBatch, computed: Collection[str]) -> pa.Array:
    raw = column_or_none(batch, RAW)
    if raw is None:
        raw = pa.nulls(batch.num_rows, pa.binary())
    # Rows that already failed: one Python step each is affordable.
    names = [name for name in feature_names(batch) if name not in computed]
    columns = [batch.column(batch.schema.get_field_index(name)) for name in names]
    values = [
        json_record(
            {name: column[row].as_py() for name, column in zip(names, columns, strict=True)}
        )
        if value is None
        else value.rstrip(b"\r\n")
        for row, value in enumerate(raw.to_pylist())
    ]
    return pa.array([value[:RAW_LIMIT_BYTES] for value in values], pa.binary())


class _AbortedError(Exception):
    """Tells `storage.open_atomic` to remove the temporary file."""


class PartWriter:
    """Streams batches into one Parquet file that appears whole, at `close`, or not at all.

    Snappy and dictionaries only where values repeat: 1,000,000 rows x 23 columns take 0.36 s and
    64 MB; dictionaries for all columns 0.89 s and 72 MB, zstd 0.50 s and 43 MB.

    Raises:
        RunError: by every method, where the file cannot be written (disk full, no permission).
    """

    def __init__(self, table: PartTable, uri: str) -> None:
        """Opens the file under a temporary name; `uri` is its name once it is finished."""
        self.table, self.uri, self.rows = table, uri, 0
        self._resources = contextlib.ExitStack()
        self._writer: pq.ParquetWriter | None = None
        with self._guard():
            self._stream = self._resources.enter_context(storage.open_atomic(uri))

    @property
    def bytes(self) -> int:
        """Bytes written so far."""
        return self._stream.tell()

    def write(self, batch: pa.RecordBatch) -> None:
        """Writes the batch as one row group, so that memory holds one batch at most."""
        with self._guard():
            if self._writer is None:
                self._writer = pq.ParquetWriter(
                    self._stream,
                    batch.schema,
                    compression="snappy",
                    use_dictionary=_repetitive_columns(batch),
                    write_statistics=False,
                    use_compliant_nested_type=True,  # BigQuery takes no other lists
                )
            self._writer.write_table(pa.Table.from_batches([batch]), row_group_size=batch.num_rows)
        self.rows += batch.num_rows

    def close(self) -> Part:
        """Finishes the file and gives it its name."""
        with self._guard():
            if self._writer is not None:
                self._writer.close()
            size = self._stream.tell()
            self._resources.close()
        return Part(self.table, self.uri, self.rows, size)

    def abort(self) -> None:
        """Removes the unfinished file."""
        if self._writer is not None:
            # It would otherwise write its footer, into a closed stream, when collected.
            self._writer.is_open = False
        # Closing flushes: on a full disk that fails again, for bytes that are thrown away anyway.
        with contextlib.suppress(OSError):
            self._resources.pop_all().__exit__(_AbortedError, _AbortedError(), None)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.abort()
            raise cannot_write(self.uri, error) from error


def _repetitive_columns(batch: pa.RecordBatch) -> list[str]:
    """Parquet paths of the columns where a dictionary saves time, judged by the first batch."""
    found = []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        is_list = pa.types.is_list(field.type)
        values = column.flatten() if is_list else column
        repeats = pa.types.is_string(values.type) or pa.types.is_date(values.type)
        if repeats and pc.count_distinct(values).as_py() * 8 <= len(values):
            found.append(f"{field.name}.list.element" if is_list else field.name)
    return found
