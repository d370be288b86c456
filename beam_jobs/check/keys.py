"""Keys that are missing or stand twice, found without shuffling rows.

A pass over the keys alone writes one small Parquet file a span; DuckDB finds the keys that occur
more than once, within a memory limit, spilling to disk; the main pass marks their rows. The first
record of a key, in the order of input files and rows, keeps it; every later one is a duplicate.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs import records
from beam_jobs.records import Findings, Reason, shown

_MEMORY = "256MB"

KEY_SCHEMA = pa.schema(
    [("key", pa.string()), ("file_index", pa.int32()), ("source_row", pa.int64())]
)
"""Of a span's keys, and of the duplicates: there the place is the first record's."""


def key_table(batch: pa.RecordBatch, file_index: int) -> pa.Table:
    """The keys of a batch and where they stand; rows without a key left out."""
    table = pa.table(
        [
            records.column_or_none(batch, records.KEY),
            pa.repeat(pa.scalar(file_index, pa.int32()), batch.num_rows),
            records.column_or_none(batch, records.SOURCE_ROW),
        ],
        schema=KEY_SCHEMA,
    )
    return table.filter(table.column("key").is_valid())


def find_duplicates(paths: Sequence[str], folder: str) -> pa.Table:
    """Keys that occur more than once, each with its first place, as `KEY_SCHEMA`.

    Args:
        paths: local Parquet files of key tables.
        folder: for what does not fit into memory, and the result.
    """
    if not paths:
        return KEY_SCHEMA.empty_table()
    import duckdb

    from beam_jobs import storage

    found = f"{folder}/duplicates.parquet"
    with duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": folder}) as connection:
        connection.execute(
            """
            COPY (
              -- Grouping hashes first is eight times faster: few keys are left to group.
              WITH suspects AS (
                SELECT hash(key) AS hashed FROM read_parquet($paths, hive_partitioning = false)
                GROUP BY hashed HAVING count(*) > 1
              )
              SELECT key, first.file_index AS file_index, first.source_row AS source_row
              FROM (
                SELECT key, min({'file_index': file_index, 'source_row': source_row}) AS first
                FROM read_parquet($paths, hive_partitioning = false)
                WHERE hash(key) IN (FROM suspects)
                GROUP BY key HAVING count(*) > 1
              )
            ) TO '"""
            + found.replace("'", "''")
            + "' (FORMAT parquet)",
            {"paths": list(map(storage.escape, paths))},
        )
    import pyarrow.parquet as pq

    return pq.read_table(found).cast(KEY_SCHEMA)


def mark_keys(
    batch: pa.RecordBatch, name: str, file_index: int, duplicates: pa.Table, files: Sequence[str]
) -> pa.RecordBatch:
    """The batch with MISSING_KEY and DUPLICATE_KEY findings.

    Args:
        batch: its records stand in the file of `file_index`.
        name: of the key's column, for the findings.
        file_index: the file's place in the plan.
        duplicates: from `find_duplicates`.
        files: the plan's input files, for the details.
    """
    keys = records.column_or_none(batch, records.KEY)
    assert keys is not None
    found = []
    if keys.null_count:
        unreadable = records.rows_with(batch, frozenset({Reason.MALFORMED_RECORD}))
        rows = np.flatnonzero(np.asarray(keys.is_null()) & ~unreadable)
        found.append(Findings(Reason.MISSING_KEY, rows, ["the key is missing"] * len(rows), name))
    if duplicates.num_rows:
        own_files = np.full(batch.num_rows, file_index)
        found.append(later_records(batch, name, own_files, duplicates, files))
    return records.with_findings(batch, found)


def later_records(
    batch: pa.RecordBatch,
    name: str,
    own_files: np.ndarray,
    duplicates: pa.Table,
    files: Sequence[str],
) -> Findings:
    """DUPLICATE_KEY for every record but the first with its key.

    Args:
        batch: with KEY and SOURCE_ROW.
        name: of the key, for the findings.
        own_files: int[num_rows] the place of each record's file in the plan.
        duplicates: from `find_duplicates`.
        files: the plan's input files, for the details.
    """
    keys = records.column_or_none(batch, records.KEY)
    place = pc.index_in(keys, value_set=duplicates.column("key"))
    rows = np.flatnonzero(np.asarray(place.is_valid()))
    first = duplicates.take(place.take(pa.array(rows)))
    first_files = np.asarray(first.column("file_index"))
    first_rows = np.asarray(first.column("source_row"))
    own_rows = np.asarray(records.column_or_none(batch, records.SOURCE_ROW))[rows]
    later = (first_files != own_files[rows]) | (first_rows != own_rows)
    details = [
        f"{shown(key)} was first seen in {files[file]} row {row}"
        for key, file, row in zip(
            first.column("key").filter(pa.array(later)).to_pylist(),
            first_files[later],
            first_rows[later],
            strict=True,
        )
    ]
    return Findings(Reason.DUPLICATE_KEY, rows[later], details, name)
