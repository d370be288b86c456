"""Every kind of broken record in CSV and JSON Lines: it fails alone, in its place, as it was."""

from pathlib import Path

import pytest

from beam_jobs.batch import Reason
from beam_jobs.schema import Feature, FeatureType
from support.reading import (
    CSV_GOOD,
    CSV_HEADER,
    FEATURES,
    GOOD_VALUES,
    JSON_GOOD,
    Row,
    read_rows,
    write,
)

MALFORMED = [Reason.MALFORMED_RECORD]
ENCODING = [Reason.INVALID_ENCODING]
TYPE = [Reason.INVALID_TYPE]
INFINITE = [Reason.NOT_FINITE]

BAD_CSV = {
    "not UTF-8": (b"\xffq,3,2.5,ok", ENCODING),
    "not UTF-8, in a number": (b"q,\xff,2.5,ok", ENCODING),
    "not UTF-8, where the schema has no column": (b"q,3,2.5,\xc3", ENCODING),
    "not UTF-8, everywhere": (b"\xff,\xff,\xff,\xff", ENCODING * 4),
    "an encoded surrogate": (b"\xed\xa0\x80,3,2.5,ok", ENCODING),
    "a NUL": (b"q\0,3,2.5,ok", MALFORMED),
    "a NUL and bytes that are not UTF-8": (b"q\0\xff,3,2.5,ok", MALFORMED),
    "a cell of 3 MB": (b"q" * 3_000_000 + b",3,2.5,ok", MALFORMED),
    "an unclosed quote": (b'"q,3,2.5,ok', MALFORMED),
    "a quote inside a cell": (b'q"r,3,2.5,ok', MALFORMED),
    "text behind a closing quote": (b'"q"r,3,2.5,ok', MALFORMED),
    "a bare carriage return": (b"q\rr,3,2.5,ok", MALFORMED),
    "a cell too few": (b"q,3,2.5", MALFORMED),
    "a cell too many": (b"q,3,2.5,ok,", MALFORMED),
    "one cell": (b"q", MALFORMED),
    "a comma in quotes is no cell": (b'"q,3",2.5,ok', MALFORMED),
    "beyond a double": (b"q,3,1e999,ok", INFINITE),
    "NaN": (b"q,3,NaN,ok", INFINITE),
    "an infinity": (b"q,3,-inf,ok", INFINITE),
    "hexadecimal": (b"q,0x10,0x10,ok", TYPE * 2),
    "spaces around": (b"q, 7 , 7 ,ok", TYPE * 2),
    "NaN for an integer": (b"q,NaN,2.5,ok", TYPE),
    "a fraction for an integer": (b"q,3.0,2.5,ok", TYPE),
    "an exponent for an integer": (b"q,1e3,2.5,ok", TYPE),
    "Arabic digits": ("q,١٢,١٢,ok".encode(), TYPE * 2),
    "just beyond int64": (b"q,9223372036854775808,2.5,ok", TYPE),
    "just below int64": (b"q,-9223372036854775809,2.5,ok", TYPE),
    "400 digits": (b"q," + b"9" * 400 + b"," + b"9" * 400 + b",ok", [*TYPE, *INFINITE]),
    "dates": (b"q,2026-10-01,2026-10-01,ok", TYPE * 2),
    "underscores": (b"q,1_000,1_000,ok", TYPE * 2),
    "a thousands separator": (b'q,"1,000","1,000",ok', TYPE * 2),
    "a unit": (b"q,3px,3px,ok", TYPE * 2),
    "several reasons": (b"\xff,x,inf,ok", [*ENCODING, *TYPE, *INFINITE]),
}

DEEP = b"[" * 200 + b"]" * 200
BAD_JSON = {
    "not JSON": (b"id=q", MALFORMED),
    "a CSV line": (b"q,3,2.5,ok", MALFORMED),
    "a truncated object": (b'{"id": "q", "n": 3', MALFORMED),
    "a truncated text": (b'{"id": "q', MALFORMED),
    "two objects": (b'{"id": "q"} {"id": "r"}', MALFORMED),
    "an array": (b'["q", 3]', MALFORMED),
    "a text": (b'"q"', MALFORMED),
    "null": (b"null", MALFORMED),
    "spaces only": (b"  ", MALFORMED),
    "a trailing comma": (b'{"id": "q",}', MALFORMED),
    "a comment": (b'{"id": "q" /* no */}', MALFORMED),
    "single quotes": (b"{'id': 'q'}", MALFORMED),
    "a name twice": (b'{"id": "q", "id": "r"}', MALFORMED),
    "a name twice, deep inside": (b'{"id": "q", "note": {"a": 1, "a": 2}}', MALFORMED),
    "a literal NaN": (b'{"id": "q", "x": NaN}', MALFORMED),
    "a literal Infinity": (b'{"id": "q", "x": -Infinity}', MALFORMED),
    "a leading zero": (b'{"id": "q", "n": 03}', MALFORMED),
    "a plus sign": (b'{"id": "q", "n": +3}', MALFORMED),
    "hexadecimal": (b'{"id": "q", "n": 0x10}', MALFORMED),
    "a control character": (b'{"id": "q\t"}', MALFORMED),
    "a NUL": (b'{"id": "q\0"}', MALFORMED),
    "not UTF-8": (b'{"id": "\xff"}', [*MALFORMED, *ENCODING]),
    "a text of 3 MB": (b'{"id": "' + b"q" * 3_000_000 + b'"}', MALFORMED),
    "10,000 arrays deep": (b'{"note": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", MALFORMED),
    "100,000 arrays deep": (b'{"id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", MALFORMED),
    "100,000 arrays deep, open": (b'{"note": ' + b"[1," * 100_000 + b"}", MALFORMED),
    "10,000 objects deep": (b'{"a": ' * 10_000 + b"1" + b"}" * 10_000, MALFORMED),
    "1,000 arrays deep": (b'{"id": ' + b"[" * 1_000 + b"]" * 1_000 + b"}", MALFORMED),
    "200 arrays deep": (b'{"id": ' + DEEP + b"}", TYPE),
    "half a surrogate pair": (b'{"id": "\\ud800"}', ENCODING),
    "half a surrogate pair, unknown field": (b'{"id": "q", "note": "\\udc00"}', ENCODING),
    "half a surrogate pair, in a name": (b'{"id": "q", "\\ud800": 1}', ENCODING),
    "a number for a text": (b'{"id": "q", "tags": 3}', TYPE),
    "a text for numbers": (b'{"id": "q", "n": "3", "x": "2.5"}', TYPE * 2),
    "a fraction for an integer": (b'{"id": "q", "n": 3.0}', TYPE),
    "just beyond int64": (b'{"id": "q", "n": 9223372036854775808}', TYPE),
    "beyond 64 bits": (b'{"id": "q", "n": -99999999999999999999}', TYPE),
    "5,000 digits": (
        b'{"id": "q", "n": ' + b"9" * 5_000 + b', "x": ' + b"9" * 5_000 + b"}",
        [*TYPE, *INFINITE],
    ),
    "beyond a double": (b'{"id": "q", "x": 1e999}', INFINITE),
    "a date for an integer": (b'{"id": "q", "n": "2026-10-01"}', TYPE),
    "true for a number": (b'{"id": "q", "x": true}', TYPE),
    "an object for a text": (b'{"id": {"a": 1}}', TYPE),
    "an object for a list": (b'{"id": "q", "tags": {"a": 1}}', TYPE),
    "null inside a list": (b'{"id": "q", "tags": ["a", null]}', TYPE),
    "lists inside a list": (b'{"id": "q", "tags": [["a"]]}', TYPE),
    "two values for one": (b'{"id": "q", "n": [1, 2]}', [Reason.INVALID_VALUE_COUNT]),
    "no value for one": (b'{"id": "q", "n": []}', [Reason.INVALID_VALUE_COUNT]),
    "several reasons": (
        b'{"id": "\\ud800", "n": "3", "x": 1e999, "tags": [1]}',
        [*ENCODING, *TYPE, *INFINITE, *TYPE],
    ),
}

KINDS = [
    *[(".csv", CSV_HEADER, CSV_GOOD, *BAD_CSV[name], f"CSV: {name}") for name in BAD_CSV],
    *[(".jsonl", b"", JSON_GOOD, *BAD_JSON[name], f"JSON: {name}") for name in BAD_JSON],
]


@pytest.mark.parametrize("compressed", ["", ".gz"])
@pytest.mark.parametrize(
    ("suffix", "header", "good", "bad", "reasons"),
    [pytest.param(*kind[:-1], id=kind[-1]) for kind in KINDS],
)
def test_a_bad_record_between_good_ones(
    tmp_path: Path,
    suffix: str,
    header: bytes,
    good: list[bytes],
    bad: bytes,
    reasons: list[Reason],
    compressed: str,
) -> None:
    path = tmp_path / f"ads{suffix}{compressed}"
    write(path, header + b"\n".join([good[0], bad, good[1]]) + b"\n")
    first, broken, second = read_rows(path)
    assert sorted(broken.reasons) == sorted(reasons)
    assert broken.raw == bad
    assert (broken.file, broken.number) == (str(path), 2)
    assert all(broken.details)
    if Reason.MALFORMED_RECORD in reasons:
        assert set(broken.values.values()) == {None}
        assert broken.key is None
    for row, number, raw, values in zip((first, second), (1, 3), good, GOOD_VALUES, strict=True):
        assert row == Row(values, str(values["id"]), str(path), number, raw, [], [])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".csv.gz", ".jsonl.gz"])
@pytest.mark.parametrize("rows_per_batch", [1, 7, 1000])
def test_all_bad_records_in_one_file(tmp_path: Path, suffix: str, rows_per_batch: int) -> None:
    is_csv = suffix.startswith(".csv")
    bad, good = (BAD_CSV, CSV_GOOD) if is_csv else (BAD_JSON, JSON_GOOD)
    lines = [line for record, _ in bad.values() for line in (record, good[0])]
    expected = [reasons for _, found in bad.values() for reasons in (found, [])]
    path = write(
        tmp_path / f"ads{suffix}", (CSV_HEADER if is_csv else b"") + b"\n".join([*lines, b""])
    )
    rows = read_rows(path, rows_per_batch=rows_per_batch)
    assert [row.number for row in rows] == list(range(1, len(lines) + 1))
    assert [row.raw for row in rows] == lines
    assert [sorted(row.reasons) for row in rows] == [sorted(found) for found in expected]
    known = {f.name for f in FEATURES}
    assert all(
        {name: row.values[name] for name in known} == {name: GOOD_VALUES[0][name] for name in known}
        for row in rows[1::2]
    )


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".jsonl"])
@pytest.mark.parametrize("size", [(1 << 20) - 64, 1 << 20, 9 << 20, 17 << 20])
def test_a_record_of_more_than_1_mib_is_malformed(tmp_path: Path, suffix: str, size: int) -> None:
    if suffix == ".jsonl":
        records = [b'{"id": "a"}', b'{"id": "' + b"q" * size + b'"}', b'{"id": "b"}']
        header = b""
    else:
        records, header = [b"a", b"q" * size, b"b"], b"id\n"
    path = write(tmp_path / f"ads{suffix}", header + b"\n".join(records))
    features = (Feature("id", FeatureType.BYTES),)
    rows = read_rows(path, features)
    bad = MALFORMED if len(records[1]) >= 1 << 20 else []
    assert [row.reasons for row in rows] == [[], bad, []]
    assert [row.number for row in rows] == [1, 2, 3]
    assert [row.key for row in rows][::2] == ["a", "b"]
    raw = rows[1].raw
    assert raw is not None
    assert len(raw) >= 64 * 1024
    assert records[1].startswith(raw)


def test_details_name_the_column_the_value_and_what_was_expected(tmp_path: Path) -> None:
    path = write(tmp_path / "ads.csv", CSV_HEADER + b"q,0x10,inf,ok\nr,3\n\xff,1,1,\n")
    assert [row.details for row in read_rows(path)] == [
        ["n: '0x10' is not an INT", "x: 'inf' is not a finite number"],
        ["the record has 2 cells, the header has 4"],
        ["id: byte 0xff is not UTF-8"],
    ]


@pytest.mark.parametrize("name", ["__findings", "__key", "__raw", "__score", "__source_row"])
def test_columns_with_reserved_names_do_not_disturb_ours(tmp_path: Path, name: str) -> None:
    csv = write(tmp_path / "ads.csv", f"id,{name}\na,7\n".encode())
    jsonl = write(tmp_path / "ads.jsonl", f'{{"id": "a", "{name}": 7}}'.encode())
    for path, raw in ((csv, b"a,7"), (jsonl, jsonl.read_bytes())):
        (row,) = read_rows(path)
        assert (row.key, row.number, row.raw, row.reasons) == ("a", 1, raw, [])
        assert list(row.values) == ["id", "n", "x", "tags"]


@pytest.mark.parametrize("key_only", [False, True])
def test_the_key_pass_finds_the_same_rows_and_keys(tmp_path: Path, key_only: bool) -> None:
    for suffix, header, bad, good in (
        (".csv", CSV_HEADER, BAD_CSV, CSV_GOOD),
        (".jsonl", b"", BAD_JSON, JSON_GOOD),
    ):
        lines = [line for record, _ in bad.values() for line in (record, *good)]
        path = write(tmp_path / f"ads{suffix}", header + b"\n".join(lines))
        features = () if key_only else FEATURES
        found = [
            (row.key, row.number)
            for row in read_rows(path, features, rows_per_batch=2, key_only=key_only)
        ]
        whole = [(row.key, row.number) for row in read_rows(path)]
        assert found == whole
