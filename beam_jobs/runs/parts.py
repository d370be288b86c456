"""The Parquet files that a run writes."""

import enum
from dataclasses import dataclass


class PartTable(str, enum.Enum):
    """The two tables whose rows are written as parts; also their folder in the run folder."""

    SCORES = "scores"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, order=True)
class Part:
    """One finished Parquet file.

    Attributes:
        table: which table's rows.
        uri: path of the file.
        rows: number of rows.
        bytes: size of the file.
    """

    table: PartTable
    uri: str
    rows: int
    bytes: int
