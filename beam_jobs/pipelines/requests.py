"""The queue job on one screen: read, check, score, answer, measure, publish.

Rows never shuffle: from a group of request files to Parquet parts and answers they stay in one
fused stage. What is grouped is small: groups, counts, names of parts, statistics, ids that occur
twice.
"""

import apache_beam as beam
from apache_beam.pvalue import AsList

import beam_jobs.pipelines.coder  # noqa: F401  (registers how batches travel)
from beam_jobs.images.transforms import AddImages
from beam_jobs.pipelines.counter import CountRows, RowCounter
from beam_jobs.pipelines.finalize import Finalize
from beam_jobs.plan import Plan, request_spec
from beam_jobs.publish.transforms import COUNTS, PARTS, WriteParts
from beam_jobs.request_files import transforms as requests
from beam_jobs.runs.folder import RunFolder
from beam_jobs.score.transforms import Score
from beam_jobs.statistics.transforms import ComputeStatistics
from beam_jobs.validation.transforms import CheckRows


def build(pipeline: beam.Pipeline, plan: Plan, counter: RowCounter | None = None) -> None:
    """Adds the job to a pipeline.

    Args:
        pipeline: for any runner.
        plan: what to read, compare and write.
        counter: gets rows for a progress bar, where workers share a disk with the launcher.
    """
    spec = request_spec(plan)
    groups = pipeline | requests.GroupFiles(plan.input_list)
    # Without this the reader would share a stage with what finds duplicate ids, whose result it
    # waits for: the runner would then have to store all rows in between.
    apart = groups | "Spread groups again" >> beam.Reshuffle()
    folder = RunFolder(plan.run_folder).keys
    scan = groups | requests.ScanIds(spec, plan.input_list, folder)
    duplicates = groups | requests.FindDuplicateIds(spec, plan.input_list, folder, scan)
    read = apart | requests.ReadRequests(spec, scan)
    scored = (
        read[requests.BATCHES]
        | requests.MarkIds(plan.input_list, duplicates)
        | AddImages(plan.images)
        | CheckRows(plan.schema)
        | Score(plan.model, plan.binding, plan.policy.actions)
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
    _ = pipeline | Finalize(
        plan,
        parts=AsList(written[PARTS]),
        counts=AsList(written[COUNTS]),
        reads=AsList(read[requests.COUNTS]),
        statistics=AsList(statistics),
        answers=answers,
        unreadable=AsList(scan | requests.FindUnreadable()),
        counter=counter,
    )
