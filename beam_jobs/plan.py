"""Configuration -> Plan: exactly what will be read and compared, and the run id.

Planning changes nothing and finds every mistake that can be found before work starts.
"""

import dataclasses
import datetime
import enum
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs import __version__, storage
from beam_jobs.check.policy import Policy, load_policy
from beam_jobs.check.slices import check_slices
from beam_jobs.check.statistics_files import load_statistics
from beam_jobs.config import DataConfig, MonthlyConfig, expand_month, month_before, parse_month
from beam_jobs.errors import UsageError
from beam_jobs.features import Feature, features_of, load_schema
from beam_jobs.publish.publishing import check_columns as check_warehouse_columns
from beam_jobs.publish.run_folder import RunFolder
from beam_jobs.publish.runs import RunIdentity, RunRow, RunStatus
from beam_jobs.publish.warehouse import Warehouse, open_warehouse
from beam_jobs.read import format_of, peek_columns
from beam_jobs.score.fit import InputPlan, fit
from beam_jobs.score.location import ModelLocation, resolve_model
from beam_jobs.score.signature import read_signature
from beam_jobs.tables import scores_schema


class Job(str, enum.Enum):
    """The jobs, as in the column `job`."""

    MONTHLY = "monthly"


@dataclass(frozen=True)
class Reference:
    """Statistics that the run is compared with.

    Attributes:
        uri: the file.
        fingerprint: hash of its bytes.
        run_id: the run that made them, empty where they were given as a file.
    """

    uri: str
    fingerprint: str
    run_id: str = ""


@dataclass(frozen=True)
class Plan:
    """Everything that a run needs to know; nothing is looked up again while it runs.

    Attributes:
        run_id: 16 hexadecimal digits, a hash of all that decides the result.
        period: first day of the month.
        inputs: the files, sorted by URI, with the generations that will be read.
        previous_run: the published run of the month before, where there is one.
        standing: this run's line in `runs`, where it ran before.
        notes: what the user should know and that is no mistake.
    """

    job: Job
    period: datetime.date
    run_id: str
    run_folder: str
    warehouse: str
    inputs: tuple[storage.FileInfo, ...]
    model: ModelLocation
    input_plan: InputPlan
    schema: bytes
    schema_uri: str
    schema_fingerprint: str
    baseline: Reference | None
    previous: Reference | None
    previous_run: RunRow | None
    standing: RunRow | None
    policy: Policy
    data: DataConfig
    started_at: datetime.datetime
    notes: tuple[str, ...] = ()

    @property
    def schema_proto(self) -> schema_pb2.Schema:
        return schema_pb2.Schema.FromString(self.schema)

    @property
    def features(self) -> tuple[Feature, ...]:
        return features_of(self.schema_proto)

    @property
    def identity(self) -> RunIdentity:
        return RunIdentity(self.run_id, self.job.value, self.period, self.model.version)

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.inputs)

    def run_row(
        self,
        status: RunStatus,
        *,
        read: int = 0,
        scored: int = 0,
        quarantined: int = 0,
        hold_reasons: Sequence[str] = (),
    ) -> RunRow:
        """This run's line in `runs`, decided now."""
        return RunRow(
            run_id=self.run_id,
            job=self.job.value,
            period=self.period,
            status=status,
            started_at=self.started_at,
            finished_at=datetime.datetime.now(datetime.UTC),
            rows_read=read,
            rows_scored=scored,
            rows_quarantined=quarantined,
            model=self.model.path,
            model_version=self.model.version,
            schema_fingerprint=self.schema_fingerprint,
            baseline=self.baseline.uri if self.baseline else None,
            previous_run_id=self.previous.run_id if self.previous else None,
            code_version=__version__,
            run_folder=self.run_folder,
            hold_reasons=tuple(hold_reasons),
        )

    def to_json(self) -> dict[str, Any]:
        """What `--plan` prints and `plan.json` keeps."""
        return {
            "run_id": self.run_id,
            "job": self.job.value,
            "period": self.period.isoformat(),
            "run_folder": self.run_folder,
            "warehouse": self.warehouse,
            "inputs": [dataclasses.asdict(file) for file in self.inputs],
            "bytes": self.bytes,
            "model": dataclasses.asdict(self.model),
            "schema": {"uri": self.schema_uri, "fingerprint": self.schema_fingerprint},
            "baseline": self.baseline and dataclasses.asdict(self.baseline),
            "previous": self.previous and dataclasses.asdict(self.previous),
            "policy": self.policy.fingerprint,
            "settings": dataclasses.asdict(self.data),
            "standing": self.standing.status.value if self.standing else None,
            "notes": list(self.notes),
            "code_version": __version__,
        }


def plan_monthly(config: MonthlyConfig, now: datetime.datetime | None = None) -> Plan:
    """Plans the monthly job.

    Raises:
        UsageError: anything in the configuration, schema, model, policy or warehouse is wrong.
    """
    started_at = now or datetime.datetime.now(datetime.UTC)
    period = parse_month(config.month, config.timezone, started_at)
    inputs = match_inputs([expand_month(pattern, period) for pattern in config.ads], "--ads")
    schema = load_schema(config.schema)
    policy = load_policy(config.policy)
    data = DataConfig(**{f.name: getattr(config, f.name) for f in dataclasses.fields(DataConfig)})
    check_slices(schema, data.slice)
    notes = check_columns(inputs, schema, data)
    model, input_plan = check_model(config.model, schema, data)
    baseline = reference(config.baseline, "--baseline")
    warehouse = open_warehouse(config.warehouse)
    warehouse.check()
    check_warehouse_columns(warehouse, scores_schema(features_of(schema)))
    previous, previous_run, more = _previous(config, warehouse, period)
    schema_bytes = schema.SerializeToString(deterministic=True)
    decided_by = {
        "job": Job.MONTHLY.value,
        "period": period.isoformat(),
        "inputs": [(file.uri, file.generation) for file in inputs],
        "model": model.fingerprint,
        "schema": _hash(schema_bytes),
        "baseline": baseline and baseline.fingerprint,
        "previous": previous and (previous.run_id, previous.fingerprint),
        "policy": policy.fingerprint,
        "settings": dataclasses.asdict(data),
    }
    run_id = _hash(json.dumps(decided_by, sort_keys=True).encode())
    storage.check_writable(config.runs, "--runs")
    return Plan(
        job=Job.MONTHLY,
        period=period,
        run_id=run_id,
        run_folder=RunFolder.of(config.runs, Job.MONTHLY.value, period, run_id).path,
        warehouse=config.warehouse,
        inputs=inputs,
        model=model,
        input_plan=input_plan,
        schema=schema_bytes,
        schema_uri=config.schema,
        schema_fingerprint=_hash(schema_bytes),
        baseline=baseline,
        previous=previous,
        previous_run=previous_run,
        standing=standing_of(warehouse, run_id),
        policy=policy,
        data=data,
        started_at=started_at,
        notes=(*notes, *more),
    )


def match_inputs(patterns: Sequence[str], flag: str) -> tuple[storage.FileInfo, ...]:
    """The files of all patterns, each once, sorted by URI.

    Raises:
        UsageError: a pattern matches nothing, or a file has an unknown suffix.
    """
    files: dict[str, storage.FileInfo] = {}
    for pattern in patterns:
        found = storage.match(pattern)
        if not found:
            raise UsageError(f"{flag} {pattern}: matches no file")
        files.update((file.uri, file) for file in found)
    for uri in files:
        try:
            format_of(uri)
        except UsageError as error:
            raise UsageError(f"{flag} {error}") from error
    return tuple(sorted(files.values()))


def check_columns(
    inputs: Sequence[storage.FileInfo], schema: schema_pb2.Schema, data: DataConfig
) -> list[str]:
    """Refuses a key or label that no input has; notes schema features that none has.

    Looks at the first file of each format only: a month may hold thousands.
    """
    looked_at = {format_of(file.uri): file for file in reversed(inputs) if file.size}
    columns = {name for file in looked_at.values() for name in peek_columns(file)}
    if not columns:
        return ["the inputs hold no columns: no rows will be scored"]
    for flag, name in (("--key", data.key), ("--label", data.label)):
        if name is not None and name not in columns:
            known = ", ".join(sorted(columns)[:20])
            raise UsageError(f"{flag} {name}: no such column in the inputs; they have {known}")
    absent = [f.name for f in features_of(schema) if f.name not in columns]
    if len(absent) == len(features_of(schema)):
        raise UsageError(
            f"the inputs have none of the schema's features: {inputs[0].uri} has"
            f" {', '.join(sorted(columns)[:10])}, the schema {', '.join(absent[:10])}"
        )
    return [f"feature {name} of the schema is in no input looked at" for name in absent]


def check_model(
    uri: str, schema: schema_pb2.Schema, data: DataConfig
) -> tuple[ModelLocation, InputPlan]:
    """Finds the model and proves that its signature fits the schema.

    Raises:
        UsageError: not a model, no such signature or output, or inputs that do not fit.
    """
    location = resolve_model(uri)
    signature = read_signature(location, data.signature)
    return location, fit(signature, schema, data.label, data.score)


def reference(uri: str | None, flag: str, run_id: str = "") -> Reference | None:
    """Statistics given as a file, proven to be readable."""
    if uri is None:
        return None
    load_statistics(uri, flag)
    return Reference(uri, _hash(storage.read_bytes(uri)), run_id)


def _previous(
    config: MonthlyConfig, warehouse: Warehouse, period: datetime.date
) -> tuple[Reference | None, RunRow | None, list[str]]:
    """The statistics to measure drift against: given, or the month before's."""
    before = month_before(period)
    run = warehouse.latest_published(Job.MONTHLY.value, before)
    if config.previous is not None:
        return reference(config.previous, "--previous"), run, []
    if run is None:
        return None, None, [f"no published run of {before:%Y-%m}: drift is not measured"]
    uri = RunFolder(run.run_folder).statistics
    if not storage.exists(uri):
        note = f"{uri} of the published run of {before:%Y-%m} is gone: drift is not measured"
        return None, run, [note]
    return reference(uri, "--previous", run.run_id), run, []


def standing_of(warehouse: Warehouse, run_id: str) -> RunRow | None:
    """The line of exactly this run, None where it never ended."""
    return next((run for run in warehouse.runs() if run.run_id == run_id), None)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def describe(plan: Plan) -> Mapping[str, str]:
    """The plan in a few lines for a person: {what: value}."""
    inputs = plan.inputs
    return {
        "run": f"{plan.run_id} ({plan.job.value} {plan.period:%Y-%m})",
        "reads": f"{len(inputs)} files, {plan.bytes:,} bytes: {inputs[0].uri}"
        + (f" to {inputs[-1].uri}" if len(inputs) > 1 else ""),
        "model": f"{plan.model.path} (version {plan.model.version}, signature"
        f" {plan.data.signature})",
        "schema": f"{plan.schema_uri} ({plan.schema_fingerprint})",
        "baseline": plan.baseline.uri if plan.baseline else "none: skew is not measured",
        "previous": plan.previous.uri if plan.previous else "none: drift is not measured",
        "writes": plan.run_folder,
        "publishes to": plan.warehouse,
        "stands as": plan.standing.status.value if plan.standing else "not run yet",
    }
