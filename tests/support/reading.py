"""Reads a file as a run does: all byte ranges, all batches, checked, as Python rows."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beam_jobs import storage
from beam_jobs.batch import (
    FINDINGS,
    KEY,
    RAW,
    ROWS_PER_BATCH,
    SOURCE_FILE,
    SOURCE_ROW,
    Reason,
    finding_text,
)
from beam_jobs.read import ReadSpec, candidate_ranges, read_range, resolve_ranges, scan_range
from beam_jobs.read.splitting import RANGE_BYTES, needs_scan
from beam_jobs.schema import Feature, FeatureType

FEATURES = (
    Feature("id", FeatureType.BYTES),
    Feature("n", FeatureType.INT),
    Feature("x", FeatureType.FLOAT),
    Feature("tags", FeatureType.BYTES, is_list=True),
)
CSV_HEADER = b"id,n,x,note\n"
CSV_GOOD = [b"a,1,0.5,one", "b,-2,1e3,zw\u00f6lf".encode()]
JSON_GOOD = [
    b'{"id": "a", "n": 1, "x": 0.5, "note": "one"}',
    '{"id": "b", "n": -2, "x": 1e3, "note": "zw\u00f6lf"}'.encode(),
]
GOOD_VALUES = [
    {"id": "a", "n": 1, "x": 0.5, "tags": None, "note": "one"},
    {"id": "b", "n": -2, "x": 1000.0, "tags": None, "note": "zw\u00f6lf"},
]


@dataclass(frozen=True)
class Row:
    """One row as it was read; `raw` as quarantine shows it, without a line end."""

    values: dict[str, Any]
    key: str | None
    file: str
    number: int
    raw: bytes | None
    reasons: list[Reason]
    details: list[str]


def write(path: Path, data: bytes) -> Path:
    """Writes the bytes, compressed where the suffix says so."""
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path


def read_rows(
    path: Path,
    features: Sequence[Feature] = FEATURES,
    key: str | None = "id",
    *,
    range_bytes: int = RANGE_BYTES,
    rows_per_batch: int = ROWS_PER_BATCH,
    key_only: bool = False,
) -> list[Row]:
    """All rows of a file; every batch is a valid Arrow batch with the columns promised."""
    byte_ranges = candidate_ranges(storage.info(str(path)), 0, range_bytes)
    if needs_scan(byte_ranges):
        byte_ranges = resolve_ranges([scan_range(byte_range) for byte_range in byte_ranges])
    spec = ReadSpec(tuple(features), key, key_only)
    rows: list[Row] = []
    for byte_range in byte_ranges:
        for batch in read_range(byte_range, spec, rows_per_batch):
            batch.validate(full=True)
            assert 0 < batch.num_rows <= rows_per_batch
            if not key_only:
                assert [batch.schema.field(f.name).type for f in features] == [
                    f.arrow for f in features
                ]
            rows += [_row(row) for row in batch.to_pylist()]
    return rows


def _row(row: dict[str, Any]) -> Row:
    findings, raw = row[FINDINGS], row[RAW]
    return Row(
        {name: value for name, value in row.items() if not name.startswith("__")},
        row[KEY],
        row[SOURCE_FILE],
        row[SOURCE_ROW],
        None if raw is None else raw.rstrip(b"\r\n"),
        [Reason(finding["reason"]) for finding in findings],
        [finding_text(**finding).removeprefix(f"{finding['reason']} ") for finding in findings],
    )
