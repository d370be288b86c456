"""The last element of a run: it judges, publishes, sums up and delivers what the others made.

It runs inside the graph, because a Flex Template's launcher does not wait for the job.
"""

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass

import apache_beam as beam
from tensorflow_metadata.proto.v0 import statistics_pb2

from beam_jobs.finish.failure import failure_recorded
from beam_jobs.finish.finish import finish
from beam_jobs.finish.results import JobResults
from beam_jobs.notify import announce
from beam_jobs.pipelines.counter import RowCounter, Stage
from beam_jobs.pipelines.options import Launch, launch_of
from beam_jobs.plan import Plan
from beam_jobs.publish.part_writer import SourceCounts
from beam_jobs.read.coverage import RangeRows, exactly_one
from beam_jobs.request_files.staged import AnswerPart
from beam_jobs.request_files.unreadable import Unreadable
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.parts import Part
from beam_jobs.runs.summary import RunOutcome


@dataclass(eq=False)
class Finalize(beam.PTransform[beam.pvalue.PBegin, beam.PCollection[str]]):
    """Publishes or holds the run.

    In: PBegin. Out: PCollection of the one summary, a JSON text.

    Attributes:
        plan: of the run.
        parts: side input of all `Part`s.
        counts: side input of all `SourceCounts`, what writers wrote.
        reads: side input of all `RangeRows`, what readers read.
        statistics: side input of the one DatasetFeatureStatisticsList, as a list.
        answers: side input of all `AnswerPart`s; None where nobody waits for answers.
        unreadable: side input of the one {place in the plan: `Unreadable`} of files that nobody
            read; None where a file that cannot be read fails the run.
        counter: gets the stage, where workers share a disk with the launcher.

    Raises:
        AuditError: the figures do not add up.
        RunError, UsageError: the run folder or the warehouse cannot be written.
    """

    plan: Plan
    parts: beam.pvalue.AsSideInput
    counts: beam.pvalue.AsSideInput
    reads: beam.pvalue.AsSideInput
    statistics: beam.pvalue.AsSideInput
    answers: beam.pvalue.AsSideInput | None = None
    unreadable: beam.pvalue.AsSideInput | None = None
    counter: RowCounter | None = None

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection[str]:
        """The plan as an element that waits for all side inputs."""
        summaries: beam.PCollection[str] = (
            pbegin
            # The inputs are in its folder already.
            | "Plan" >> beam.Create([dataclasses.replace(self.plan, inputs=())])
            | "Finalize"
            >> beam.Map(
                _finalize,
                self.parts,
                self.counts,
                self.reads,
                self.statistics,
                self.answers if self.answers is not None else [],
                self.unreadable if self.unreadable is not None else [{}],
                self.counter,
                launch=launch_of(pbegin.pipeline.options),
            )
        )
        return summaries


def _finalize(
    plan: Plan,
    parts: list[Part],
    counts: list[SourceCounts],
    reads: list[RangeRows],
    statistics: list[statistics_pb2.DatasetFeatureStatisticsList],
    answers: list[AnswerPart],
    unreadable: list[Mapping[int, Unreadable]],
    counter: RowCounter | None,
    launch: Launch,
) -> str:
    """Ends the run; where no launcher waits for it, announces and records the outcome, too."""
    plan = dataclasses.replace(plan, inputs=plan.input_list.files)  # it came without
    if counter is not None:
        counter.begin(Stage.PUBLISH)

    def results() -> JobResults:
        measured = exactly_one(statistics, "statistics")
        left_out = exactly_one(unreadable, "files left out")
        return JobResults(parts, counts, reads, measured, answers, left_out)

    if launch is Launch.LOCAL:
        return json.dumps(finish(plan, results()).to_json())
    with contextlib.ExitStack() as held, failure_recorded(plan):
        if launch is Launch.DETACHED:
            held.enter_context(RunFolder(plan.run_folder).lock())
        summary = finish(plan, results())
    if summary.outcome is not RunOutcome.TAKEN:
        announce(summary, plan.notify)
    return json.dumps(summary.to_json())
