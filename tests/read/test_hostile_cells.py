"""Every conversion of a cell is total: whatever a cell holds costs at most its own row."""

import decimal
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_jobs import storage
from beam_jobs.errors import InputError
from beam_jobs.read import ReadSpec, candidate_ranges, read_range
from beam_jobs.schema import Feature, FeatureType
from beam_jobs.statistics import column_types
from support.reading import read_rows, write

FEATURES = tuple(
    Feature(f"{kind.value.lower()}{'s' * is_list}", kind, is_list)
    for kind in FeatureType
    for is_list in (False, True)
)
FAR = (2**31 - 1, -(2**31), 0, None)
FARTHER = (2**63 - 1, -(2**62), 0, None)
ZONES = (None, "UTC", "+03:00", "-0930", "Europe/Berlin", "Nowhere/Land")


def far(kind: pa.DataType) -> pa.Array:
    """Values at the ends of a type, however far from any calendar."""
    values = FAR if kind.bit_width == 32 else FARTHER
    return pa.array(values, pa.int32() if kind.bit_width == 32 else pa.int64()).view(kind)


def in_lists(column: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, len(column)], pa.int32()), column)


NINES = [decimal.Decimal("9" * 76), decimal.Decimal(-1), None]
SCALARS = [
    *(far(kind) for kind in (pa.date32(), pa.date64(), pa.time32("s"), pa.time64("ns"))),
    *(far(pa.timestamp(unit, zone)) for unit in ("s", "ms", "us", "ns") for zone in ZONES),
    *(far(pa.duration(unit)) for unit in ("s", "ns")),
    pa.array(NINES, pa.decimal256(76, 0)),
    pa.array([decimal.Decimal("0." + "9" * 38), None], pa.decimal128(38, 38)),
    pa.array([decimal.Decimal("0.000000" + "1" * 70), None], pa.decimal256(76, 76)),
    pa.array([float("nan"), float("inf"), -0.0, 5e-324, 1.7e308, None]),
    pa.array([1e38, None], pa.float32()),
    pa.array([True, None]),
    pa.nulls(2),
    pa.array([b"\xff\x00", b"", None]),
    pa.array(["", "\x00", "9" * 5_000, "1e" + "9" * 5_000, "\U0001f600", None]),
    pa.array(["x" * 2**20, None], pa.large_string()),
    pa.array([b"x" * 2**20, None], pa.large_binary()),
    pa.array([2**64 - 1, None], pa.uint64()),
    pa.array([2**64 - 1, None], pa.uint64()).dictionary_encode(),
    pa.array(["a", None]).dictionary_encode(),
]
NESTED = [
    pa.array([{"a": {"b": [1, None]}}, None]),
    pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
    pa.array([[[1], []], [], None]),
    pa.array([[{"a": 1}], None]),
    pa.array([["a", None], [], None], pa.list_(pa.large_string())),
    pa.array([["a"], None], pa.large_list(pa.large_binary())),
    pa.array([[1, 2], [3, 4]], pa.list_(pa.int64(), 2)),
    in_lists(pa.array(["a", "b"]).dictionary_encode()),
]
COLUMNS = [*SCALARS, *NESTED, *map(in_lists, SCALARS)]


def parquet(folder: Path, column: pa.Array) -> Path | None:
    """A file with the column under every name; None where Parquet has no such type."""
    path = folder / "ads.parquet"
    names = [feature.name for feature in FEATURES] + ["unknown", "key"]
    try:
        pq.write_table(pa.table(dict.fromkeys(names, column)), path, version="2.6")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return path


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: str(column.type))
def test_any_column_of_parquet_is_read_or_told(tmp_path: Path, column: pa.Array) -> None:
    path = parquet(tmp_path, column)
    if path is None:
        assert "duration" not in str(column.type)
        return
    rows = read_rows(path, FEATURES, None)
    assert len(rows) == len(column)
    for row, is_there in zip(rows, column.is_valid().to_pylist(), strict=True):
        told = {detail.split(":")[0] for detail in row.details}
        has_value = {f.name for f in FEATURES if row.values[f.name] is not None}
        assert told.isdisjoint(has_value)
        for feature in FEATURES:
            if is_there and not feature.is_list and feature.name not in told | has_value:
                assert column[row.number - 1].as_py() in ("", b"", [], [None]), feature
    try:
        assert len(read_rows(path, (), "key", key_only=True)) == len(column)
    except InputError as error:
        assert "a key is one text or number a row" in str(error)  # noqa: PT017  (not of all)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: str(column.type))
def test_any_column_of_parquet_gets_a_type(tmp_path: Path, column: pa.Array) -> None:
    path = parquet(tmp_path, column)
    if path is not None:
        for byte_range in candidate_ranges(storage.info(str(path)), 0):
            for batch in read_range(byte_range, ReadSpec(())):
                column_types.column_types_of(batch, cells_are_text=False)


HOSTILE = st.one_of(
    st.sampled_from(
        [
            "9" * 4_301, "-" + "9" * 100_000, "0" * 4_301, "1_000", " 1", "+1", "0x1", "nan(1)",
            "1e" + "9" * 400, "1e-" + "9" * 400, "\u0661\u0662", "\x00", "\ufeff1", "\u2028", "-",
            "--", "infinity", "1" * 2**19, "\\ud800", "[[[]]]", "{}", "null", "NULL", "",
        ]
    ),
    st.text(max_size=8),
    st.text("0123456789+-.eExX_nafi() ", max_size=12),
)  # fmt: skip


@given(st.lists(st.tuples(HOSTILE, HOSTILE, HOSTILE), min_size=1, max_size=4))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_in_any_column(tmp_path: Path, cells: list[tuple[str, str, str]]) -> None:
    features = tuple(Feature(f.value, f) for f in FeatureType)
    names = [feature.name for feature in features]
    lines = [json.dumps(dict(zip(names, row, strict=True))) for row in cells]
    as_csv = [",".join('"' + c.replace('"', '""') + '"' for c in row) for row in cells]
    files = {
        "ads.csv": "\n".join([",".join(names), *as_csv]),
        "ads.jsonl": "\n".join(lines),
        "numbers.jsonl": "\n".join(
            "{" + ", ".join(f'"{n}": {c}' for n, c in zip(names, row, strict=True)) + "}"
            for row in cells
            if not any(character in "".join(row) for character in "\n\r")
        ),
    }
    for file, text in files.items():
        path = write(tmp_path / file, text.encode("utf-8", "surrogatepass"))
        for some in (features, ()):
            rows = read_rows(path, some, "BYTES")
            assert len(rows) == (len(cells) if file == "ads.jsonl" else len(rows))
        for byte_range in candidate_ranges(storage.info(str(path)), 0):
            for batch in read_range(byte_range, ReadSpec(())):
                column_types.column_types_of(batch, cells_are_text=file.endswith("csv"))


def test_digits_beyond_pythons_limit_cost_their_row(tmp_path: Path) -> None:
    """Python refuses to read more than 4,300 digits."""
    features = (Feature("n", FeatureType.INT),)
    cells = ["1", "9" * 4_301, "-" + "9" * 900_000, "0" * 4_301 + "5", "3"]
    path = write(tmp_path / "ads.csv", "\n".join(["n", *cells]).encode())
    rows = read_rows(path, features, None)
    assert [row.values["n"] for row in rows] == [1, None, None, 5, 3]
    assert [[reason.value for reason in row.reasons] for row in rows] == [
        [], ["INVALID_TYPE"], ["INVALID_TYPE"], [], [],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "-9223372036854775808"], FeatureType.INT),
        (["1", "9223372036854775808"], FeatureType.BYTES),
        (["0.5", "1e309"], FeatureType.FLOAT),
        (["0.5", "18446744073709551615"], FeatureType.BYTES),
        (["1", "nan(1)"], FeatureType.BYTES),
        (["1", "9" * 5_000], FeatureType.BYTES),
    ],
)
def test_a_baseline_takes_integers_beyond_int64_for_ids(
    tmp_path: Path, cells: list[str], expected: FeatureType
) -> None:
    for some in (cells, cells[::-1]):
        path = write(tmp_path / "ads.csv", "\n".join(["a", *some]).encode())
        (byte_range,) = candidate_ranges(storage.info(str(path)), 0)
        for rows in (1, 2):
            found = [
                column_types.column_types_of(batch, cells_are_text=True)
                for batch in read_range(byte_range, ReadSpec(()), rows)
            ]
            assert column_types.join(found)["a"].type is expected
