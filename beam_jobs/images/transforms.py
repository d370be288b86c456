"""The Beam side of images."""

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam

from beam_jobs.batch import ROWS_PER_BATCH, KeyedBatch
from beam_jobs.images.fetch import ImageReader
from beam_jobs.images.join import add_images
from beam_jobs.images.spec import ImageSpec


@dataclass(eq=False)
class AddImages(beam.PTransform[beam.PCollection[KeyedBatch], beam.PCollection[KeyedBatch]]):
    """Looks at the images that rows name; nothing where there is no spec.

    In and out: PCollection[KeyedBatch]. A batch may become several, whose numbers follow from the
    batch's and their first row's, so that they are the same whenever a bundle is repeated.

    Attributes:
        spec: of the plan.

    Raises:
        InputError: storage is down, or forbids to read.
    """

    spec: ImageSpec | None

    def expand(self, batches: beam.PCollection[KeyedBatch]) -> beam.PCollection[KeyedBatch]:
        """One step; nothing where rows have no images."""
        if self.spec is None:
            return batches
        found: beam.PCollection[KeyedBatch] = batches | "Add images" >> beam.ParDo(
            _AddImages(self.spec)
        )
        return found


class _AddImages(beam.DoFn):
    """Keeps its threads, and results for the next batches, from bundle to bundle."""

    def __init__(self, spec: ImageSpec) -> None:
        self.spec = spec
        self.reader: ImageReader | None = None

    def setup(self) -> None:
        self.reader = ImageReader(self.spec)

    def process(self, element: KeyedBatch) -> Iterator[KeyedBatch]:
        assert self.reader is not None
        key, batch = element
        for first_row, part in add_images(batch, self.reader):
            yield key._replace(batch=key.batch * ROWS_PER_BATCH + first_row), part

    def teardown(self) -> None:
        if self.reader is not None:
            self.reader.close()
