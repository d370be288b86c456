"""Which losses the byte ranges that were read give away."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.errors import AuditError
from beam_jobs.read.coverage import RangeRows, exactly_one, rows_of_files

FILES = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=4)
"""Rows of the byte ranges of each file."""


def reads_of(files: list[list[int]]) -> list[RangeRows]:
    return [
        RangeRows(index, 1 + sum(byte_ranges[:place]), rows, is_last=place == len(byte_ranges) - 1)
        for index, byte_ranges in enumerate(files)
        for place, rows in enumerate(byte_ranges)
    ]


def uris(files: list[list[int]]) -> list[str]:
    return [f"{index}.csv" for index in range(len(files))]


@given(files=FILES, seed=st.integers(0, 99))
def test_byte_ranges_in_any_order_give_each_files_rows(files: list[list[int]], seed: int) -> None:
    reads = reads_of(files)
    random.Random(seed).shuffle(reads)
    assert rows_of_files(reads, uris(files)) == [sum(byte_ranges) for byte_ranges in files]


@given(files=FILES, data=st.data())
def test_a_byte_range_that_is_dropped_or_duplicated_is_found(
    files: list[list[int]], data: st.DataObject
) -> None:
    reads = reads_of(files)
    place = data.draw(st.integers(0, len(reads) - 1))
    byte_range = reads[place]
    if byte_range.rows or byte_range.is_last:  # nothing is lost with an empty one
        with pytest.raises(AuditError, match=rf"^{byte_range.file_index}\.csv: was read to row"):
            rows_of_files(reads[:place] + reads[place + 1 :], uris(files))
        with pytest.raises(AuditError, match=rf"^{byte_range.file_index}\.csv: was read to row"):
            rows_of_files([*reads, byte_range], uris(files))


@pytest.mark.parametrize("found", [[], [1, 1]])
def test_one_element_must_be_one(found: list[int]) -> None:
    with pytest.raises(AuditError, match=f"statistics: {len(found)} arrived where one must"):
        exactly_one(found, "statistics")
    assert exactly_one([7], "statistics") == 7
