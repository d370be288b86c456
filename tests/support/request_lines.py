"""Reads request files as the job does, as Python rows."""

import gzip
from collections import Counter
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
from beam_jobs.request_files.groups import Group
from beam_jobs.request_files.parse import RequestSpec
from beam_jobs.request_files.read import read_requests
from beam_jobs.request_files.scan import scan_ids
from beam_jobs.schema import Feature, FeatureType

FEATURES = (
    Feature("bid", FeatureType.FLOAT),
    Feature("age", FeatureType.INT),
    Feature("device", FeatureType.BYTES),
    Feature("tags", FeatureType.BYTES, is_list=True),
    Feature("sizes", FeatureType.INT, is_list=True),
)
SPEC = RequestSpec(FEATURES, frozenset({"old"}), "serving_default")


@dataclass(frozen=True)
class Row:
    """One request as it was read."""

    key: str | None
    values: dict[str, Any]
    reasons: frozenset[Reason]
    details: tuple[str, ...]
    file: str
    number: int
    raw: bytes

    @property
    def content(self) -> tuple[Any, ...]:
        """What does not depend on where it stands; floats bit for bit."""
        values = {name: repr(value) for name, value in self.values.items()}
        return self.key, values, self.reasons


def write(path: Path, lines: Sequence[bytes] | bytes) -> storage.FileInfo:
    """Writes lines (or all bytes), compressed where the suffix says so."""
    data = lines if isinstance(lines, bytes) else b"".join(line + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return storage.info(str(path))


def read_rows(
    files: Sequence[storage.FileInfo],
    spec: RequestSpec = SPEC,
    rows_per_batch: int = ROWS_PER_BATCH,
) -> list[Row]:
    """All requests of the files, read together."""
    return read_group(Group(0, 0, tuple(files)), spec, 1, rows_per_batch)


def read_group(
    group: Group,
    spec: RequestSpec = SPEC,
    first_row: int = 1,
    rows_per_batch: int = ROWS_PER_BATCH,
) -> list[Row]:
    """All requests of a group, of which a scan must have found the number and the ids."""
    rows = []
    for batch in read_requests(group, spec, first_row, rows_per_batch):
        batch.validate(full=True)
        assert batch.num_rows <= rows_per_batch
        for row in batch.to_pylist():
            found = row[FINDINGS]
            rows.append(
                Row(
                    row[KEY],
                    {feature.name: row[feature.name] for feature in spec.features},
                    frozenset(Reason(finding["reason"]) for finding in found),
                    tuple(
                        finding_text(**finding).removeprefix(f"{finding['reason']} ")
                        for finding in found
                    ),
                    row[SOURCE_FILE],
                    row[SOURCE_ROW],
                    row[RAW].rstrip(b"\r\n"),
                )
            )
    check_scan(group, spec, rows)
    return rows


def check_scan(group: Group, spec: RequestSpec, rows: Sequence[Row]) -> None:
    ids: Counter[str] = Counter()
    owners: Counter[str] = Counter()
    for some, places in scan_ids(group, spec):
        ids.update(some.to_pylist())
        owners.update(group.files[place].uri for place in places)
    assert owners == Counter(row.file for row in rows)
    assert Counter(row.key for row in rows if row.key is not None) <= ids


def read_lines(tmp_path: Path, lines: Sequence[bytes], spec: RequestSpec = SPEC) -> list[Row]:
    """The requests of a file of these lines."""
    return read_rows([write(tmp_path / "q.jsonl", lines)], spec)
