"""The records whose key an earlier record has, in a file that is read where it is needed.

With a key that is none, nearly all rows are among them. So they are no table in memory, but a
Parquet file sorted by place: whoever reads some rows looks at the row groups of these rows.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs import storage

ROW_BITS = 40
"""A place is one number: the file's index in the plan, then the row in so many bits."""

DUPLICATES_SCHEMA = pa.schema([("place", pa.int64()), ("first", pa.int64())])
"""Places of a later record, and of the first with its key."""

_GROUPS_KEPT = 8
"""Row groups that a process keeps in memory, 1 MiB each: batches that follow share them."""


def place_of(
    file_indices: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """int64[n]: the places of records, in the order of files and rows."""
    return (np.asarray(file_indices, np.int64) << ROW_BITS) | rows


def split_places(
    places: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(file indices, rows) of places."""
    return places >> ROW_BITS, places & ((1 << ROW_BITS) - 1)


@dataclass(frozen=True)
class Duplicates:
    """All later records of keys that occur more than once.

    Attributes:
        uri: a Parquet file of `DUPLICATES_SCHEMA` sorted by place; its name is never used again.
        rows: in it.
    """

    uri: str
    rows: int

    def among(
        self, places: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(int64[m] indices of those of the places that are here, int64[m] their first places).

        Args:
            places: of a batch; that they lie close together saves reading, nothing else.
        """
        indices, firsts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        if self.rows and len(places):
            lows, highs = _borders(self.uri)
            begin = np.searchsorted(highs, places.min())
            end = np.searchsorted(lows, places.max(), side="right")
            for group in range(begin, end):
                later, first = _row_group(self.uri, group)
                at = np.minimum(np.searchsorted(later, places), len(later) - 1)
                hits = np.flatnonzero(later[at] == places)
                indices.append(hits)
                firsts.append(first[at[hits]])
        return np.concatenate(indices), np.concatenate(firsts)


def write_duplicates(uri: str, batches: Iterable[pa.RecordBatch]) -> Duplicates:
    """Writes sorted batches of `DUPLICATES_SCHEMA`, each as a row group."""
    rows = 0
    with (
        storage.open_atomic(uri) as stream,
        pq.ParquetWriter(stream, DUPLICATES_SCHEMA, use_dictionary=False) as writer,
    ):
        for batch in batches:
            writer.write_table(pa.Table.from_batches([batch]), row_group_size=batch.num_rows)
            rows += batch.num_rows
    return Duplicates(uri, rows)


@functools.lru_cache(maxsize=4)
def _metadata(uri: str) -> pq.FileMetaData:
    with storage.open_pinned(storage.info(uri)) as stream:
        return pq.read_metadata(stream)


@functools.lru_cache(maxsize=4)
def _borders(uri: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(the first place, the last place) of each row group."""
    metadata = _metadata(uri)
    found = [
        metadata.row_group(group).column(0).statistics for group in range(metadata.num_row_groups)
    ]
    return np.array([one.min for one in found]), np.array([one.max for one in found])


@functools.lru_cache(maxsize=_GROUPS_KEPT)
def _row_group(uri: str, group: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(places, first places)."""
    with storage.open_pinned(storage.info(uri)) as stream:
        table = pq.ParquetFile(stream, metadata=_metadata(uri)).read_row_group(group)
    return table.column("place").to_numpy(), table.column("first").to_numpy()
