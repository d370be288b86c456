"""Request lines: held against Python's json as the strict parser, shapes against each other."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from beam_jobs.batch import Reason
from beam_jobs.request_files.parse import RequestSpec
from beam_jobs.request_files.shapes import ids_in
from beam_jobs.schema import Feature, FeatureType
from support.request_lines import FEATURES, SPEC, Row, read_lines

in_one_folder = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

TEXTS = st.text(max_size=5) | st.sampled_from(["2026-10-01", "{", "}{", "[", ':"', "Infinity", "x"])
INTS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3)
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | INTS
FITTING: dict[str, st.SearchStrategy[Any]] = {
    "bid": FLOATS,
    "age": INTS,
    "device": TEXTS,
    "tags": st.lists(TEXTS, max_size=3),
    "sizes": st.lists(INTS, max_size=3),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
IDS = st.text(min_size=1, max_size=4) | st.integers(-(2**63), 2**64 - 1)


def good_requests(features: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"id": IDS}, optional=features)


any_requests = st.fixed_dictionaries(
    {}, optional={name: values | JSON for name, values in FITTING.items()} | {"id": IDS | JSON}
) | st.dictionaries(st.sampled_from(["id", "bid", "old", "extra"]) | TEXTS, JSON, max_size=4)


@st.composite
def any_lines(draw: st.DrawFn) -> bytes:
    """JSON in any spelling, now and then damaged."""
    value = draw(good_requests(FITTING) | any_requests)
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " : ")]))
    line = json.dumps(value, ensure_ascii=draw(st.booleans()), separators=separators).encode()
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(line)))
        added = draw(
            st.sampled_from(
                [b"", b'"', b"\\", b"1", b"0", b"-", b"e999", b"{", b"}", b"[", b",", b"\\ud800"]
            )
            | st.sampled_from([b"NaN", b'"bid":1,', b"\xff", b"\0", b" ", b"\\u0041", b"null"])
        )
        line = line[:place] + added + line[place + draw(st.integers(0, 2)) :]
    return line


def strictly(line: bytes) -> dict[str, Any] | None:
    """The object by RFC 8259, where no name appears twice; None where there is none."""

    def no_constant(name: str) -> None:
        raise ValueError(name)

    def no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError(pairs)
        return dict(pairs)

    try:
        value = json.loads(
            line.decode(), parse_constant=no_constant, object_pairs_hook=no_name_twice
        )
    except ValueError:
        return None
    return value if isinstance(value, dict) and b"\0" not in line else None


def fits(value: Any, feature: Feature) -> bool:
    """Whether a value of a request is one of the feature's type."""
    if value == [None] and not feature.is_list:
        return True
    if isinstance(value, list):
        flat = not any(item is None or isinstance(item, list) for item in value)
        return (
            flat and (feature.is_list or len(value) == 1) and all(fits(v, feature) for v in value)
        )
    if value is None:
        return True
    if isinstance(value, dict):
        if list(value) != ["b64"] or not isinstance(value["b64"], str):
            return False
        try:
            value = base64.b64decode(value["b64"], validate=True).decode()
        except ValueError:
            return False
    if feature.type is FeatureType.INT:
        return isinstance(value, int) and -(2**63) <= value < 2**63
    if feature.type is FeatureType.FLOAT:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and abs(value) <= 1.7976931348623157e308
    return isinstance(value, bool) or (isinstance(value, str) and is_unicode(value))


def is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def as_column(value: Any, feature: Feature) -> Any:
    """A fitting value as the feature's column holds it."""
    if value is None or (value == [None] and not feature.is_list):
        return None
    if feature.is_list:
        items = value if isinstance(value, list) else [value]
        one = Feature(feature.name, feature.type)
        return [as_column(item, one) for item in items]
    if isinstance(value, list):
        return as_column(value[0], feature)
    if isinstance(value, dict):
        value = base64.b64decode(value["b64"]).decode()
    if feature.type is FeatureType.BYTES:
        return str(value).lower() if isinstance(value, bool) else value
    return float(value) if feature.type is FeatureType.FLOAT else int(value)


def check(row: Row, line: bytes) -> None:
    """The row is what the strict parser finds in the line, or has findings."""
    value = strictly(line)
    if value is None:
        assert Reason.MALFORMED_RECORD in row.reasons
        assert all(member is None for member in row.values.values())
        return
    known = {feature.name for feature in FEATURES} | {"id", *SPEC.ignored}
    good = all(fits(value.get(feature.name), feature) for feature in FEATURES)
    strange = any(value[name] is not None for name in value if name not in known)
    identity = value.get("id")
    is_text = isinstance(identity, str) and identity != "" and is_unicode(identity)
    is_number = isinstance(identity, int) and not isinstance(identity, bool)
    if isinstance(identity, int) and is_number and not -(2**63) <= identity < 2**64:
        is_number = row.key is not None  # a number of that size may be read as a double
    assert row.key == (str(identity) if is_text or is_number else None)
    assert (not row.reasons) == (good and not strange and (is_text or is_number)), row
    assert (Reason.MALFORMED_RECORD in row.reasons) == strange
    for feature in FEATURES:
        found = value.get(feature.name)
        expected = as_column(found, feature) if fits(found, feature) else None
        assert repr(row.values[feature.name]) == repr(expected)


@in_one_folder
@example([b'{"id":"a","bid":1e400}', b'{"id":"b","bid":1}', b'{"id":"c","bid":-0.0}'])
@example([b'{"id":"a","device":"\\ud800"}', b'{"id":"b","extra":[[1,2],null]}'])
@example([b'{"id":"a","old":{"x":1e999}}', b'{"id":"b","bid":{"b64":"!"}}', b" {}", b"{}"])
@example([b'{"id":"a","bid":[1]}', b'{"id":"a","tags":"x"}', b'{"id":1.5}', b'{"id":""}'])
@example([b'{"id" : "a", "id": ":b"}', b'{"id":"x{","device":"2026-10-01"}', b'{"id":[[]]}'])
@example([b'{"id":{},"bid":[[0]]}'])
@given(st.lists(any_lines().filter(lambda line: b"\n" not in line and line.strip()), max_size=6))
def test_agrees_with_a_strict_parser(tmp_path: Path, lines: list[bytes]) -> None:
    lines = [line.rstrip(b"\r") for line in lines]
    shapes = ("instances", "inputs", "instance")
    lines = [line for line in lines if not any(name in (strictly(line) or {}) for name in shapes)]
    rows = read_lines(tmp_path, lines)
    assert [row.number for row in rows] == list(range(1, len(lines) + 1))
    for row, line in zip(rows, lines, strict=True):
        check(row, line)


@in_one_folder
@given(st.lists(good_requests(FITTING), min_size=1, max_size=5))
def test_all_shapes_say_the_same(tmp_path: Path, requests: list[dict[str, Any]]) -> None:
    plain = [row.content for row in read_lines(tmp_path, _lines(requests))]
    assert not any(reasons for _, _, reasons in plain)
    full = [{"id": None} | dict.fromkeys(FITTING) | request for request in requests]
    columns = {name: [request[name] for request in full] for name in full[0]}
    vertex = [({**request}, request["id"]) for request in requests]
    for instance, _ in vertex:
        del instance["id"]
    shapes = {
        "rows": [{"instances": requests, "signature_name": "serving_default"}],
        "columns": [{"inputs": columns}],
        "vertex": [{"instance": instance, "key": key} for instance, key in vertex],
        "vertex id": [{"id": key, "instance": instance} for instance, key in vertex],
        "vertex inner id": [{"instance": request} for request in requests],
        "bytes": [
            {
                name: {"b64": base64.b64encode(value.encode()).decode()}
                if name == "device"
                else value
                for name, value in request.items()
            }
            for request in requests
        ],
        "lists of one": [
            {"instances": [
                {name: value if isinstance(value, list) or name == "id" else [value]
                 for name, value in request.items()}
                for request in requests
            ]}
        ],
    }  # fmt: skip
    for shape, lines in shapes.items():
        assert isinstance(lines, list)
        rows = [row.content for row in read_lines(tmp_path, _lines(lines))]
        assert rows == plain, shape


def _lines(values: list[Any]) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


R = Reason
BAD: dict[str, tuple[bytes, list[tuple[str | None, Reason | None]]]] = {
    "not JSON": (b"hello", [(None, R.MALFORMED_RECORD)]),
    "a list": (b"[1, 2]", [(None, R.MALFORMED_RECORD)]),
    "truncated": (b'{"id": "a", "bid": 0.', [("a", R.MALFORMED_RECORD)]),
    "deep": (b'{"id": "a", "bid": %s1%s}' % (b"[" * 200, b"]" * 200), [("a", R.INVALID_TYPE)]),
    "too deep": (
        b'{"id": "a", "bid": %s1%s}' % (b"[" * 100_000, b"]" * 100_000),
        [("a", R.MALFORMED_RECORD)],
    ),
    "infinite": (b'{"id": "a", "bid": 1e400}', [("a", R.NOT_FINITE)]),
    "infinite in an instance": (
        b'{"instances": [{"id": "a", "bid": -1e400}]}',
        [("a", R.NOT_FINITE)],
    ),
    "a name twice": (b'{"id": "a", "bid": 1, "bid": 2}', [("a", R.MALFORMED_RECORD)]),
    "two ids": (b'{"id": "a", "id": "b"}', [(None, R.MALFORMED_RECORD)]),
    "a name twice in an instance": (
        b'{"instances": [{"id": "a", "bid": 1, "bid": 2}, {"id": "b"}]}',
        [("a", R.MALFORMED_RECORD), ("b", R.MALFORMED_RECORD)],
    ),
    "half a surrogate pair": (b'{"id": "a", "device": "\\ud800"}', [("a", R.INVALID_ENCODING)]),
    "half a pair as id": (b'{"id": "\\ud800"}', [(None, R.INVALID_ENCODING)]),
    "NaN": (b'{"id": "a", "bid": NaN}', [("a", R.MALFORMED_RECORD)]),
    "no UTF-8": (b'{"id": "a", "device": "\xff"}', [("a", R.INVALID_ENCODING)]),
    "a long line": (
        b'{"id": "a", "device": "%s"}' % (b"x" * (50 << 20)),
        [("a", R.MALFORMED_RECORD)],
    ),
    "no id": (b'{"bid": 1}', [(None, R.MISSING_KEY)]),
    "no id in an instance": (
        b'{"instances": [{}, {"id": "b"}]}',
        [(None, R.MISSING_KEY), ("b", None)],
    ),
    "a list as id": (b'{"id": ["a"]}', [(None, R.INVALID_TYPE)]),
    "unknown feature": (b'{"id": "a", "bidd": 1}', [("a", R.MALFORMED_RECORD)]),
    "unknown list": (b'{"id": "a", "more": [null]}', [("a", R.MALFORMED_RECORD)]),
    "wrong type": (b'{"id": "a", "age": "old"}', [("a", R.INVALID_TYPE)]),
    "an object": (b'{"id": "a", "device": {"b65": ""}}', [("a", R.INVALID_TYPE)]),
    "bad base64": (b'{"id": "a", "device": {"b64": "a?=="}}', [("a", R.INVALID_TYPE)]),
    "base64 of no text": (b'{"id": "a", "tags": [{"b64": "/w=="}]}', [("a", R.INVALID_ENCODING)]),
    "another signature": (
        b'{"signature_name": "other", "instances": [{"id": "a"}]}',
        [("a", R.MALFORMED_RECORD)],
    ),
    "no instances": (b'{"instances": []}', [(None, R.MALFORMED_RECORD)]),
    "bare instances": (
        b'{"instances": [1.0, {"id": "b"}, "x"]}',
        [(None, R.MALFORMED_RECORD), ("b", None)],
    ),
    "ragged columns": (
        b'{"inputs": {"id": ["a", 2], "bid": [1]}}',
        [("a", R.MALFORMED_RECORD), ("2", R.MALFORMED_RECORD)],
    ),
    "a stranger": (b'{"key": "a", "instance": {}, "bid": 1}', [("a", R.MALFORMED_RECORD)]),
    "two keys": (b'{"key": "a", "instance": {"id": "b"}}', [("a", R.MALFORMED_RECORD)]),
    "truncated instances": (
        b'{"instances": [{"id": "a", "bid": 1}, {"bid": 2, "id": "b"}, {"id": "c',
        [("a", R.MALFORMED_RECORD), ("b", R.MALFORMED_RECORD)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_request_is_found_and_costs_no_other(tmp_path: Path, bad: str) -> None:
    line, expected = BAD[bad]
    good = [b'{"id": "first", "bid": 1}', b'{"id": "last", "device": "tv"}']
    first, *rows, last = read_lines(tmp_path, [good[0], line, good[1]])
    assert [first.key, last.key] == ["first", "last"]
    assert not first.reasons | last.reasons
    assert (first.values["bid"], last.values["device"]) == (1.0, "tv")
    assert [row.key for row in rows] == [key for key, _ in expected]
    for row, (_, reason) in zip(rows, expected, strict=True):
        assert reason in row.reasons if reason else not row.reasons
        assert line.startswith(row.raw[:60]) or str(json.loads(row.raw)["id"]) == row.key


def test_what_is_taken_as_it_is(tmp_path: Path) -> None:
    lines = [
        b'{"id": 7, "age": true, "old": {"any": [1]}, "unknown": null}',
        b'{"id": "b", "tags": [{"b64": "eA=="}, "y"], "sizes": 3}',
    ]
    rows = read_lines(tmp_path, lines)
    assert [(row.key, row.reasons) for row in rows] == [("7", frozenset()), ("b", frozenset())]
    assert rows[0].values["age"] == 1
    assert (rows[1].values["tags"], rows[1].values["sizes"]) == (["x", "y"], [3])


def test_features_may_be_called_like_shapes_and_ids(tmp_path: Path) -> None:
    features = (
        Feature("id", FeatureType.INT),
        Feature("instances", FeatureType.INT, is_list=True),
        Feature("key", FeatureType.BYTES),
    )
    lines = [b'{"id": 1, "instances": [4, 5]}', b'{"instance": {"id": 2, "key": "k"}, "key": 2}']
    first, second = read_lines(tmp_path, lines, RequestSpec(features))
    assert first.values == {"id": 1, "instances": [4, 5], "key": None}
    assert (second.key, second.values) == ("2", {"id": 2, "instances": None, "key": "k"})
    assert not first.reasons | second.reasons


def test_integers_written_as_decimals_cost_no_other(tmp_path: Path) -> None:
    odd = {3: b"2.0", 4: b"-7e1", 200: b"1.", 250: b"[5.0]", 399: b'"x"'}
    ages = [odd.get(n, b"%d" % n) for n in range(500)]
    lines = [b'{"id": "%d", "age": %s, "sizes": [%d]}' % (n, a, n) for n, a in enumerate(ages)]
    lines[7] = b'{"id": "7", "sizes": [1, 2.5], "age": 7}'
    together = read_lines(tmp_path, lines)
    alone = [row for line in lines for row in read_lines(tmp_path, [line])]
    assert [row.content for row in together] == [row.content for row in alone]
    assert [row.details for row in together] == [row.details for row in alone]
    assert [row.number for row in together if row.reasons] == sorted(n + 1 for n in [*odd, 7])


def test_one_of_many_costs_no_other(tmp_path: Path) -> None:
    lines = [b'{"id": "r%d", "bid": %d}' % (row, row) for row in range(3_000)]
    lines[1_234] = b'{"id": "r1234", "bid": "x"}'
    rows = read_lines(tmp_path, lines)
    assert [row.key for row in rows] == [f"r{row}" for row in range(3_000)]
    assert [row.number for row in rows if row.reasons] == [1_235]
    assert [row.values["bid"] for row in rows if not row.reasons] == [
        float(row) for row in range(3_000) if row != 1_234
    ]


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        (b'{"bid": [1, {"id": "no"}], "id": "a", "age": 1}', [b'"a"']),
        (b'{"id": 12, "x": 1}', [b"12"]),
        (b'{"instances": [{"id": "a", "x": {"id": "no"}}, {"id": 3}]}', [b'"a"', b"3"]),
        (b'{"instance": {"bid": 1, "id": "a"}}', [b'"a"']),
        (b'{"instance": {"bid": 1}, "key": "k"}', [b'"k"']),
    ],
)
def test_ids_of_cut_lines_are_whole_or_absent(line: bytes, ids: list[bytes]) -> None:
    assert ids_in(line) == ids
    for size in range(len(line)):
        assert set(ids_in(line[:size])) <= set(ids)
    assert ids_in(line[:-1]) == ids


@pytest.mark.parametrize(
    ("kind", "line", "value", "reasons"),
    [
        (FeatureType.BYTES, b'{"id": 7, "bid": 1}', "7", set()),
        (FeatureType.BYTES, b'{"instance": {"bid": 1}, "key": 4}', "4", set()),
        (FeatureType.BYTES, b'{"id": "a", "bid": 1}', "a", set()),
        (FeatureType.INT, b'{"id": "7", "bid": 1}', 7, set()),
        (FeatureType.INT, b'{"id": "a", "bid": 1}', None, {Reason.INVALID_TYPE}),
    ],
)
def test_a_feature_called_id_has_the_request_s_id_as_its_value(
    tmp_path: Path, kind: FeatureType, line: bytes, value: Any, reasons: set[Reason]
) -> None:
    spec = RequestSpec((Feature("bid", FeatureType.FLOAT), Feature("id", kind)))
    (row,) = read_lines(tmp_path, [line], spec)
    assert row.values == {"bid": 1.0, "id": value}
    assert row.reasons == reasons
    assert row.key is not None
