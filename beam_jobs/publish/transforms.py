"""The Beam side of writing: scored batches in, parts and counts out."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from beam_jobs.batch import Actions, KeyedBatch
from beam_jobs.publish.part_writer import RangeWriter
from beam_jobs.runs.parts import Part
from beam_jobs.runs.run_row import RunIdentity
from beam_jobs.schema import Feature

PARTS = "parts"
COUNTS = "counts"


class WriteParts(beam.PTransform[beam.PCollection[KeyedBatch], dict[str, beam.PCollection[Any]]]):
    """Writes every row to the run folder's `scores/` or `quarantine/`.

    In: PCollection[KeyedBatch], scored.
    Out: a dict of PCollections: `PARTS` holds `Part`, one a finished file; `COUNTS` holds
    `SourceCounts`, one an input file and bundle, to be added up a file.

    File names follow from the elements alone, so a repeated bundle overwrites its own files. Parts
    of an attempt that failed are in no `Part` and are removed by `RunFolder.sweep`.

    Raises:
        RunError: the run folder cannot be written.
    """

    def __init__(
        self,
        folder: str,
        run: RunIdentity,
        features: Sequence[Feature],
        actions: Actions,
        computed: Collection[str] = (),
    ) -> None:
        """Args: `computed` names features that are not of the records."""
        super().__init__()
        self._arguments = (folder, run, tuple(features), dict(actions), frozenset(computed))

    def expand(self, batches: beam.PCollection[KeyedBatch]) -> dict[str, beam.PCollection[Any]]:
        """Two outputs of one step, which keeps a part of each table open."""
        written = batches | "Write" >> beam.ParDo(_WriteParts(*self._arguments)).with_outputs(
            COUNTS, main=PARTS
        )
        return {PARTS: written[PARTS], COUNTS: written[COUNTS]}


class _WriteParts(beam.DoFn):
    """Keeps one part of each table open through a bundle; memory holds one batch."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments
        self._writer: RangeWriter | None = None

    def start_bundle(self) -> None:
        self.teardown()
        self._writer = RangeWriter(*self._arguments)

    def process(self, element: KeyedBatch) -> Iterator[Part]:
        assert self._writer is not None
        yield from self._writer.write(*element)

    def finish_bundle(self) -> Iterator[Any]:
        assert self._writer is not None
        for part in self._writer.close():
            yield GlobalWindows.windowed_value_at_end_of_window(part)
        for counts in self._writer.counts.values():
            yield beam.pvalue.TaggedOutput(
                COUNTS, GlobalWindows.windowed_value_at_end_of_window(counts)
            )

    def teardown(self) -> None:
        # A bundle that failed never reaches finish_bundle.
        if self._writer is not None:
            self._writer.abort()
