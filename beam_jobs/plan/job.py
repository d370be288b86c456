"""The plan of a job, whichever it is."""

import dataclasses
import datetime
from collections.abc import Callable, Sequence

from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs import storage
from beam_jobs.config.verbs import DataConfig, JobConfig
from beam_jobs.images.listing import MOST_IMAGES, fingerprint_of
from beam_jobs.images.spec import ImageSpec
from beam_jobs.models.registry import ModelLocation
from beam_jobs.notify import webhook_of
from beam_jobs.plan.checks import check_model, check_names, checks_off, find_images, reference
from beam_jobs.plan.identity import decided_by, run_id_of
from beam_jobs.plan.plan import Plan, Reference, fingerprint
from beam_jobs.plan.policy_file import load_policy
from beam_jobs.publish.decisions import left_by_rollback
from beam_jobs.publish.publishing import check_columns as check_warehouse_columns
from beam_jobs.runs.catalog import RunCatalog
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.run_row import Job, RunRow
from beam_jobs.schema import features_of, load_schema
from beam_jobs.statistics.files import Statistics
from beam_jobs.statistics.slices import check_slices
from beam_jobs.warehouse.tables import scores_schema
from beam_jobs.warehouse.url import absolute_url


@dataclasses.dataclass(frozen=True)
class Previous:
    """What a run is compared with for drift.

    Attributes:
        reference: the statistics; None measures no drift.
        statistics: their content, where it is one file.
        run: the run whose rows are compared; None compares none.
        notes: what the user should know.
    """

    reference: Reference | None = None
    statistics: Statistics | None = None
    run: RunRow | None = None
    notes: Sequence[str] = ()


def plan_job(
    config: JobConfig,
    job: Job,
    period: datetime.date,
    inputs: tuple[storage.FileInfo, ...],
    *,
    started_at: datetime.datetime,
    check_inputs: Callable[[schema_pb2.Schema], Sequence[str]],
    catalog: RunCatalog,
    find_previous: Callable[[], Previous],
    responses: str | None = None,
    takes_held: bool = False,
) -> Plan:
    """Plans a job whose inputs are known.

    Args:
        config: of the job.
        job: which one.
        period: that the run covers.
        inputs: the files that it reads.
        started_at: when planning began.
        check_inputs: refuses inputs that do not fit the schema; gives notes.
        catalog: of the warehouse, opened once for all that planning asks it.
        find_previous: what drift is measured against.
        responses: folder for the answers of a queue run.
        takes_held: whether a queue run may take the request files of runs that are held.

    Raises:
        UsageError: anything in the configuration, schema, model, policy or warehouse is wrong.
    """
    schema = load_schema(config.schema)
    policy = load_policy(config.policy)
    data = data_of(config)
    check_slices(schema, data.slice)
    notes = [*check_names(features_of(schema), config.warehouse), *check_inputs(schema)]
    images = find_images(data, schema, may_be_given=job is not Job.MONTHLY)
    model, binding = check_model(config.model, schema, data, images)
    if images is not None:
        images = images.for_model(binding.takes_encoded, binding.pixels)
        data = dataclasses.replace(data, images=images.prefix)
        if job is Job.MONTHLY and images.prefix is not None:  # requests are answered once anyway
            images = dataclasses.replace(images, fingerprint=fingerprint_of(images.prefix))
    baseline, more = _baseline(config, schema, model)
    notify = webhook_of(config.notify)
    catalog.check()
    check_warehouse_columns(catalog, scores_schema(features_of(schema)))
    previous = find_previous()
    more += previous.notes
    if previous.statistics is not None:
        more += checks_off(previous.statistics, "the previous run", schema, data.slice, model)
    schema_bytes = schema.SerializeToString(deterministic=True)
    run_id = run_id_of(
        decided_by(
            job=job,
            period=period,
            inputs=inputs,
            model=model,
            schema=fingerprint(schema_bytes),
            baseline=baseline,
            previous=previous.reference,
            previous_run=previous.run,
            policy=policy,
            gate=config.gate,
            data=data,
            images=images,
            responses=responses,
        )
    )
    storage.check_writable(config.runs, "--runs")
    existing = catalog.run_of(job, period, run_id)
    stays_superseded = "" if config.force else left_by_rollback(catalog, existing)
    return Plan(
        job=job,
        period=period,
        run_id=run_id,
        run_folder=RunFolder.of(config.runs, job.value, period, run_id).path,
        # Workers may have another current folder.
        warehouse=absolute_url(config.warehouse),
        inputs=inputs,
        model=model,
        binding=binding,
        schema=schema_bytes,
        schema_uri=config.schema,
        schema_fingerprint=fingerprint(schema_bytes),
        baseline=baseline,
        previous=previous.reference,
        previous_run=previous.run,
        replaces=None if stays_superseded else _replaces(catalog, job, period, run_id),
        existing=existing,
        policy=policy,
        gate=config.gate,
        data=data,
        started_at=started_at,
        responses=responses,
        takes_held=takes_held,
        stays_superseded=stays_superseded,
        notes=(*_notes(job, model, images), *binding.notes, *notes, *more),
        notify=notify,
        images=images,
    )


def _baseline(
    config: JobConfig, schema: schema_pb2.Schema, model: ModelLocation
) -> tuple[Reference | None, list[str]]:
    """(the statistics of the training data, what is not measured against them)."""
    if config.baseline is None:
        return None, ["no --baseline: skew is not measured"]
    baseline, statistics = reference(config.baseline, "--baseline")
    return baseline, checks_off(statistics, "the baseline", schema, config.slice, model)


def _replaces(catalog: RunCatalog, job: Job, period: datetime.date, run_id: str) -> RunRow | None:
    """The published run that another run of its period takes the place of."""
    if not job.replaces_period:
        return None
    published = catalog.latest_published(job.value, period)
    return None if published is None or published.run_id == run_id else published


def _notes(job: Job, model: ModelLocation, images: ImageSpec | None) -> list[str]:
    """What the user should know of the model that was taken, and of images that are many."""
    notes = [model.choice] if model.choice else []
    if job is Job.MONTHLY and images is not None and images.prefix and not images.fingerprint:
        notes.append(
            f"--images {images.prefix}: more than {MOST_IMAGES:,} files, so the run's id does not"
            " tell which they are; after replacing some under their names run with --force"
        )
    return notes


def data_of(config: JobConfig) -> DataConfig:
    """The part of a job's configuration that decides how rows are read and scored."""
    return DataConfig(**{f.name: getattr(config, f.name) for f in dataclasses.fields(DataConfig)})
