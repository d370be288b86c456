"""The last element of a run: anomalies, gate, write-audit-publish, summary.

It runs inside the graph, because a Flex Template's launcher does not wait for the job; all of it
is safe to repeat, because Beam retries.
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import statistics_pb2

from beam_jobs import storage
from beam_jobs.batch import Reason, finding_text
from beam_jobs.errors import InputError, RunError
from beam_jobs.finish.failure import failure_recorded
from beam_jobs.images.table import HASH
from beam_jobs.monitoring.anomalies import find_anomalies
from beam_jobs.monitoring.anomaly import AnomalyReport
from beam_jobs.monitoring.drift import Context
from beam_jobs.monitoring.files import FileRead
from beam_jobs.monitoring.gate import decide
from beam_jobs.monitoring.volume import RunCounts
from beam_jobs.notify import Outcome, announce
from beam_jobs.pipelines.counter import RowCounter, Stage
from beam_jobs.pipelines.options import Launch, launch_of
from beam_jobs.plan import Job, Plan
from beam_jobs.plan.plan import Reference, fingerprint
from beam_jobs.publish.part_files import Part, PartTable
from beam_jobs.publish.part_writer import FileCounts
from beam_jobs.publish.publishing import publish_run
from beam_jobs.read.coverage import SpanRows, only, rows_of_files, signs_of_files
from beam_jobs.request_files.deliver import release_answers
from beam_jobs.request_files.shapes import ID
from beam_jobs.request_files.staged import AnswerPart, check_answered, stage
from beam_jobs.request_files.unreadable import Unreadable
from beam_jobs.runs.catalog import open_warehouse
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.ledger import TAKEN, TakenError
from beam_jobs.runs.run_row import RunRow, RunStatus
from beam_jobs.statistics.files import (
    ScoredBy,
    Statistics,
    check_measured,
    parse_statistics,
    score_feature_name,
)
from beam_jobs.statistics.merge import merge_statistics
from beam_jobs.statistics.moments import check_scored

MODEL_FAILS_ROWS = 64
"""A model that fails on all of so many rows fails the run: few may all be poison."""


@dataclass(eq=False)
class Conclude(beam.PTransform):
    """Publishes or holds the run.

    In: PBegin. Out: PCollection of the one summary, a JSON text.

    Attributes:
        plan: of the run.
        parts: side input of all `Part`s.
        counts: side input of all `FileCounts`, what writers wrote.
        reads: side input of all `SpanRows`, what readers read.
        statistics: side input of the one DatasetFeatureStatisticsList, as a list.
        answers: side input of all `AnswerPart`s; None where nobody waits for answers.
        unreadable: side input of the one {place in the plan: `Unreadable`} of files that nobody
            read; None where a file that cannot be read fails the run.
        counter: told of the stage, where workers share a disk with the launcher.

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

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        return (
            pbegin
            # The inputs are in its folder already.
            | "Plan" >> beam.Create([dataclasses.replace(self.plan, inputs=())])
            | "Conclude"
            >> beam.Map(
                _conclude,
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


def _conclude(
    plan: Plan,
    parts: list[Part],
    counts: list[FileCounts],
    reads: list[SpanRows],
    statistics: list[statistics_pb2.DatasetFeatureStatisticsList],
    answers: list[AnswerPart],
    unreadable: list[Mapping[int, Unreadable]],
    counter: RowCounter | None,
    launch: Launch,
) -> str:
    """Concludes; where no launcher waits for the run, tells how it ended, too.

    Args:
        plan: without its inputs.
    """
    plan = dataclasses.replace(plan, inputs=plan.input_list.files)
    if counter is not None:
        counter.begin(Stage.PUBLISH)
    if launch is Launch.LOCAL:
        measured, left_out = only(statistics, "statistics"), only(unreadable, "files left out")
        return json.dumps(conclude(plan, parts, counts, reads, measured, answers, left_out))
    with contextlib.ExitStack() as held, failure_recorded(plan):
        if launch is Launch.DETACHED:
            held.enter_context(RunFolder(plan.run_folder).lock())
        measured, left_out = only(statistics, "statistics"), only(unreadable, "files left out")
        summary = conclude(plan, parts, counts, reads, measured, answers, left_out)
    if summary["status"] != TAKEN:
        announce(Outcome.of_summary(summary), plan.notify)
    return json.dumps(summary)


def conclude(
    plan: Plan,
    parts: Sequence[Part],
    counts: Sequence[FileCounts],
    reads: Sequence[SpanRows],
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    answers: Sequence[AnswerPart] = (),
    left_out: Mapping[int, Unreadable] = MappingProxyType({}),
) -> dict[str, Any]:
    """Finds anomalies, asks the gate, publishes or holds; the summary, also in summary.json.

    A queue run whose request files another run has answered in the meantime, or which have all
    changed, ends as `TAKEN`. Files that are left out are in nothing that the run publishes, but
    for those that are set aside: the ledger has them.
    """
    started = time.monotonic()
    folder = RunFolder(plan.run_folder)
    storage.remove(folder.keys)
    total = sum(counts, FileCounts(-1))
    rows = rows_of_files(reads, [file.uri for file in plan.inputs], left_out)
    set_aside = [found for _, found in sorted(left_out.items()) if found.is_set_aside]
    if len(left_out) - len(set_aside) == len(plan.inputs) > 0:
        return _taken(plan, folder, "all request files have changed since they were found")
    check_measured(statistics, total.readable)
    check_scored(statistics, score_feature_name(plan.schema_proto), total.scored)
    _check_model(plan, total, parts)
    report = _find_anomalies(plan, total, _files_read(plan, reads, rows), statistics, set_aside)
    folder.write(folder.statistics, _marked(plan, statistics).SerializeToString())
    folder.write(folder.anomalies_proto, text_format.MessageToString(report.proto).encode())
    decision = decide(report.anomalies, plan.gate)
    checked = time.monotonic()
    if plan.responses is not None:
        read = [place for place in range(len(rows)) if place not in left_out]
        files = [plan.inputs[place] for place in read]
        check_answered(answers, files, [rows[place] for place in read])
        stage(folder, plan.responses, files, answers)
    run = plan.run_row(
        RunStatus.HELD if decision.held else RunStatus.PUBLISHED,
        read=sum(rows),
        scored=total.scored,
        quarantined=total.quarantined,
        hold_reasons=decision.hold_reasons,
    )
    # Whatever can fail comes before publishing, or after it can be repeated.
    summary = _summary(run, total, report, parts)
    summary["started_at"] = plan.started_at.isoformat()
    summary["notes"] = list(plan.notes)
    if plan.job is Job.REQUESTS:
        summary["unreadable"] = [found.error for found in set_aside]
        summary["changed"] = [
            found.error for _, found in sorted(left_out.items()) if not found.is_set_aside
        ]
    tables = {
        "anomalies": report.table,
        "feature_statistics": report.feature_statistics,
        "inputs": _inputs(plan, rows, left_out),
    }
    try:
        warehouse = open_warehouse(plan.warehouse)
        run = publish_run(warehouse, run, parts, tables, takes_held=plan.takes_held)
    except TakenError as error:
        return _taken(plan, folder, str(error))
    summary |= _outcome(run)
    summary["stages"] = {
        "anomalies": round(checked - started, 3),
        "publish": round(time.monotonic() - checked, 3),
    }
    folder.write(folder.summary, json.dumps(summary, indent=2).encode())
    if plan.job is Job.REQUESTS and run.status is RunStatus.PUBLISHED:
        try:
            release_answers(folder)
        except RunError as error:
            raise RunError(
                f"{error}; the next `beam-jobs requests` delivers the answers"
            ) from error
    return summary


def _taken(plan: Plan, folder: RunFolder, why: str) -> dict[str, Any]:
    """The summary of a run that leaves no trace but itself."""
    taken = {"status": TAKEN, "why": why, "started_at": plan.started_at.isoformat()}
    folder.write(folder.summary, json.dumps(taken).encode())
    return taken


def _files_read(plan: Plan, reads: Sequence[SpanRows], rows: Sequence[int]) -> tuple[FileRead, ...]:
    uris = [file.uri for file in plan.inputs]
    signs = signs_of_files(reads, uris)
    return tuple(FileRead(*file) for file in zip(uris, rows, signs, strict=True))


def _marked(plan: Plan, statistics: Statistics) -> Statistics:
    """A copy that says which model scored; Beam's own elements must not change."""
    marked = Statistics.FromString(statistics.SerializeToString())
    model = ScoredBy(plan.model.version, plan.model.fingerprint)
    model.mark(marked, score_feature_name(plan.schema_proto))
    return marked


def _check_model(plan: Plan, total: FileCounts, parts: Iterable[Part]) -> None:
    """Raises RunError where the model gave no row a score: it is broken, or another's."""
    failed = dict(total.reasons).get(Reason.MODEL_ERROR, 0)
    if total.scored or failed < MODEL_FAILS_ROWS:
        return
    example = _examples(parts).get(Reason.MODEL_ERROR.value, "")
    why = example.removeprefix(f"{Reason.MODEL_ERROR.value} ")
    raise RunError(f"model {plan.model.path}: gave none of {failed:,} rows a score: {why}")


def _find_anomalies(
    plan: Plan,
    total: FileCounts,
    files: tuple[FileRead, ...],
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    set_aside: Sequence[Unreadable],
) -> AnomalyReport:
    return find_anomalies(
        statistics,
        plan.schema_proto,
        _load(plan.baseline, "--baseline"),
        _previous(plan.previous),
        plan.policy,
        RunCounts(
            read=sum(file.rows for file in files),
            scored=total.scored,
            quarantined=total.quarantined,
            reasons=dict(total.reasons),
            previous_read=plan.previous_run.rows_read if plan.previous_run else None,
            replaced_read=plan.replaces.rows_read if plan.replaces else None,
            replaced_run=plan.replaces.run_id if plan.replaces else "",
            is_queue=plan.job is Job.REQUESTS,
            key=ID if plan.job is Job.REQUESTS else plan.data.key,
            flagged=dict(total.flags),
            unreadable=tuple(found.error for found in set_aside),
            # A request file is answered, whatever it holds.
            files=files if plan.job is Job.MONTHLY else (),
        ),
        Context(
            plan.data.label,
            plan.data.key,
            plan.input_plan.features,
            HASH if plan.images is not None else None,
        ),
    )


def _previous(previous: Reference | None) -> Statistics | None:
    """What drift is measured against: a file, or those of several runs of the queue as one."""
    if previous is None or previous.others is None:
        return _load(previous, "--previous")
    # Folders of old runs may be cleared away at any time.
    uris = [uri for uri in (previous.uri, *previous.others) if storage.exists(uri)]
    found = [parse_statistics(storage.read_bytes(uri), f"--previous {uri}") for uri in uris]
    return merge_statistics(found)


def _load(reference: Reference | None, flag: str) -> Statistics | None:
    """The statistics that were planned; None where there are none."""
    if reference is None:
        return None
    data = storage.read_bytes(reference.uri)
    if fingerprint(data) != reference.fingerprint:
        raise InputError(
            f"{flag} {reference.uri}: changed during the run; run the command again to take the"
            " new content"
        )
    return parse_statistics(data, f"{flag} {reference.uri}")


def _inputs(plan: Plan, rows: Sequence[int], left_out: Mapping[int, Unreadable]) -> pa.Table:
    """The ledger's lines: files that were read, and, without rows, those that are set aside."""
    changed = {place for place, found in left_out.items() if not found.is_set_aside}
    places = [place for place in range(len(rows)) if place not in changed]
    files = [plan.inputs[place] for place in places]
    counted = [None if place in left_out else rows[place] for place in places]
    return pa.table(
        {
            "uri": [file.uri for file in files],
            "generation": [file.generation for file in files],
            "bytes": pa.array([file.size for file in files], pa.int64()),
            "rows": pa.array(counted, pa.int64()),
        }
    )


def _summary(
    run: RunRow, total: FileCounts, report: AnomalyReport, parts: Iterable[Part]
) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "job": run.job,
        "period": run.period.isoformat(),
        **_outcome(run),
        "rows": run.rows,
        "reasons": {reason.value: count for reason, count in total.reasons},
        "flags": {reason.value: count for reason, count in total.flags},
        "examples": _examples(parts),
        "anomalies": report.table.to_pylist(),
        "score": report.score,
        "report": None,
        # Until a launcher that waited knows better.
        "seconds": round((run.finished_at - run.started_at).total_seconds(), 3),
    }


def _outcome(run: RunRow) -> dict[str, Any]:
    """What publishing has decided of the summary."""
    held = run.status is RunStatus.HELD
    return {
        "status": run.status.value,
        "hold_reasons": list(run.hold_reasons) if held else [],
        "overruled": [] if held else list(run.hold_reasons),
        "run_folder": run.run_folder,
    }


def _examples(parts: Iterable[Part]) -> dict[str, str]:
    """{reason: a finding as text}, from the first rows of each quarantine part."""
    examples: dict[str, str] = {}
    for part in sorted(parts):
        if part.table is not PartTable.QUARANTINE:
            continue
        with (
            # The audit, which comes next, names a part that cannot be read.
            contextlib.suppress(OSError, InputError, pa.ArrowInvalid),
            storage.open_pinned(storage.info(part.uri)) as stream,
            pq.ParquetFile(stream) as file,
        ):
            for batch in file.iter_batches(1_000, row_groups=[0], columns=["details"]):
                for finding in batch.column(0).flatten().to_pylist():
                    examples.setdefault(finding["reason"], finding_text(**finding))
                break
    return examples
