"""What is to be said of a run's results: anomalies, and whether the gate holds it."""

import contextlib
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf import text_format

from beam_jobs import storage
from beam_jobs.batch import Reason
from beam_jobs.errors import InputError, RunError
from beam_jobs.finish.job_end import JobEnd
from beam_jobs.finish.results import InputsRead, JobResults
from beam_jobs.images.table import HASH
from beam_jobs.monitoring.anomalies import find_anomalies
from beam_jobs.monitoring.anomaly import Anomaly, AnomalyReport
from beam_jobs.monitoring.drift import FeatureRoles
from beam_jobs.monitoring.gate import Decision, decide
from beam_jobs.plan import Plan
from beam_jobs.plan.plan import Reference, fingerprint
from beam_jobs.publish.part_writer import SourceCounts
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.parts import Part, PartTable
from beam_jobs.runs.summary import Example
from beam_jobs.statistics.files import (
    ScoredBy,
    Statistics,
    check_measured,
    parse_statistics,
    score_feature_name,
)
from beam_jobs.statistics.merge import merge_statistics
from beam_jobs.statistics.moments import check_scored
from beam_jobs.warehouse.tables import own_schema

MODEL_FAILS_ROWS = 64
"""A model that fails on all of so many rows fails the run: few may all be poison."""


@dataclass(frozen=True)
class Judgement:
    """What is to be said of a run's results.

    Attributes:
        report: anomalies, and the rows of `feature_statistics`.
        decision: the gate's.
        examples: {reason: one of its findings}.
    """

    report: AnomalyReport
    decision: Decision
    examples: dict[Reason, Example]

    def anomalies_table(self) -> pa.Table:
        """Rows of the table `anomalies`, without the run's own columns."""
        return anomalies_table(self.report.anomalies)


def judge(plan: Plan, results: JobResults, inputs: InputsRead, end: JobEnd) -> Judgement:
    """Finds anomalies and asks the gate; statistics and TFDV's anomalies are in the folder then.

    Raises:
        AuditError: the statistics do not cover the rows.
        InputError: the baseline, or the statistics of the previous run, changed meanwhile.
        RunError: the model gave no row a score, or the folder cannot be written.
    """
    total, folder = results.total, RunFolder(plan.run_folder)
    score = score_feature_name(plan.schema_proto)
    check_measured(results.statistics, total.readable)
    check_scored(results.statistics, score, total.scored)
    examples = examples_of(results.parts)
    _check_model(plan, total, examples)
    report = find_anomalies(
        results.statistics,
        plan.schema_proto,
        _load(plan.baseline, "--baseline"),
        _previous(plan.previous),
        plan.policy,
        end.row_counts(plan, inputs, total),
        FeatureRoles(
            plan.data.label,
            plan.data.key,
            plan.binding.features,
            HASH if plan.images is not None else None,
        ),
    )
    marked = _with_model(plan, results.statistics, score)
    folder.write(folder.statistics, marked.SerializeToString())
    folder.write(folder.anomalies_proto, text_format.MessageToString(report.proto).encode())
    return Judgement(report, decide(report.anomalies, plan.gate), examples)


def anomalies_table(anomalies: Iterable[Anomaly]) -> pa.Table:
    """Anomalies as rows of the table `anomalies`, without the run's own columns."""
    schema = own_schema("anomalies")
    rows = [dataclasses.asdict(anomaly) for anomaly in anomalies]
    columns = [
        pa.array([getattr(row[name], "value", row[name]) for row in rows], schema.field(name).type)
        for name in schema.names
    ]
    return pa.table(columns, schema=schema)


def examples_of(parts: Iterable[Part]) -> dict[Reason, Example]:
    """{reason: a finding}, from the first rows of each quarantine part."""
    examples: dict[Reason, Example] = {}
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
                for one in batch.column(0).flatten().to_pylist():
                    examples.setdefault(
                        Reason(one["reason"]), Example(one["feature"], one["detail"])
                    )
                break
    return examples


def _check_model(plan: Plan, total: SourceCounts, examples: dict[Reason, Example]) -> None:
    """Raises RunError where the model gave no row a score: it is broken, or another's."""
    failed = dict(total.reasons).get(Reason.MODEL_ERROR, 0)
    if total.scored or failed < MODEL_FAILS_ROWS:
        return
    example = examples.get(Reason.MODEL_ERROR)
    why = "" if example is None else example.text
    raise RunError(f"model {plan.model.path}: gave none of {failed:,} rows a score: {why}")


def _with_model(plan: Plan, statistics: Statistics, score: str) -> Statistics:
    """A copy that says which model scored; Beam's own elements must not change."""
    marked = Statistics.FromString(statistics.SerializeToString())
    ScoredBy(plan.model.version, plan.model.fingerprint).mark(marked, score)
    return marked


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
