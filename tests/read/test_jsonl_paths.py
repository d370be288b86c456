"""Arrow's fast parse of a block gives what the strict parser gives record by record, or nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from beam_jobs.read import jsonl, jsonl_blocks
from beam_jobs.read.lines import Block
from beam_jobs.schema import Feature, FeatureType
from support.reading import read_rows

FEATURES = (
    Feature("id", FeatureType.BYTES),
    Feature("n", FeatureType.INT),
    Feature("x", FeatureType.FLOAT),
    Feature("tags", FeatureType.BYTES, is_list=True),
    Feature("sizes", FeatureType.INT, is_list=True),
    Feature("weights", FeatureType.FLOAT, is_list=True),
)
TEXTS = st.text(max_size=6) | st.sampled_from(
    ["", "2026-10-01", "2026-10-01 12:30:00", "2026-10-01T00:00:00Z", "1", "true", "{", "}", "[:"]
)
INTS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
ANY_INTS = INTS | st.integers(-(2**70), 2**70)
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | ANY_INTS
NULL = st.none()
FITTING = {
    "id": TEXTS,
    "n": INTS,
    "x": FLOATS,
    "tags": st.lists(TEXTS, max_size=3),
    "sizes": st.lists(INTS, max_size=3),
    "weights": st.lists(FLOATS, max_size=3),
}
JSON = st.recursive(
    NULL | st.booleans() | ANY_INTS | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
UNKNOWN = st.sampled_from([TEXTS, INTS, FLOATS, st.booleans(), NULL, st.lists(INTS), JSON])
KEYS = st.sampled_from([None, "id", "n", "x", "extra", "absent"])


@st.composite
def fitting_records(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Records that mostly fit, with one field that the schema does not know."""
    extra = draw(UNKNOWN)
    fields = {name: values | NULL for name, values in FITTING.items()} | {"extra": extra}
    return draw(st.lists(st.fixed_dictionaries({}, optional=fields), min_size=1, max_size=5))


@st.composite
def any_records(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Records of which any value may be anything."""
    fields = dict.fromkeys([*FITTING, "extra"], JSON)
    return draw(st.lists(st.fixed_dictionaries({}, optional=fields), min_size=1, max_size=4))


@st.composite
def broken_lines(draw: st.DrawFn) -> list[bytes]:
    """Lines of JSON in which a few bytes were removed, doubled or replaced."""
    lines = []
    for record in draw(fitting_records()):
        line = bytearray(json.dumps(record, ensure_ascii=draw(st.booleans())).encode("utf-8"))
        for _ in range(draw(st.integers(0, 2))):
            place = draw(st.integers(0, len(line) - 1))
            new = draw(
                st.sampled_from([b"", b'"', b",", b"0", b"e9", b"-", b"]", b"[", b" ", b"a"])
            )
            line[place : place + draw(st.integers(0, 2))] = new
            if not line:
                break
        lines.append(bytes(line) or b"{}")
    return lines


def block_of(lines: list[bytes]) -> Block:
    ends = np.cumsum([len(line) + 1 for line in lines]) - 1
    starts = ends - [len(line) for line in lines]
    return Block(b"\n".join(lines) + b"\n", starts, ends, {}, np.zeros(0, np.int64), 0)


def as_rows(columns: jsonl.Columns, key: str | None) -> Any:
    """Comparable: types and values of all columns, texts of keys."""
    typed, keys, found = columns
    assert not found
    values = {name: (column.type, column.to_pylist()) for name, column in typed.items()}
    # The fast path has no column where no record has the field; `assemble` adds it.
    present = {
        name: value for name, value in values.items() if any(v is not None for v in value[1])
    }
    texts = None if keys is None or keys.null_count == len(keys) else keys.to_pylist()
    return present, texts if key is not None else None


def check_same(lines: list[bytes], key: str | None) -> bool:
    """Whether the fast path took the block; both paths then agree."""
    block = block_of(lines)
    if jsonl_blocks.parse_at_once(block, FEATURES, key) is None:
        return False
    fast = jsonl.read_block(block, FEATURES, key, key_only=False)
    slow = jsonl._parse_one_by_one(block, FEATURES, key, key_only=False)
    assert as_rows(fast, key) == as_rows(slow, key)
    return True


@given(fitting_records() | any_records(), st.booleans(), KEYS)
@settings(max_examples=300)
@example([{"extra": "2026-10-01"}], True, "extra")
@example([{"extra": True}, {"extra": False}], True, "extra")
@example([{"extra": 2**63}, {"extra": 1}], True, "extra")
@example([{"x": 10**305}], True, "x")
@example([{"x": 10**400}, {"weights": [10**400]}], True, None)
@example([{"extra": 2**53 + 1}, {"extra": 0.5}], True, None)
@example([{"tags": [[], [[]]]}], True, None)
@example([{"extra": [None, None]}], True, None)
@example([{"tags": [None, None]}], True, None)
def test_both_paths_agree_on_valid_json(
    records: list[dict[str, Any]], ascii_only: bool, key: str | None
) -> None:
    dumped = [json.dumps(record, ensure_ascii=ascii_only) for record in records]
    check_same([text.encode() for text in dumped], key)


@given(broken_lines(), KEYS)
@settings(max_examples=300)
@example([b'{"x": 1e999}'], None)
@example([b'{"id": "a", "id": "b"}'], "id")
@example([b'{"n": 01}'], None)
@example([b'{"x": .5}'], None)
@example([b'{"n": -0, "x": -0}'], "n")
@example([b'{"extra": 1e999}'], None)
def test_the_fast_path_takes_nothing_that_is_broken(lines: list[bytes], key: str | None) -> None:
    check_same([line.replace(b"\n", b" ") for line in lines], key)


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "id": st.text("abc \u00e9\u4e2d", max_size=5),
                "n": INTS,
                "x": st.floats(allow_nan=False, allow_infinity=False),
                "tags": st.lists(st.text("abc", max_size=3), max_size=3),
                "extra": st.text("abc2026-10", max_size=10),
            },
        ),
        min_size=1,
        max_size=5,
    )
)
def test_the_fast_path_takes_ordinary_records(records: list[dict[str, Any]]) -> None:
    assert check_same([json.dumps(record).encode() for record in records], "id")


def test_what_is_read_is_what_python_reads() -> None:
    """An independent reference: json.loads."""
    rng = np.random.default_rng(7)
    rows = [
        {"id": f"k{row}", "n": int(n), "x": float(x), "tags": ["a"] * (row % 3), "sizes": [row]}
        for row, (n, x) in enumerate(
            zip(rng.integers(-(2**63), 2**63 - 1, 500), rng.normal(0, 1e200, 500), strict=True)
        )
    ]
    lines = [json.dumps(row).encode() for row in rows]
    for parse in (
        jsonl_blocks.parse_at_once,
        lambda block, features, key: jsonl._parse_one_by_one(block, features, key, False)[0],
    ):
        table = parse(block_of(lines), FEATURES, "id")
        assert table is not None
        for name in rows[0]:
            assert table[name].to_pylist() == [json.loads(line)[name] for line in lines]


@given(any_records(), st.integers(1, 40), st.integers(1, 3))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=100,
)
def test_any_byte_ranges_give_the_records_of_one(
    tmp_path: Path, records: list[dict[str, Any]], range_bytes: int, blank: int
) -> None:
    path = tmp_path / "ads.jsonl"
    path.write_bytes(("\n" * blank).join(json.dumps(record) for record in records).encode())

    # Whether a column of unknown fields exists is decided batch by batch: only features compare.
    def rows(range_bytes: int) -> list[tuple[Any, ...]]:
        return [
            (row.key, row.number, row.raw, [row.values[f.name] for f in FEATURES], row.details)
            for row in read_rows(path, FEATURES, range_bytes=range_bytes)
        ]

    assert rows(range_bytes) == rows(1 << 20)
    assert [number for _, number, *_ in rows(range_bytes)] == list(range(1, len(records) + 1))


@pytest.mark.parametrize("depth", [1, 2, 200, 254, 255, 256, 1_000, 3_000])
def test_nesting_is_limited_alike_on_both_paths(depth: int) -> None:
    line = b'{"extra": ' + b"[" * depth + b"]" * depth + b"}"
    found = jsonl.read_block(block_of([line]), FEATURES, None, key_only=False)[2]
    slow = jsonl._parse_one_by_one(block_of([line]), FEATURES, None, key_only=False)[2]
    assert [f.details for f in found] == [f.details for f in slow]
    assert bool(found) == (depth + 1 > 256)


def test_infinite_numbers_are_not_finite_however_they_are_written() -> None:
    for text in (b"1e999", b"-1e999", b"9" * 400, b"-" + b"9" * 5_000):
        line = b'{"x": ' + text + b', "weights": [1, ' + text + b"]}"
        typed, _, found = jsonl.read_block(block_of([line]), FEATURES, None, key_only=False)
        assert [(f.reason.value, f.feature, f.rows.tolist()) for f in found] == [
            ("NOT_FINITE", "x", [0]),
            ("NOT_FINITE", "weights", [0]),
        ]
        assert typed["x"].null_count == typed["weights"].null_count == 1
