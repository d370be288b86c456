"""The stage in a pipeline: parts of a batch have numbers of their own, the same each time."""

from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

import beam_jobs.pipelines.coder  # noqa: F401  (registers how batches travel)
from beam_jobs.batch import ROWS_PER_BATCH, BatchKey
from beam_jobs.images import join
from beam_jobs.images.transforms import AddImages
from beam_jobs.pipelines.options import pipeline_options
from support.banners import banner, encode
from support.image_batches import batch_of, spec_of, write


@pytest.mark.parametrize("argv", [[], ["--direct_runner_bundle_repeat=1"]])
def test_parts_are_numbered_by_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    data = encode(banner())
    write(tmp_path, {f"{n}.jpg": data for n in range(10)})
    monkeypatch.setattr(join, "PART_BYTES", 2 * len(data))
    names = [f"{n}.jpg" for n in range(10)]
    elements = [
        (BatchKey(file, byte_range, number), batch_of(names[number:]))
        for file in (0, 1)
        for byte_range in (0, 3)
        for number in (0, 1)
    ]
    expected = [
        (file, byte_range, number * ROWS_PER_BATCH + row, min(2, 10 - number - row))
        for (file, byte_range, number), _ in elements
        for row in range(0, 10 - number, 2)
    ]
    with beam.Pipeline(options=pipeline_options(argv)) as pipeline:
        found = (
            pipeline
            | beam.Create(elements)
            | AddImages(spec_of(tmp_path, keeps_bytes=True))
            | beam.Map(lambda element: (*element[0], element[1].num_rows))
        )
        assert_that(found, equal_to(expected))


def test_without_images_nothing_is_added() -> None:
    pipeline = beam.Pipeline(options=pipeline_options([]))
    rows = pipeline | beam.Create([(BatchKey(0, 0, 0), batch_of(["a.jpg"]))])
    assert (rows | AddImages(None)) is rows
