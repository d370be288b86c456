"""Parquet: wrong types, missing columns, broken bytes and broken files."""

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_jobs import storage
from beam_jobs.batch import Reason
from beam_jobs.errors import InputError
from beam_jobs.read import parquet, peek_columns
from beam_jobs.schema import Feature, FeatureType
from support.reading import FEATURES, Row, read_rows

TYPE = [Reason.INVALID_TYPE]
INFINITE = [Reason.NOT_FINITE]
ENCODING = [Reason.INVALID_ENCODING]
COUNT = [Reason.INVALID_VALUE_COUNT]
DAY = datetime.date(2026, 10, 1)
SECOND = datetime.datetime(2026, 10, 1, 12, 30)


def read(folder: Path, key: str | None = "id", **columns: pa.Array) -> list[Row]:
    path = folder / "ads.parquet"
    pq.write_table(pa.table(columns), path)
    return read_rows(path, key=key)


def texts(*values: bytes) -> pa.Array:
    """A string column that holds these bytes, UTF-8 or not, as some writers leave them."""
    offsets = np.concatenate([[0], np.cumsum([len(value) for value in values])]).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


# (feature, its column, the values read, the reasons of each row)
KINDS: dict[str, tuple[str, pa.Array, list[Any], list[list[Reason]]]] = {
    "nulls": ("n", pa.array([None, 1, None], pa.int64()), [None, 1, None], [[], [], []]),
    "a null column": ("x", pa.nulls(3), [None] * 3, [[], [], []]),
    "narrow integers": ("n", pa.array([1, -2, None], pa.int8()), [1, -2, None], [[], [], []]),
    "unsigned": ("n", pa.array([1, 2**63, 3], pa.uint64()), [1, None, 3], [[], TYPE, []]),
    "floats for integers": ("n", pa.array([1.0, None, 2.5]), [None] * 3, [TYPE, [], TYPE]),
    "booleans": ("n", pa.array([True, False, None]), [1, 0, None], [[], [], []]),
    "integers for floats": ("x", pa.array([1, None, -2]), [1.0, None, -2.0], [[], [], []]),
    "single floats": ("x", pa.array([0.5, 1, 2], pa.float32()), [0.5, 1.0, 2.0], [[]] * 3),
    "not finite": (
        "x",
        pa.array([float("nan"), 1.0, float("-inf")], from_pandas=False),
        [None, 1.0, None],
        [INFINITE, [], INFINITE],
    ),
    "texts for integers": (
        "n",
        pa.array(["7", " 7 ", "0x10", "1e999", "NaN", "١٢", "9223372036854775808", "", None]),
        [7, *[None] * 8],
        [[], *[TYPE] * 6, [], []],
    ),
    "texts for floats": (
        "x",
        pa.array(["7", " 7 ", "0x10", "1e999", "NaN", "١٢", "2026-10-01", "", None]),
        [7.0, *[None] * 8],
        [[], TYPE, TYPE, INFINITE, INFINITE, TYPE, TYPE, [], []],
    ),
    "dates for integers": ("n", pa.array([DAY, None, DAY]), [None] * 3, [TYPE, [], TYPE]),
    "dates for floats": ("x", pa.array([SECOND, None, SECOND]), [None] * 3, [TYPE, [], TYPE]),
    "dates for texts": ("id", pa.array([DAY, None]), ["2026-10-01", None], [[], []]),
    "durations": ("n", pa.array([datetime.timedelta(1), None]), [None] * 2, [TYPE, []]),
    "decimals for floats": (
        "x",
        pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("-0.25")]),
        [1.5, None, -0.25],
        [[], [], []],
    ),
    "decimals for integers": (
        "n",
        pa.array([decimal.Decimal("7"), None, decimal.Decimal("-8")]),
        [7, None, -8],
        [[], [], []],
    ),
    "decimals for texts": (
        "id", pa.array([decimal.Decimal("1.50"), None]), ["1.50", None], [[], []],
    ),
    "integers for texts": ("id", pa.array([1, None]), [None, None], [TYPE, []]),
    "objects for texts": ("id", pa.array([{"a": 1}, None]), [None, None], [TYPE, []]),
    "bytes": ("id", pa.array([b"a", b"\xff", None]), ["a", None, None], [[], ENCODING, []]),
    "bytes of one size": (
        "id", pa.array([b"ab", b"\xffb"], pa.binary(2)), ["ab", None], [[], ENCODING],
    ),
    "texts that are not UTF-8": (
        "id", texts(b"a", b"\xff", b"c"), ["a", None, "c"], [[], ENCODING, []],
    ),
    "large texts": ("id", pa.array(["a", None], pa.large_string()), ["a", None], [[], []]),
    "categories": ("id", pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"], [[]] * 3),
    "categories that are not UTF-8": (
        "id",
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), texts(b"a", b"\xff")),
        ["a", None, "a"],
        [[], ENCODING, []],
    ),
    "categories as pandas writes them that are not UTF-8": (
        "id",
        pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.int8()), texts(b"a", b"\xff")),
        [None, "a", None],
        [ENCODING, [], []],
    ),
    "categories of numbers": (
        "id", pa.array([7, 7, 9]).dictionary_encode(), [None] * 3, [TYPE] * 3,
    ),
    "numbers that are not UTF-8": ("n", texts(b"1", b"\xff"), [1, None], [[], ENCODING]),
    "lists of one": ("n", pa.array([[1], None, [2]]), [1, None, 2], [[], [], []]),
    "lists for one": ("n", pa.array([[1, 2], [], [3]]), [None, None, 3], [COUNT, COUNT, []]),
    "one for a list": ("tags", pa.array(["a", None]), [["a"], None], [[], []]),
    "lists": ("tags", pa.array([["a", "b"], [], None]), [["a", "b"], [], None], [[], [], []]),
    "large lists": (
        "tags", pa.array([["a"], None], pa.large_list(pa.string())), [["a"], None], [[], []],
    ),
    "null in a list": ("tags", pa.array([["a", None], ["b"]]), [None, ["b"]], [TYPE, []]),
    "wrong in a list": ("tags", pa.array([[1], None, [2, 3]]), [None] * 3, [TYPE, [], TYPE * 2]),
    "lists in a list": ("tags", pa.array([[["a"]], None]), [None, None], [TYPE, []]),
    "not UTF-8 in a list": (
        "tags",
        pa.ListArray.from_arrays(pa.array([0, 2, 3], pa.int32()), texts(b"a", b"\xff", b"c")),
        [None, ["c"]],
        [ENCODING, []],
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "column", "values", "reasons"),
    [pytest.param(*kind, id=name) for name, kind in KINDS.items()],
)
def test_columns_of_any_type(
    tmp_path: Path, name: str, column: pa.Array, values: list[Any], reasons: list[list[Reason]]
) -> None:
    # Beside it stands a good column, whose rows must not change.
    rows = read(tmp_path, None, **{name: column}, other=pa.array(range(len(column))))
    assert [row.values[name] for row in rows] == values
    assert [row.reasons for row in rows] == reasons
    assert all(name in detail for row in rows for detail in row.details)
    assert [row.values["other"] for row in rows] == list(range(len(column)))
    assert [row.number for row in rows] == list(range(1, len(column) + 1))
    assert {row.file for row in rows} == {str(tmp_path / "ads.parquet")}


def test_missing_columns_are_null_and_their_order_is_free(tmp_path: Path) -> None:
    (row,) = read(tmp_path, x=pa.array([0.5]), id=pa.array(["a"]))
    assert row.values == {"id": "a", "n": None, "x": 0.5, "tags": None}
    assert (row.key, row.reasons) == ("a", [])


def test_without_the_key_column_keys_are_missing(tmp_path: Path) -> None:
    assert [row.key for row in read(tmp_path, n=pa.array([1, 2]))] == [None, None]


@pytest.mark.parametrize(
    ("column", "keys"),
    [
        (pa.array([1, None]), ["1", None]),
        (pa.array(["", "a"]), [None, "a"]),
        (pa.array([DAY, None]), ["2026-10-01", None]),
        (pa.array([decimal.Decimal("10.50"), None]), ["10.50", None]),
        (texts(b"\xff", b"a"), [None, "a"]),
        (pa.array([b"\xff", b"a"]), [None, "a"]),
    ],
)
def test_keys_of_any_type(tmp_path: Path, column: pa.Array, keys: list[str | None]) -> None:
    assert [row.key for row in read(tmp_path, id=column)] == keys


@pytest.mark.parametrize("column", [pa.array([["a"]]), pa.array([{"a": 1}])])
def test_a_key_of_many_values_is_refused(tmp_path: Path, column: pa.Array) -> None:
    with pytest.raises(InputError, match=r"ads\.parquet: the key column 'id' holds (list|struct)"):
        read(tmp_path, id=column)


def test_columns_that_the_schema_does_not_know(tmp_path: Path) -> None:
    (row,) = read(
        tmp_path,
        id=pa.array(["a"]),
        day=pa.array([DAY]),
        price=pa.array([decimal.Decimal("1.25")]),
        flag=pa.array([True]),
        single=pa.array([0.5], pa.float32()),
        wait=pa.array([datetime.timedelta(1)]),
        nested=pa.array([{"a": [1]}]),
    )
    assert row.values == {
        "id": "a", "n": None, "x": None, "tags": None,
        "day": "2026-10-01", "price": 1.25, "flag": 1, "single": 0.5,
    }  # fmt: skip
    assert row.reasons == []


def test_unknown_texts_that_are_not_utf_8_are_found(tmp_path: Path) -> None:
    rows = read(tmp_path, id=pa.array(["a", "b"]), note=texts(b"\xff", b"good"))
    assert [row.values["note"] for row in rows] == [None, "good"]
    assert [row.details for row in rows] == [["note: byte 0xff is not UTF-8"], []]


def test_unknown_bytes_need_not_be_text(tmp_path: Path) -> None:
    rows = read(tmp_path, id=pa.array(["a", "b"]), picture=pa.array([b"\xff\xd8", b"\x89PNG"]))
    assert [row.reasons for row in rows] == [[], []]


def test_the_raw_record_shows_what_could_not_be_read(tmp_path: Path) -> None:
    rows = read(
        tmp_path,
        id=texts(b"a", b"\xff", b"c"),
        n=pa.array([1, 2, 3]),
        x=pa.array([0.5, float("nan"), None], from_pandas=False),
        day=pa.array([DAY] * 3),
    )
    assert [row.raw is None for row in rows] == [True, False, True]
    raw = rows[1].raw
    assert raw is not None
    assert json.loads(raw) == {"id": "\\xff", "n": 2, "x": "nan", "day": "2026-10-01"}


@pytest.mark.parametrize("rows_per_batch", [1, 3, 100])
@pytest.mark.parametrize("range_bytes", [1, 200, 1 << 20])
def test_row_numbers_over_row_groups_and_byte_ranges(
    tmp_path: Path, rows_per_batch: int, range_bytes: int
) -> None:
    path = tmp_path / "ads.parquet"
    values = [str(row) if row % 7 else "0x10" for row in range(1, 51)]
    pq.write_table(pa.table({"id": values, "n": values}), path, row_group_size=4)
    rows = read_rows(path, range_bytes=range_bytes, rows_per_batch=rows_per_batch)
    assert [row.number for row in rows] == list(range(1, 51))
    assert [row.key for row in rows] == values
    assert [bool(row.reasons) for row in rows] == [row % 7 == 0 for row in range(1, 51)]
    key_only = read_rows(path, (), range_bytes=range_bytes, rows_per_batch=7, key_only=True)
    assert [(row.key, row.number) for row in key_only] == [(row.key, row.number) for row in rows]


@pytest.mark.parametrize("groups", [0, 1])
def test_no_rows(tmp_path: Path, groups: int) -> None:
    path = tmp_path / "ads.parquet"
    schema = pa.schema([("id", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for _ in range(groups):
            writer.write_table(schema.empty_table())
    assert read_rows(path) == []


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ads.parquet"
    column = pa.array(["a"])
    pq.write_table(pa.Table.from_arrays([column, column], ["id", "id"]), path)
    with pytest.raises(InputError, match=r"ads\.parquet: column 'id' appears twice"):
        read_rows(path)


def test_the_features_are_those_of_other_formats(tmp_path: Path) -> None:
    assert FEATURES[0] == Feature("id", FeatureType.BYTES)
    path = tmp_path / "ads.parquet"
    pq.write_table(pa.table({"id": ["a"], "n": [1]}), path)
    assert peek_columns(storage.info(str(path))) == ["id", "n"]


@given(
    st.integers(0, 18).flatmap(
        lambda scale: st.lists(
            st.none() | st.decimals(-(10**19), 10**19, allow_nan=False, places=scale), min_size=1
        ).map(lambda values: pa.array(values, pa.decimal128(38, scale)))
    ),
    st.integers(0, 2),
)
@example(pa.array([decimal.Decimal("0.35"), None, decimal.Decimal("1.10")]), 0)
@example(pa.array([decimal.Decimal(2**53 + 1)]), 0)
def test_decimals_become_the_nearest_doubles(column: pa.Array, first: int) -> None:
    column = column.slice(first)
    values, found = parquet.to_feature(column, Feature("x", FeatureType.FLOAT))
    assert values.to_pylist() == [None if v is None else float(v) for v in column.to_pylist()]
    assert found == []


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([{"a": "x"}]).cast(pa.struct([("a", pa.string())])), "{'a': 'x'}"),
        (pa.StructArray.from_arrays([texts(b"\xff")], ["a"]), "cannot be shown"),
        (pa.array([2**62], pa.duration("s")), "cannot be shown"),
    ],
)
def test_values_that_python_cannot_hold_end_no_run(
    tmp_path: Path, column: pa.Array, text: str
) -> None:
    (row,) = read(tmp_path, id=pa.array(["a"]), n=column, other=column)
    assert row.key == "a"
    assert set(row.reasons) == {Reason.INVALID_TYPE}
    assert text in row.details[0]
    assert row.raw is not None
    assert json.loads(row.raw)["id"] == "a"


def test_times_with_and_without_zone_are_texts(tmp_path: Path) -> None:
    rows = read(
        tmp_path,
        id=pa.array([SECOND], pa.timestamp("us", "UTC")),
        far=pa.array([10**15], pa.timestamp("ms")),
    )
    assert rows[0].values["id"] == "2026-10-01 12:30:00.000000Z"
    assert isinstance(rows[0].values["far"], str)
