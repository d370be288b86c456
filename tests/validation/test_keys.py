"""Duplicate keys, against pandas' `duplicated(keep="first")`."""

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import beam_jobs.pipelines.coder  # noqa: F401  (registers how batches travel)
from beam_jobs import storage
from beam_jobs.batch import (
    FINDINGS,
    KEY,
    SOURCE_ROW,
    Findings,
    KeyedBatch,
    Reason,
    column_or_none,
    with_findings,
)
from beam_jobs.pipelines.options import pipeline_options
from beam_jobs.read.byte_range import ReadSpec
from beam_jobs.read.inputs import write_inputs
from beam_jobs.read.transforms import BATCHES, ReadRanges, SplitFiles
from beam_jobs.validation.duplicates import (
    DUPLICATES_SCHEMA,
    Duplicates,
    place_of,
    split_places,
    write_duplicates,
)
from beam_jobs.validation.keys import files_with_repeats, find_duplicates, key_table, mark_keys
from beam_jobs.validation.transforms import FindDuplicateKeys, MarkKeys

Keys = Sequence[str | None]


def batch_of(keys: Keys, first_row: int = 1) -> pa.RecordBatch:
    columns = {
        KEY: pa.array(keys, pa.string()),
        SOURCE_ROW: pa.array(np.arange(first_row, first_row + len(keys)), pa.int64()),
    }
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return with_findings(batch, [])


def reasons_of(batch: pa.RecordBatch) -> list[list[str]]:
    found = column_or_none(batch, FINDINGS)
    assert found is not None
    return [[finding["reason"] for finding in row] for row in found.to_pylist()]


def by_pandas(files: Sequence[Keys]) -> pd.DataFrame:
    """A row for each record, in the order of files and rows: its place and its reasons."""
    frame = pd.DataFrame(
        [
            (file_index, row, key)
            for file_index, keys in enumerate(files)
            for row, key in enumerate(keys, start=1)
        ],
        columns=["file_index", "source_row", "key"],
    )
    later = frame.key.duplicated(keep="first") & frame.key.notna()
    frame["reasons"] = [
        ["MISSING_KEY"] if key is None else ["DUPLICATE_KEY"] if is_later else []
        for key, is_later in zip(frame.key, later, strict=True)
    ]
    return frame


def duplicates_in(paths: Sequence[str], folder: str) -> Duplicates:
    """Of key files, as the pipeline keeps them."""
    uri = f"{folder}/duplicates-{uuid.uuid4().hex}.parquet"
    return write_duplicates(uri, find_duplicates(paths, folder))


def ours(files: Sequence[Keys], folder: str, batch_rows: int) -> tuple[Duplicates, list[list[str]]]:
    """(the duplicates, reasons of each record); key files in reverse, as workers may end."""
    paths: list[str] = []
    batches: list[tuple[int, pa.RecordBatch]] = []
    for file_index, keys in enumerate(files):
        for start in range(0, len(keys), batch_rows):
            batch = batch_of(keys[start : start + batch_rows], start + 1)
            batches.append((file_index, batch))
            paths.append(f"{folder}/{len(paths)}.parquet")
            pq.write_table(key_table(batch, file_index), paths[-1])
    duplicates = duplicates_in(paths[::-1], folder)
    names = [f"{index}.csv" for index in range(len(files))]
    marked = [mark_keys(batch, "id", index, duplicates, names) for index, batch in batches]
    return duplicates, [reasons for batch in marked for reasons in reasons_of(batch)]


KEYS = st.none() | st.sampled_from(["a", "b", "A", " a", "", "1", "01", "zw\u00f6lf", "'; --"])


@given(
    st.lists(st.lists(KEYS | st.integers(0, 30).map(str), max_size=20), max_size=5),
    st.integers(1, 7),
)
@settings(max_examples=60)
def test_duplicates_are_those_of_pandas(files: list[list[str | None]], batch_rows: int) -> None:
    with TemporaryDirectory(prefix="it's-") as folder:
        duplicates, reasons = ours(files, folder, batch_rows)
        found = pq.read_table(duplicates.uri)
    expected = by_pandas(files)
    assert reasons == expected.reasons.tolist()
    present = expected[expected.key.notna()]
    firsts = present.drop_duplicates("key").set_index("key")
    later = present[present.key.duplicated(keep="first")]
    assert found.schema == DUPLICATES_SCHEMA
    assert duplicates.rows == len(later)
    places, first = (split_places(found.column(name).to_numpy()) for name in found.column_names)
    assert list(zip(*places, strict=True)) == list(
        zip(later.file_index, later.source_row, strict=True)
    )
    named = firsts.loc[later.key]
    assert list(zip(*first, strict=True)) == list(
        zip(named.file_index, named.source_row, strict=True)
    )


@pytest.mark.parametrize(
    "kind", ["all equal", "all different", "all null", "each twice, far apart"]
)
def test_many_keys(tmp_path: Path, kind: str) -> None:
    rows = 50_000
    order = np.random.default_rng(1).permutation(rows)
    keys: dict[str, Keys] = {
        "all equal": ["a"] * rows,
        "all different": [f"k{n}" for n in order],
        "all null": [None] * rows,
        "each twice, far apart": [f"k{n % (rows // 2)}" for n in order],
    }
    parts = [keys[kind][: rows // 3], [], keys[kind][rows // 3 :]]
    duplicates, reasons = ours(parts, str(tmp_path), 20_000)
    assert reasons == by_pandas(parts).reasons.tolist()
    later = {"all equal": rows - 1, "each twice, far apart": rows // 2}
    assert duplicates.rows == later.get(kind, 0)


def test_no_key_files_are_no_duplicates(tmp_path: Path) -> None:
    found = duplicates_in([], str(tmp_path))
    assert found.rows == 0
    assert [len(part) for part in found.among(np.array([1, 2]))] == [0, 0]
    assert files_with_repeats([], str(tmp_path)) == set()


def test_details_name_the_first_record(tmp_path: Path) -> None:
    later, first = (
        place_of(np.array([1, 1]), np.array([1, 3])),
        place_of(np.array([0, 1]), np.array([3, 1])),
    )
    table = pa.RecordBatch.from_arrays([pa.array(later), pa.array(first)], schema=DUPLICATES_SCHEMA)
    duplicates = write_duplicates(str(tmp_path / "duplicates.parquet"), [table])
    batch = mark_keys(batch_of(["a", None, "b", "c"]), "id", 1, duplicates, ["x.csv", "y.csv"])
    found = column_or_none(batch, FINDINGS)
    assert found is not None
    told = [
        [f"{finding['feature']}: {finding['detail']}" for finding in row]
        for row in found.to_pylist()
    ]
    assert told == [
        ["id: 'a' was first seen in x.csv row 3"], ["id: the key is missing"],
        ["id: 'b' was first seen in y.csv row 1"], [],
    ]  # fmt: skip


def test_a_malformed_record_has_no_key_to_miss() -> None:
    broken = Findings(Reason.MALFORMED_RECORD, np.array([0]), ["the record has 2 cells"])
    batch = with_findings(batch_of([None, None]), [broken])
    marked = mark_keys(batch, "id", 0, Duplicates("none", 0), ["x.csv"])
    assert reasons_of(marked) == [["MALFORMED_RECORD"], ["MISSING_KEY"]]


@pytest.mark.parametrize("repeat", ["1", "2"])
def test_the_pipeline_marks_every_later_record(tmp_path: Path, repeat: str) -> None:
    """Files whose names sort otherwise than the plan's order; each bundle once, and repeated."""
    random = np.random.default_rng(2)
    files: list[Keys] = [
        [None if n < 20 else f"k{n}" for n in random.integers(0, 1000, rows)]
        for rows in (700, 1, 0, 400)
    ]
    infos = []
    for keys, name in zip(files, ("d.csv", "c.csv", "b.csv", "a.parquet"), strict=True):
        path = tmp_path / name
        if path.suffix == ".csv":
            path.write_text("x,id\n" + "".join(f"1,{key or ''}\n" for key in keys))
        else:
            pq.write_table(pa.table({"id": pa.array(keys), "x": [1] * len(keys)}), path)
        infos += storage.match(str(path))
    out = tmp_path / "out"
    out.mkdir()

    def write(element: KeyedBatch) -> None:
        (file_index, byte_range, number), batch = element
        rows = column_or_none(batch, SOURCE_ROW)
        table = pa.table(
            [[file_index] * batch.num_rows, rows, reasons_of(batch)],
            names=["file_index", "source_row", "reasons"],
        )
        pq.write_table(table, out / f"{file_index}-{byte_range}-{number}-{os.getpid()}.parquet")

    options = pipeline_options([f"--direct_runner_bundle_repeat={repeat}"])
    with beam.Pipeline(options=options) as pipeline:
        inputs = write_inputs(str(tmp_path / "inputs.json"), infos)
        byte_ranges = pipeline | SplitFiles(inputs)
        duplicates = byte_ranges | FindDuplicateKeys("id", inputs, str(tmp_path / "keys"))
        read = byte_ranges | beam.Reshuffle() | ReadRanges(ReadSpec((), "id"))
        _ = read[BATCHES] | MarkKeys("id", inputs, duplicates) | beam.Map(write)
    found = pd.concat([pd.read_parquet(path) for path in out.iterdir()])
    found = found.sort_values(["file_index", "source_row"])
    expected = by_pandas(files)
    assert found.source_row.tolist() == expected.source_row.tolist()
    assert [list(reasons) for reasons in found.reasons] == expected.reasons.tolist()


@given(st.lists(st.lists(KEYS, max_size=8), max_size=6))
@settings(max_examples=40)
def test_files_with_repeats_are_those_of_pandas(files: list[list[str | None]]) -> None:
    with TemporaryDirectory() as folder:
        paths = [f"{folder}/{index}.parquet" for index in range(len(files))]
        for index, keys in enumerate(files):
            pq.write_table(key_table(batch_of(keys), index), paths[index])
        found = files_with_repeats(paths, folder)
    frame = by_pandas(files)
    repeated = frame[frame.key.notna() & frame.key.duplicated(keep=False)]
    assert found == set(repeated.file_index)


@given(
    st.sets(st.integers(1, 400), max_size=60),
    st.integers(1, 9),
    st.lists(st.integers(1, 400), max_size=40),
)
@settings(max_examples=60)
def test_duplicates_are_found_in_whatever_row_groups_they_stand(
    later: set[int], group_rows: int, asked: list[int]
) -> None:
    places = pa.array(sorted(later), pa.int64())
    table = pa.table([places, pa.array([-n for n in sorted(later)], pa.int64())],
                     schema=DUPLICATES_SCHEMA)  # fmt: skip
    with TemporaryDirectory() as folder:
        duplicates = write_duplicates(
            f"{folder}/{uuid.uuid4().hex}.parquet", table.to_batches(max_chunksize=group_rows)
        )
        indices, firsts = duplicates.among(np.array(asked, np.int64))
    expected = [(index, -place) for index, place in enumerate(asked) if place in later]
    assert sorted(zip(indices.tolist(), firsts.tolist(), strict=True)) == expected


def test_row_groups_are_few_and_each_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marking every batch costs its own duplicates, not all of them."""
    rows, batch_rows = 300_000, 30_000
    path = str(tmp_path / "keys.parquet")
    keys = batch_of([str(n % 10) for n in range(rows)])
    pq.write_table(key_table(keys, 0), path)
    found = duplicates_in([path], str(tmp_path))
    assert found.rows == rows - 10
    groups: list[int] = []
    whole = pq.ParquetFile.read_row_group

    def counted(file: pq.ParquetFile, group: int) -> pa.Table:
        groups.append(group)
        return whole(file, group)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    for start in range(0, rows, batch_rows):
        found.among(np.arange(start + 1, start + batch_rows + 1))
    assert len(groups) == len(set(groups)) == pq.read_metadata(found.uri).num_row_groups
    sizes = [pq.read_metadata(found.uri).row_group(group).num_rows for group in groups]
    assert max(sizes) <= 65_536


def test_a_path_of_keys_is_no_pattern(tmp_path: Path) -> None:
    """Beside the odd folder lies one that its name would match, with the same keys."""
    names = ["k[1]", "k1", "k?*'", "kxy'", "file_index=7"]
    for name in names:
        (tmp_path / name).mkdir()
        pq.write_table(key_table(batch_of(["a", name]), 0), tmp_path / name / "keys.parquet")
    for name in names:
        paths = [f"{tmp_path}/{name}/keys.parquet"]
        assert list(find_duplicates(paths, str(tmp_path))) == []
        assert files_with_repeats(paths, str(tmp_path)) == set()
        assert files_with_repeats(paths * 2, str(tmp_path)) == {0}
