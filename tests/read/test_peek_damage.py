"""Looking at a damaged file before any work: columns, parts and size, or one line that names it."""

import gzip
import io
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs import storage
from beam_jobs.errors import InputError
from beam_jobs.plan.costs import density
from beam_jobs.read import Format, candidate_ranges, peek_columns, scan_range
from beam_jobs.read.splitting import needs_scan
from support.parquet_damage import damage
from support.reading import CSV_GOOD, CSV_HEADER, JSON_GOOD

CSV = CSV_HEADER + b"\n".join(CSV_GOOD * 20) + b"\n"
JSONL = b"\n".join(JSON_GOOD * 20) + b"\n"
ROUNDS = {Format.PARQUET: 40}


def good(kind: Format) -> bytes:
    if kind is Format.PARQUET:
        sink = io.BytesIO()
        pq.write_table(pa.table({"id": [str(row) for row in range(50)]}), sink)
        return sink.getvalue()
    text = CSV if kind.is_csv else JSONL
    return gzip.compress(text) if kind.is_compressed else text


def look(path: Path, kind: Format) -> None:
    file = storage.info(str(path))
    for peek in (
        lambda: peek_columns(file),
        lambda: density(file, kind) if file.size else None,
        lambda: [scan_range(s) for s in candidate_ranges(file, 0, 500) if needs_scan([s, s])],
    ):
        try:
            peek()
        except InputError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017  (not of all)
            assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("kind", Format)
def test_a_look_at_damage_is_a_look_or_one_line(tmp_path: Path, kind: Format) -> None:
    path = tmp_path / f"ads{kind.value}"
    data = good(kind)
    for seed in range(ROUNDS.get(kind, 300)):
        path.write_bytes(damage(data, random.Random(seed), [range(len(data)), range(20)]))
        look(path, kind)


@pytest.mark.parametrize("kind", Format)
@pytest.mark.parametrize("kept", [0, 1, 9, 0.5, 0.99])
def test_a_look_at_a_file_that_was_cut(tmp_path: Path, kind: Format, kept: float) -> None:
    path = tmp_path / f"ads{kind.value}"
    data = good(kind)
    path.write_bytes(data[: int(len(data) * kept) if 0 < kept < 1 else int(kept)])
    look(path, kind)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Format.CSV_GZ, "the gzip data is truncated or corrupt"),
        (Format.JSONL_GZ, "the gzip data is truncated or corrupt"),
        (Format.PARQUET, "the Parquet data cannot be read"),
    ],
)
def test_an_estimate_of_a_corrupt_file_names_it(tmp_path: Path, kind: Format, reason: str) -> None:
    path = tmp_path / f"ads{kind.value}"
    path.write_bytes(good(kind)[:10] + b"\xff" * 40)
    with pytest.raises(InputError, match=rf"ads\{kind.value}: {reason}"):
        density(storage.info(str(path)), kind)
    with pytest.raises(InputError, match=rf"ads\{kind.value}: {reason}"):
        peek_columns(storage.info(str(path)))


def test_gzip_data_of_several_members_is_estimated_by_the_first(tmp_path: Path) -> None:
    path = tmp_path / "ads.csv.gz"
    path.write_bytes(gzip.compress(CSV) * 50)
    file = storage.info(str(path))
    rows, text = (share * file.size for share in density(file, Format.CSV_GZ))
    assert (round(rows), round(text)) == (41 * 50, len(CSV) * 50)
