"""Keys that are missing or appear twice, found without shuffling rows.

A pass over the keys alone writes one small Parquet file a byte range; DuckDB finds the records
whose key an earlier one has, within a memory limit, spilling to disk; the main pass marks them. The
first record of a key, in the order of input files and rows, keeps it; every later one is a
duplicate.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs import storage
from beam_jobs.batch import (
    KEY,
    SOURCE_ROW,
    Findings,
    Reason,
    column_or_none,
    rows_with,
    truncated,
    with_findings,
)
from beam_jobs.validation.duplicates import (
    DUPLICATES_SCHEMA,
    ROW_BITS,
    Duplicates,
    place_of,
    split_places,
)

_MEMORY = "256MB"

KEY_SCHEMA = pa.schema(
    [("key", pa.string()), ("file_index", pa.int32()), ("source_row", pa.int64())]
)
"""Keys, and the records that have them."""

_ROWS_AT_ONCE = 65_536


def key_table(batch: pa.RecordBatch, file_index: int) -> pa.Table:
    """The keys of a batch and where they stand; rows without a key left out."""
    table = pa.table(
        [
            column_or_none(batch, KEY),
            pa.repeat(pa.scalar(file_index, pa.int32()), batch.num_rows),
            column_or_none(batch, SOURCE_ROW),
        ],
        schema=KEY_SCHEMA,
    )
    return table.filter(table.column("key").is_valid())


def find_duplicates(paths: Sequence[str], scratch: str) -> Iterator[pa.RecordBatch]:
    """Every record but the first of its key, as `DUPLICATES_SCHEMA`, sorted by place.

    Args:
        paths: local Parquet files of key tables.
        scratch: folder for what does not fit into memory.
    """
    if not paths:
        return
    later = """
        -- Grouping hashes first is eight times faster: few keys are left to group.
        WITH suspects AS (
          SELECT hash(key) AS hashed FROM read_parquet($paths, hive_partitioning = false)
          GROUP BY hashed HAVING count(*) > 1
        ),
        places AS (
          SELECT key, (CAST(file_index AS BIGINT) << $row_bits) | source_row AS place
          FROM read_parquet($paths, hive_partitioning = false)
          WHERE hash(key) IN (FROM suspects)
        ),
        firsts AS (
          SELECT key, min(place) AS first FROM places GROUP BY key HAVING count(*) > 1
        )
        SELECT place, first FROM places JOIN firsts USING (key)
        WHERE place > first
        ORDER BY place
    """
    import duckdb

    with duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": scratch}) as connection:
        parameters = {"paths": list(map(storage.escape, paths)), "row_bits": ROW_BITS}
        found = connection.sql(later, params=parameters)
        for batch in found.to_arrow_reader(_ROWS_AT_ONCE):
            yield from pa.Table.from_batches([batch]).cast(DUPLICATES_SCHEMA).to_batches()


def files_with_repeats(paths: Sequence[str], scratch: str) -> set[int]:
    """`file_index` of every key table that has a key which occurs more than once in all of them.

    Args: as for `find_duplicates`.
    """
    if not paths:
        return set()
    query = """
        WITH suspects AS (
          SELECT hash(key) AS hashed FROM read_parquet($paths, hive_partitioning = false)
          GROUP BY hashed HAVING count(*) > 1
        )
        SELECT DISTINCT file_index
        FROM read_parquet($paths, hive_partitioning = false)
        WHERE hash(key) IN (FROM suspects)
    """
    import duckdb

    with duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": scratch}) as connection:
        found = connection.execute(query, {"paths": list(map(storage.escape, paths))})
        return {row[0] for row in found.fetchall()}


def mark_keys(
    batch: pa.RecordBatch, name: str, file_index: int, duplicates: Duplicates, files: Sequence[str]
) -> pa.RecordBatch:
    """The batch with MISSING_KEY and DUPLICATE_KEY findings.

    Args:
        batch: its records stand in the file of `file_index`.
        name: of the key's column, for the findings.
        file_index: the file's place in the plan.
        duplicates: of all inputs.
        files: the plan's input files, for the details.
    """
    keys = column_or_none(batch, KEY)
    assert keys is not None
    found = []
    if keys.null_count:
        unreadable = rows_with(batch, frozenset({Reason.MALFORMED_RECORD}))
        rows = np.flatnonzero(np.asarray(keys.is_null()) & ~unreadable)
        found.append(Findings(Reason.MISSING_KEY, rows, ["the key is missing"] * len(rows), name))
    own_files = np.full(batch.num_rows, file_index)
    found.append(later_records(batch, name, own_files, duplicates, files))
    return with_findings(batch, found)


def later_records(
    batch: pa.RecordBatch,
    name: str,
    own_files: npt.NDArray[np.int64],
    duplicates: Duplicates,
    files: Sequence[str],
) -> Findings:
    """DUPLICATE_KEY for every record but the first with its key.

    Args:
        batch: with KEY and SOURCE_ROW.
        name: of the key, for the findings.
        own_files: int[num_rows] the place of each record's file in the plan.
        duplicates: of all inputs.
        files: the plan's input files, for the details.
    """
    own_rows = np.asarray(column_or_none(batch, SOURCE_ROW))
    rows, firsts = duplicates.among(place_of(own_files, own_rows))
    if not len(rows):
        return Findings(Reason.DUPLICATE_KEY, rows, [], name)
    first_files, first_rows = split_places(firsts)
    named, which = np.unique(first_files, return_inverse=True)
    uris = pa.array([files[file] for file in named], pa.string())
    keys = column_or_none(batch, KEY)
    assert keys is not None
    repeated = keys.take(pa.array(rows)).dictionary_encode()
    seen = pa.array([truncated(key) for key in repeated.dictionary.to_pylist()], pa.string())
    details = pc.binary_join_element_wise(
        seen.take(repeated.indices),
        " was first seen in ",
        uris.take(pa.array(which)),
        " row ",
        pa.array(first_rows).cast(pa.string()),
        "",
    )
    return Findings(Reason.DUPLICATE_KEY, rows, details.to_pylist(), name)
