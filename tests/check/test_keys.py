"""Duplicate keys, against pandas' `duplicated(keep="first")`."""

import os
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
from beam_jobs import records, storage
from beam_jobs.check.keys import KEY_SCHEMA, find_duplicates, key_table, mark_keys
from beam_jobs.check.transforms import FindDuplicateKeys, MarkKeys
from beam_jobs.pipelines.options import pipeline_options
from beam_jobs.read.span import ReadSpec
from beam_jobs.read.transforms import BATCHES, ReadSpans, SplitFiles
from beam_jobs.records import Findings, Reason

Keys = Sequence[str | None]


def batch_of(keys: Keys, first_row: int = 1) -> pa.RecordBatch:
    columns = {
        records.KEY: pa.array(keys, pa.string()),
        records.SOURCE_ROW: pa.array(np.arange(first_row, first_row + len(keys)), pa.int64()),
    }
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return records.with_findings(batch, [])


def reasons_of(batch: pa.RecordBatch) -> list[list[str]]:
    found = records.column_or_none(batch, records.FINDINGS)
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


def ours(files: Sequence[Keys], folder: str, batch_rows: int) -> tuple[pa.Table, list[list[str]]]:
    """(the duplicates, reasons of each record); key files in reverse, as workers may end."""
    paths, batches = [], []
    for file_index, keys in enumerate(files):
        for start in range(0, len(keys), batch_rows):
            batch = batch_of(keys[start : start + batch_rows], start + 1)
            batches.append((file_index, batch))
            paths.append(f"{folder}/{len(paths)}.parquet")
            pq.write_table(key_table(batch, file_index), paths[-1])
    duplicates = find_duplicates(paths[::-1], folder)
    names = [f"{index}.csv" for index in range(len(files))]
    marked = [mark_keys(batch, "id", index, duplicates, names) for index, batch in batches]
    return duplicates, [reasons for batch in marked for reasons in reasons_of(batch)]


KEY = st.none() | st.sampled_from(["a", "b", "A", " a", "", "1", "01", "zw\u00f6lf", "'; --"])


@given(
    st.lists(st.lists(KEY | st.integers(0, 30).map(str), max_size=20), max_size=5),
    st.integers(1, 7),
)
@settings(max_examples=60)
def test_duplicates_are_those_of_pandas(files: list[list[str | None]], batch_rows: int) -> None:
    with TemporaryDirectory(prefix="it's-") as folder:
        duplicates, reasons = ours(files, folder, batch_rows)
    expected = by_pandas(files)
    assert reasons == expected.reasons.tolist()
    present = expected[expected.key.notna()]
    firsts = present[present.key.duplicated(keep=False)].drop_duplicates("key")
    assert duplicates.schema == KEY_SCHEMA
    found = duplicates.to_pandas().sort_values(["file_index", "source_row"])
    assert found.values.tolist() == firsts[found.columns].values.tolist()


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
    assert duplicates.num_rows == {"all equal": 1, "each twice, far apart": rows // 2}.get(kind, 0)


def test_no_key_files_are_no_duplicates(tmp_path: Path) -> None:
    assert find_duplicates([], str(tmp_path)) == KEY_SCHEMA.empty_table()


def test_details_name_the_first_record() -> None:
    duplicates = pa.table([["a", "b"], [0, 1], [3, 1]], schema=KEY_SCHEMA)
    batch = mark_keys(batch_of(["a", None, "b", "c"]), "id", 1, duplicates, ["x.csv", "y.csv"])
    found = records.column_or_none(batch, records.FINDINGS)
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
    batch = records.with_findings(batch_of([None, None]), [broken])
    marked = mark_keys(batch, "id", 0, KEY_SCHEMA.empty_table(), ["x.csv"])
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

    def write(element: records.Located) -> None:
        file_index, span, number, batch = element
        rows = records.column_or_none(batch, records.SOURCE_ROW)
        table = pa.table(
            [[file_index] * batch.num_rows, rows, reasons_of(batch)],
            names=["file_index", "source_row", "reasons"],
        )
        pq.write_table(table, out / f"{file_index}-{span}-{number}-{os.getpid()}.parquet")

    options = pipeline_options([f"--direct_runner_bundle_repeat={repeat}"])
    with beam.Pipeline(options=options) as pipeline:
        spans = pipeline | SplitFiles(infos)
        uris = [info.uri for info in infos]
        duplicates = spans | FindDuplicateKeys("id", uris, str(tmp_path / "keys"))
        read = spans | beam.Reshuffle() | ReadSpans(ReadSpec((), "id"))
        _ = read[BATCHES] | MarkKeys("id", uris, duplicates) | beam.Map(write)
    found = pd.concat([pd.read_parquet(path) for path in out.iterdir()])
    found = found.sort_values(["file_index", "source_row"])
    expected = by_pandas(files)
    assert found.source_row.tolist() == expected.source_row.tolist()
    assert [list(reasons) for reasons in found.reasons] == expected.reasons.tolist()


def test_a_path_of_keys_is_no_pattern(tmp_path):
    """Beside the odd folder lies one that its name would match, with the same keys."""
    names = ["k[1]", "k1", "k?*'", "kxy'", "file_index=7"]
    for name in names:
        (tmp_path / name).mkdir()
        pq.write_table(key_table(batch_of(["a", name]), 0), tmp_path / name / "keys.parquet")
    for name in names:
        paths = [f"{tmp_path}/{name}/keys.parquet"]
        assert find_duplicates(paths, str(tmp_path)).num_rows == 0
        twice = find_duplicates(paths * 2, str(tmp_path))
        assert sorted(twice.column("key").to_pylist()) == sorted(["a", name])
        assert set(twice.column("file_index").to_pylist()) == {0}
