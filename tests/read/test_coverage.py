"""Which losses the spans that were read give away."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.errors import AuditError
from beam_jobs.read.coverage import SpanRows, only, rows_of_files

FILES = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=4)
"""Rows of the spans of each file."""


def reads_of(files: list[list[int]]) -> list[SpanRows]:
    return [
        SpanRows(index, 1 + sum(spans[:place]), rows, is_last=place == len(spans) - 1)
        for index, spans in enumerate(files)
        for place, rows in enumerate(spans)
    ]


def uris(files: list[list[int]]) -> list[str]:
    return [f"{index}.csv" for index in range(len(files))]


@given(files=FILES, seed=st.integers(0, 99))
def test_spans_in_any_order_give_each_files_rows(files: list[list[int]], seed: int) -> None:
    reads = reads_of(files)
    random.Random(seed).shuffle(reads)
    assert rows_of_files(reads, uris(files)) == [sum(spans) for spans in files]


@given(files=FILES, data=st.data())
def test_a_span_that_is_lost_or_doubled_is_found(
    files: list[list[int]], data: st.DataObject
) -> None:
    reads = reads_of(files)
    place = data.draw(st.integers(0, len(reads) - 1))
    span = reads[place]
    if span.rows or span.is_last:  # nothing is lost with an empty one
        with pytest.raises(AuditError, match=rf"^{span.file_index}\.csv: was read to row"):
            rows_of_files(reads[:place] + reads[place + 1 :], uris(files))
        with pytest.raises(AuditError, match=rf"^{span.file_index}\.csv: was read to row"):
            rows_of_files([*reads, span], uris(files))


@pytest.mark.parametrize("found", [[], [1, 1]])
def test_one_element_must_be_one(found: list[int]) -> None:
    with pytest.raises(AuditError, match=f"statistics: {len(found)} arrived where one must"):
        only(found, "statistics")
    assert only([7], "statistics") == 7
