"""The monthly job on one screen: read, check, score, measure, publish.

Rows never shuffle: from a span of a file to its Parquet parts they stay in one fused stage. What
is grouped is small: spans, counts, names of parts, statistics, keys that occur twice.
"""

import apache_beam as beam
from apache_beam.pvalue import AsList, AsSingleton

from beam_jobs.check.transforms import CheckRows, FindDuplicateKeys, MarkKeys
from beam_jobs.check.statistics import ComputeStatistics
from beam_jobs.pipelines.conclude import Conclude
from beam_jobs.pipelines.counter import CountRows, RowCounter
from beam_jobs.plan import Plan
from beam_jobs.publish.transforms import COUNTS, PARTS, WriteParts
from beam_jobs.read.spans import ReadSpec
from beam_jobs.read.transforms import ReadSpans, SplitFiles
from beam_jobs.score.handler import Score


def build(pipeline: beam.Pipeline, plan: Plan, counter: RowCounter | None = None) -> None:
    """Adds the job to a pipeline.

    Args:
        pipeline: for any runner.
        plan: what to read, compare and write.
        counter: told of rows for a progress bar, where workers share a disk with the launcher.
    """
    spec = ReadSpec(plan.features, plan.data.key)
    spans = pipeline | SplitFiles(plan.inputs)
    duplicates = spans | FindDuplicateKeys(plan)
    scored = (
        spans
        | ReadSpans(spec)
        | MarkKeys(plan, duplicates)
        | CheckRows(plan.schema)
        | Score(plan.model, plan.data, plan.schema, plan.policy.actions)
        | "Count rows" >> beam.ParDo(CountRows(counter))
    )
    written = scored | WriteParts(plan.run_folder, plan.identity, plan.features, plan.policy.actions)
    statistics = scored | ComputeStatistics(plan.schema, plan.data.slice)
    _ = pipeline | Conclude(
        plan, AsList(written[PARTS]), AsList(written[COUNTS]), AsSingleton(statistics)
    )
