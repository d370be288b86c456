"""The writing transform in a pipeline, with bundles that are repeated."""

import hashlib
import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.batch import DEFAULT_ACTIONS, BatchKey
from beam_jobs.publish.transforms import COUNTS, PARTS, WriteParts
from beam_jobs.runs.parts import PartTable
from beam_jobs.runs.run_row import RunIdentity
from support.publishing import FEATURES, OCTOBER, scored_batch

RUN = RunIdentity("r1", "monthly", OCTOBER, "7")
RANGES = [(index, byte_range) for index in range(2) for byte_range in range(3)]


def _batches(byte_range: tuple[int, int]) -> Iterator[Any]:
    for number in range(4):
        first = 1 + byte_range[1] * 80 + number * 20
        batch = scored_batch(first, 20, f"{byte_range[0]}.csv", [first + 3])
        yield BatchKey(*byte_range, number), batch


class _Dump(beam.DoFn):
    def process(self, element: Any, path: Any) -> None:
        Path(path, hashlib.sha256(pickle.dumps(element)).hexdigest()).write_bytes(
            pickle.dumps(element)
        )


def _run(folder: Path, out: Path, *flags: str) -> Any:
    out.mkdir()
    options = PipelineOptions(["--runner=apache_beam.runners.direct.DirectRunner", *flags])
    with beam.Pipeline(options=options) as pipeline:
        written = (
            pipeline
            | beam.Create(RANGES)
            | beam.FlatMap(_batches)
            | WriteParts(str(folder), RUN, FEATURES, DEFAULT_ACTIONS)
        )
        both = (written[PARTS], written[COUNTS] | beam.Map(lambda counts: counts))
        _ = both | beam.Flatten() | beam.ParDo(_Dump(), str(out))  # type: ignore[no-untyped-call]  # DoFn has no types
    return [pickle.loads(path.read_bytes()) for path in out.iterdir()]


def _content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_rows_are_written_once_and_repeated_bundles_give_the_same_files(tmp_path: Path) -> None:
    once = _run(tmp_path / "once", tmp_path / "o1")
    twice = _run(tmp_path / "twice", tmp_path / "o2", "--direct_runner_bundle_repeat=2")
    assert _content(tmp_path / "once") == _content(tmp_path / "twice")
    parts = [element for element in once if hasattr(element, "uri")]
    assert {Path(part.uri).name for part in parts} == {
        Path(element.uri).name for element in twice if hasattr(element, "uri")
    }
    rows: Counter[tuple[PartTable, str, int]] = Counter()
    for part in parts:
        table = pq.read_table(part.uri)
        assert table.num_rows == part.rows
        for file, row in zip(
            table["source_file"].to_pylist(), table["source_row"].to_pylist(), strict=True
        ):
            rows[part.table, file, row] += 1
    assert len(rows) == sum(rows.values()) == 480
    assert sum(n for (table, *_), n in rows.items() if table is PartTable.QUARANTINE) == 24
    counts = [element for element in once if not hasattr(element, "uri")]
    assert sum(count.read for count in counts) == 480
    assert sum(count.quarantined for count in counts) == 24
