"""Ids that appear twice, in one request file or in two.

As `validation.keys` does it for the monthly job, but a batch may hold requests of many files.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.batch import KEY, SOURCE_FILE, SOURCE_ROW, column_or_none, with_findings
from beam_jobs.request_files.groups import Group
from beam_jobs.request_files.shapes import ID
from beam_jobs.validation.duplicates import Duplicates
from beam_jobs.validation.keys import KEY_SCHEMA, later_records


def id_table(batch: pa.RecordBatch, group: Group) -> pa.Table:
    """The ids of a group's batch and where they stand, as `KEY_SCHEMA`; none without an id."""
    keys = column_or_none(batch, KEY)
    rows = column_or_none(batch, SOURCE_ROW)
    table = pa.table([keys, _file_indices(batch, group), rows], schema=KEY_SCHEMA)
    return table.filter(table.column("key").is_valid())


def ids_of_group(ids: pa.Array, group: int) -> pa.Table:
    """Ids as `KEY_SCHEMA`, where it matters only in which group they stand: it is the file."""
    groups = pa.repeat(pa.scalar(group, pa.int32()), len(ids))
    return pa.table([ids, groups, pa.nulls(len(ids), pa.int64())], schema=KEY_SCHEMA)


def mark_duplicates(
    batch: pa.RecordBatch, duplicates: Duplicates, group: Group, files: Sequence[str]
) -> pa.RecordBatch:
    """The batch with DUPLICATE_KEY for every request but the first with its id.

    Args:
        batch: from `read_requests` of the group.
        duplicates: of all groups.
        group: which knows where its files stand in the plan.
        files: the plan's request files; the order in which requests are first or later.
    """
    own_files = np.asarray(_file_indices(batch, group))
    return with_findings(batch, [later_records(batch, ID, own_files, duplicates, files)])


def _file_indices(batch: pa.RecordBatch, group: Group) -> pa.Array:
    """int32[num_rows]: places in the plan."""
    uris = column_or_none(batch, SOURCE_FILE)
    places = pc.index_in(uris, value_set=pa.array(group.uris, pa.string()))
    return pc.add(places, pa.scalar(group.first, pa.int32()))
