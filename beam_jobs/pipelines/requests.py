"""The queue job on one screen: read, check, score, answer, measure, publish.

Rows never shuffle: from a group of request files to Parquet parts and answers they stay in one
fused stage. What is grouped is small: groups, counts, names of parts, statistics, ids that occur
twice.
"""

import apache_beam as beam
from apache_beam.pvalue import AsList

import beam_jobs.pipelines.coder  # noqa: F401  (registers how batches travel)
from beam_jobs import storage
from beam_jobs.check.statistics import ComputeStatistics
from beam_jobs.check.transforms import CheckRows
from beam_jobs.images.transforms import AddImages
from beam_jobs.pipelines.conclude import KEYS_FOLDER, Conclude
from beam_jobs.pipelines.counter import CountRows, RowCounter
from beam_jobs.plan import Plan, request_spec
from beam_jobs.publish.transforms import COUNTS, PARTS, WriteParts
from beam_jobs.requests import transforms as requests
from beam_jobs.score.handler import Score


def build(pipeline: beam.Pipeline, plan: Plan, counter: RowCounter | None = None) -> None:
    """Adds the job to a pipeline.

    Args:
        pipeline: for any runner.
        plan: what to read, compare and write.
        counter: told of rows for a progress bar, where workers share a disk with the launcher.
    """
    spec = request_spec(plan)
    groups = pipeline | requests.GroupFiles(plan.inputs)
    # Without this the reader would share a stage with what finds duplicate ids, whose result it
    # waits for: the runner would then have to store all rows in between.
    apart = groups | "Spread groups again" >> beam.Reshuffle()
    read = apart | requests.ReadRequests(spec)
    files = [file.uri for file in plan.inputs]
    folder = storage.join(plan.run_folder, KEYS_FOLDER)
    duplicates = groups | requests.FindDuplicateIds(spec, files, folder)
    scored = (
        read[requests.BATCHES]
        | requests.MarkIds(files, duplicates)
        | AddImages(plan.images)
        | CheckRows(plan.schema)
        | Score(plan.model, plan.input_plan, plan.policy.actions)
        | "Count rows" >> beam.ParDo(CountRows(counter))
    )
    written = scored | WriteParts(
        plan.run_folder, plan.identity, plan.features, plan.policy.actions, plan.computed
    )
    answers = None
    if plan.responses is not None:
        parts = scored | requests.WriteAnswers(plan.run_folder, plan.identity, plan.policy.actions)
        answers = AsList(parts)
    statistics = scored | ComputeStatistics(plan.schema, plan.data.slice)
    _ = pipeline | Conclude(
        plan,
        parts=AsList(written[PARTS]),
        counts=AsList(written[COUNTS]),
        reads=AsList(read[requests.COUNTS]),
        statistics=AsList(statistics),
        answers=answers,
        counter=counter,
    )
