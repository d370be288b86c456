"""Ids that stand twice, in one request file or in two.

As `check.keys` does it for the monthly job, but a batch may hold requests of many files.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs import records
from beam_jobs.check.keys import KEY_SCHEMA, later_records
from beam_jobs.requests.shapes import ID


def id_table(batch: pa.RecordBatch, files: Sequence[str], first: int = 0) -> pa.Table:
    """The ids of a batch and where they stand, as `KEY_SCHEMA`; requests without one left out.

    Args:
        batch: from `read_requests`.
        files: among which the batch's are.
        first: place of the first of them in the plan.
    """
    keys = records.column_or_none(batch, records.KEY)
    rows = records.column_or_none(batch, records.SOURCE_ROW)
    places = pc.add(_file_indices(batch, files), pa.scalar(first, pa.int32()))
    table = pa.table([keys, places, rows], schema=KEY_SCHEMA)
    return table.filter(table.column("key").is_valid())


def anywhere(ids: pa.Array) -> pa.Table:
    """Ids as `KEY_SCHEMA`, where it does not matter where they stand."""
    nowhere = [pa.nulls(len(ids), field.type) for field in KEY_SCHEMA][1:]
    return pa.table([ids, *nowhere], schema=KEY_SCHEMA)


def mark_duplicates(
    batch: pa.RecordBatch, duplicates: pa.Table, files: Sequence[str]
) -> pa.RecordBatch:
    """The batch with DUPLICATE_KEY for every request but the first with its id.

    Args:
        batch: from `read_requests`.
        duplicates: from `check.keys.find_duplicates` over the id tables of all batches.
        files: the plan's request files; the order in which requests are first or later.
    """
    if not duplicates.num_rows:
        return batch
    own_files = np.asarray(_file_indices(batch, files))
    return records.with_findings(batch, [later_records(batch, ID, own_files, duplicates, files)])


def _file_indices(batch: pa.RecordBatch, files: Sequence[str]) -> pa.Array:
    uris = records.column_or_none(batch, records.SOURCE_FILE)
    return pc.index_in(uris, value_set=pa.array(files, pa.string()))
