"""The monthly job on one screen: read, check, score, measure, publish.

Rows never shuffle: from a byte range of a file to its Parquet parts they stay in one fused stage.
What
is grouped is small: byte ranges, counts, names of parts, statistics, keys that occur twice.
"""

import apache_beam as beam
from apache_beam.pvalue import AsList

import beam_jobs.pipelines.coder  # noqa: F401  (registers how batches travel)
from beam_jobs.batch import KeyedBatch
from beam_jobs.images.transforms import AddImages
from beam_jobs.pipelines.counter import CountRows, RowCounter
from beam_jobs.pipelines.finalize import Finalize
from beam_jobs.plan import Plan
from beam_jobs.publish.transforms import COUNTS, PARTS, WriteParts
from beam_jobs.read.byte_range import ByteRange, ReadSpec
from beam_jobs.read.transforms import BATCHES, ROWS, ReadRanges, SplitFiles
from beam_jobs.runs.folder import RunFolder
from beam_jobs.score.transforms import Score
from beam_jobs.statistics.transforms import ComputeStatistics
from beam_jobs.validation.transforms import CheckRows, FindDuplicateKeys, MarkKeys


def build(pipeline: beam.Pipeline, plan: Plan, counter: RowCounter | None = None) -> None:
    """Adds the job to a pipeline.

    Args:
        pipeline: for any runner.
        plan: what to read, compare and write.
        counter: gets rows for a progress bar, where workers share a disk with the launcher.
    """
    byte_ranges = pipeline | SplitFiles(plan.input_list)
    # Without this the reader would share a stage with what finds duplicate keys, whose result it
    # waits for: the runner would then have to store all rows in between.
    apart = byte_ranges | "Spread byte ranges again" >> beam.Reshuffle()
    read = apart | ReadRanges(ReadSpec(plan.read_features, plan.data.key))
    scored = (
        _mark_keys(byte_ranges, read[BATCHES], plan)
        | AddImages(plan.images)
        | CheckRows(plan.schema)
        | Score(plan.model, plan.binding, plan.policy.actions)
        | "Count rows" >> beam.ParDo(CountRows(counter))
    )
    written = scored | WriteParts(
        plan.run_folder, plan.identity, plan.features, plan.policy.actions, plan.computed
    )
    statistics = scored | ComputeStatistics(plan.schema, plan.data.slice)
    _ = pipeline | Finalize(
        plan,
        parts=AsList(written[PARTS]),
        counts=AsList(written[COUNTS]),
        reads=AsList(read[ROWS]),
        statistics=AsList(statistics),
        counter=counter,
    )


def _mark_keys(
    byte_ranges: beam.PCollection[ByteRange], read: beam.PCollection[KeyedBatch], plan: Plan
) -> beam.PCollection[KeyedBatch]:
    if plan.data.key is None:
        return read
    folder = RunFolder(plan.run_folder).keys
    duplicates = byte_ranges | FindDuplicateKeys(plan.data.key, plan.input_list, folder)
    marked: beam.PCollection[KeyedBatch] = read | MarkKeys(
        plan.data.key, plan.input_list, duplicates
    )
    return marked
