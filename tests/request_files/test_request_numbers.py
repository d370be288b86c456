"""Ids of requests are exact, and numbers that nothing holds are shown as they were written."""

import dataclasses
from pathlib import Path

import pytest

from beam_jobs.batch import Reason
from support.request_lines import SPEC, read_lines

R = Reason
LONG = "7" * 5_000


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"id": 18446744073709551615}', [("18446744073709551615", "")]),
        ('{"id": 18446744073709551616}', [("18446744073709551616", "")]),
        ('{"id": -9223372036854775809}', [("-9223372036854775809", "")]),
        ('{"id": 9007199254740993, "bid": 0.5}', [("9007199254740993", "")]),
        ('{"instance": {"bid": 1}, "key": 99999999999999999999}', [("99999999999999999999", "")]),
        ('{"id": 1e309}', [(None, "id: 1e309 is neither text nor an INT")]),
        (f'{{"id": {LONG}}}', [(None, f"id: {LONG[:77]}... is neither text nor an INT")]),
        ('{"id": "a", "bid": 1E400}', [("a", "bid: 1E400 is not a finite number")]),
        ('{"id": "a", "bid": -1e309}', [("a", "bid: -1e309 is not a finite number")]),
        (f'{{"id": "a", "bid": {LONG}}}', [("a", f"bid: {LONG[:77]}... is not a finite number")]),
        (
            '{"instances": [{"id": 18446744073709551617, "bid": 1e309}, {"id": 3}]}',
            [("18446744073709551617", "bid: 1e309 is not a finite number"), ("3", "")],
        ),
        (
            '{"inputs": {"id": [18446744073709551617, 4], "bid": [0.5, 1e309]}}',
            [("18446744073709551617", ""), ("4", "bid: 1e309 is not a finite number")],
        ),
    ],
)
def test_alone_and_beside_others(
    tmp_path: Path, line: str, expected: list[tuple[str | None, str]]
) -> None:
    for before, after in ((), ()), ((b'{"id": "x", "bid": 1}',), (b'{"id": 5, "bid": 2.5}',)):
        rows = read_lines(tmp_path, [*before, line.encode(), *after])
        found = rows[len(before) : len(rows) - len(after)]
        assert [(row.key, "".join(row.details)) for row in found] == expected


@pytest.mark.parametrize("number", ["7", "18446744073709551616", "1.50", "1e309", LONG])
def test_the_text_feature_that_is_the_key_takes_numbers_as_written(
    tmp_path: Path, number: str
) -> None:
    spec = dataclasses.replace(SPEC, key="device")
    line = f'{{"id": "a", "device": {number}}}'.encode()
    (row,) = read_lines(tmp_path, [line], spec)
    assert (row.key, row.values["device"], row.details) == ("a", number, ())
    (other,) = read_lines(tmp_path, [line])
    assert other.values["device"] is None
    assert other.reasons == {R.INVALID_TYPE}


@pytest.mark.parametrize(
    "name", ["__key", "__score", "__findings", "score", "model_score", "flags", "image_width"]
)
def test_a_member_with_a_name_of_ours_is_a_stranger_like_any_other(
    tmp_path: Path, name: str
) -> None:
    (row,) = read_lines(tmp_path, [f'{{"id": "a", "{name}": 1}}'.encode()])
    assert row.reasons == {R.MALFORMED_RECORD}
    assert row.details[0].startswith(f"the schema has no feature {name!r}")
