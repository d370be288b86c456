"""What a run will do: exactly what will be read and compared, and under which run id."""

import dataclasses
import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs import __version__, storage
from beam_jobs.config.verbs import DataConfig, Gate
from beam_jobs.images.spec import ImageSpec, read_features
from beam_jobs.images.table import NAMES
from beam_jobs.models.registry import ModelLocation
from beam_jobs.monitoring.policy import Policy
from beam_jobs.notify import Webhook
from beam_jobs.plan.results_version import RESULTS_VERSION
from beam_jobs.read.inputs import Inputs, as_json
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import Job, RunIdentity, RunRow, RunStatus, period_name
from beam_jobs.schema import Feature, features_of
from beam_jobs.score.signature_binding import SignatureBinding


@dataclass(frozen=True)
class Reference:
    """Statistics that the run is compared with.

    Attributes:
        uri: the file.
        fingerprint: hash of its bytes, or of the ids of the runs that made several files.
        run_id: the run that made them, empty where they were given as a file.
        others: files of further runs that count as one with it; None for a file that is alone
            and whose bytes are known.
    """

    uri: str
    fingerprint: str
    run_id: str = ""
    others: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Plan:
    """Everything that a run needs to know; nothing is looked up again while it runs.

    Attributes:
        run_id: 16 hexadecimal digits, a hash of all that decides the result.
        period: first day of the month, or the day of a queue run.
        inputs: the files, sorted by URI, with the generations that will be read.
        previous_run: the run whose rows are compared: the published run of the month before, or
            the one that the user names.
        replaces: the period's published run, which this one would replace.
        stays_superseded: why this run would not be published though it was before; empty where
            it would.
        responses: folder for the answers of a queue run; None where nobody waits for files.
        takes_held: whether a queue run may take the request files of runs that are held.
        existing: this run's line in `runs`, where it ran before.
        notes: what the user should know and that is no mistake.
        left_alone: likewise, of files in the queue that are no request files.
        no_files: those of the notes on folders and broken links in the queue.
        notify: the webhook that gets how the run ends; a secret, so it is in no JSON.
        images: where images lie and what is done with them, None where rows come without. Their
            generations are not pinned: there are too many.
    """

    job: Job
    period: datetime.date
    run_id: str
    run_folder: str
    warehouse: str
    inputs: tuple[storage.FileInfo, ...]
    model: ModelLocation
    binding: SignatureBinding
    schema: bytes
    schema_uri: str
    schema_fingerprint: str
    baseline: Reference | None
    previous: Reference | None
    previous_run: RunRow | None
    replaces: RunRow | None
    existing: RunRow | None
    policy: Policy
    gate: Gate
    data: DataConfig
    started_at: datetime.datetime
    responses: str | None = None
    takes_held: bool = False
    notes: tuple[str, ...] = ()
    left_alone: tuple[str, ...] = ()
    no_files: tuple[str, ...] = ()
    stays_superseded: str = ""
    notify: Webhook | None = None
    images: ImageSpec | None = None

    @property
    def schema_proto(self) -> schema_pb2.Schema:
        """TFDV's message."""
        return schema_pb2.Schema.FromString(self.schema)

    @property
    def features(self) -> tuple[Feature, ...]:
        """The schema's features."""
        return features_of(self.schema_proto)

    @property
    def read_features(self) -> tuple[Feature, ...]:
        """Those that come from the inputs: all that are not computed from images."""
        return read_features(self.features, self.images)

    @property
    def computed(self) -> frozenset[str]:
        """Names of columns that are computed from images."""
        return NAMES if self.images is not None else frozenset()

    @property
    def identity(self) -> RunIdentity:
        """What every row of the run carries."""
        return RunIdentity(self.run_id, self.job.value, self.period, self.model.version)

    @property
    def input_list(self) -> Inputs:
        """The inputs as the graph has them: the address of `plan.json`."""
        return Inputs(RunFolder(self.run_folder).plan)

    @property
    def bytes(self) -> int:
        """Of all inputs together."""
        return sum(file.size for file in self.inputs)

    @property
    def all_notes(self) -> list[str]:
        """What `--plan` says. A run says less: the rest may have changed until it begins."""
        return [*filter(None, [self.stays_superseded]), *self.left_alone, *self.notes]

    def run_row(
        self,
        status: RunStatus,
        *,
        read: int = 0,
        scored: int = 0,
        quarantined: int = 0,
        hold_reasons: Sequence[str] = (),
        error: str | None = None,
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
            error=error,
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
            "inputs": as_json(self.inputs),
            "bytes": self.bytes,
            "model": dataclasses.asdict(self.model),
            "schema": {"uri": self.schema_uri, "fingerprint": self.schema_fingerprint},
            "baseline": self.baseline and dataclasses.asdict(self.baseline),
            "previous": self.previous and dataclasses.asdict(self.previous),
            "policy": self.policy.fingerprint,
            "gate": self.gate.value,
            "settings": dataclasses.asdict(self.data),
            "responses": self.responses,
            "images": self.images and dataclasses.asdict(self.images),
            "replaces": self.replaces and self.replaces.run_id,
            "existing_run": self.existing.status.value if self.existing else None,
            "notes": self.all_notes,
            "code_version": __version__,
            "results_version": RESULTS_VERSION,
        }


def fingerprint(data: bytes) -> str:
    """16 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()[:16]


def describe(plan: Plan) -> Mapping[str, str]:
    """The plan in a few lines for a person: {what: value}."""
    inputs = plan.inputs
    return {
        "run": f"{plan.run_id} ({plan.job.value} {period_name(plan.job.value, plan.period)})",
        "reads": f"{len(inputs)} files, {plan.bytes:,} bytes"
        + (f": {inputs[0].uri}" if inputs else "")
        + (f" to {inputs[-1].uri}" if len(inputs) > 1 else ""),
        "model": f"{plan.model.path} (version {plan.model.version}, signature"
        f" {plan.data.signature})",
        "schema": f"{plan.schema_uri} ({plan.schema_fingerprint})",
        "images": f"{plan.images.prefix or 'inside records'}, named by {plan.images.column}"
        if plan.images
        else "none: rows are taken without",
        "baseline": plan.baseline.uri if plan.baseline else "none: skew is not measured",
        "previous": _previous(plan.previous),
        "writes": plan.run_folder,
        **(
            {"replaces": f"{plan.replaces.run_id} ({plan.replaces.rows_read:,} rows)"}
            if plan.replaces
            else {}
        ),
        "publishes to": plan.warehouse,
        **({"answers in": plan.responses} if plan.responses else {}),
        "status now": plan.existing.status.value if plan.existing else "not run yet",
    }


def _previous(previous: Reference | None) -> str:
    if previous is None:
        return "none: drift is not measured"
    others = len(previous.others or ())
    return f"{previous.uri} and those of {others} runs before" if others else previous.uri
