"""The monthly job: read, check, score, measure, publish."""

import apache_beam as beam

from beam_jobs.check.keys_transforms import FindDuplicateKeys, MarkKeys
from beam_jobs.check.rows_transforms import CheckRows
from beam_jobs.check.statistics import ComputeStatistics
from beam_jobs.pipelines.conclude import Conclude
from beam_jobs.plan import Plan
from beam_jobs.publish.transforms import WriteParts
from beam_jobs.read.transforms import ReadSpans, SplitFiles
from beam_jobs.score.handler import Score


def build(pipeline: beam.Pipeline, plan: Plan) -> None:
    pass
