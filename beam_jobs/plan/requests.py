"""The plan of the queue job."""

import dataclasses
import datetime
import fnmatch
import math
import os
from collections.abc import Collection, Mapping
from pathlib import PurePath
from types import MappingProxyType

from beam_jobs import storage
from beam_jobs.config.months import day_in
from beam_jobs.config.verbs import RequestsConfig
from beam_jobs.errors import UsageError
from beam_jobs.plan.checks import reference
from beam_jobs.plan.inputs import name_first, name_some
from beam_jobs.plan.job import Previous, plan_job
from beam_jobs.plan.plan import Plan, Reference, fingerprint
from beam_jobs.request_files.parse import RequestSpec
from beam_jobs.request_files.queue import Queue, list_queue, unconsumed
from beam_jobs.runs.catalog import RECENT, RunCatalog, open_catalog
from beam_jobs.runs.folder import RunFolder
from beam_jobs.runs.ledger import consumed
from beam_jobs.runs.run_row import Job, RunRow

DRIFT_RUNS = 30
"""The most runs whose rows drift is measured against."""


def plan_requests(
    config: RequestsConfig,
    now: datetime.datetime | None = None,
    seen: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """Plans a run over all request files that nobody has answered; there may be none.

    Args:
        config: of the job.
        now: the present by default.
        seen: {URI: generation} of files that were found a moment ago. One that is another now may
            change again while it is read: it waits for the next round.

    Raises:
        UsageError: anything in the configuration, schema, model, policy or warehouse is wrong.
    """
    started_at = now or datetime.datetime.now(datetime.UTC)
    period = day_in(config.timezone, started_at)
    if config.watch is not None and not (math.isfinite(config.watch) and config.watch > 0):
        raise UsageError(f"--watch {config.watch:g}: expected seconds, more than 0")
    if config.drift_rows < 1:
        raise UsageError(f"--drift-rows {config.drift_rows}: must be at least 1")
    _check_folders(config)
    queue = list_queue(config.queue)
    moving = {file for file in queue.files if seen.get(file.uri, "") not in ("", file.generation)}
    still = [file for file in queue.files if file not in moving]
    catalog = open_catalog(config.warehouse)
    known = consumed(catalog, still, takes_held=config.force)
    plan = plan_job(
        config,
        Job.REQUESTS,
        period,
        unconsumed(still, known),
        started_at=started_at,
        check_inputs=lambda _: (),
        catalog=catalog,
        find_previous=lambda: _previous(config, catalog, period),
        responses=config.responses and storage.absolute(config.responses),
        takes_held=config.force,
    )
    no_files = _no_files(queue)
    return dataclasses.replace(
        plan,
        left_alone=_left_alone(queue, moving),
        no_files=no_files,
        notes=(*no_files, *plan.notes),
    )


def request_spec(plan: Plan) -> RequestSpec:
    """What the job makes of request lines."""
    known = {feature.name for feature in plan.features}
    deprecated = {feature.name for feature in plan.schema_proto.feature} - known
    features = plan.read_features
    return RequestSpec(
        features,
        frozenset(deprecated),
        plan.data.signature,
        plan.data.key,
        plan.images.column if plan.images else None,
        plan.images.limits.max_bytes if plan.images else 0,
    )


def _check_folders(config: RequestsConfig) -> None:
    for pattern in config.queue:
        if os.path.isdir(pattern):
            example = storage.join(pattern, "*.jsonl")
            raise UsageError(f"--queue {pattern}: is a folder; name its files, such as '{example}'")
    if config.responses is None:
        return
    # Answers are never overwritten, so nobody needs the permission to.
    storage.check_writable(config.responses, "--responses", storage.Access.ADD)
    responses = storage.absolute(config.responses)
    for pattern in map(storage.absolute_pattern, config.queue):
        folders = os.path.dirname(pattern)
        if "**" in folders:
            hit = fnmatch.fnmatch(f"{responses}/", folders.replace("**", "*") + "/*")
        else:
            hit = PurePath(responses).match(folders)
        if hit:
            raise UsageError(
                f"--responses {config.responses}: --queue {pattern} would take answers there for"
                " requests; choose another folder"
            )


def _left_alone(queue: Queue, moving: Collection[storage.FileInfo]) -> tuple[str, ...]:
    """What nobody reads, in sentences."""
    notes = []
    for uris, what in (
        (queue.unfinished, "still being written (.tmp)"),
        (queue.of_other_kinds, "no request files (.jsonl, .jsonl.gz)"),
        (sorted(file.uri for file in moving), "replaced a moment ago"),
    ):
        if uris:
            notes.append(f"left alone, {what}: {name_first(uris)}")
    return tuple(notes)


def _no_files(queue: Queue) -> tuple[str, ...]:
    """What bears a request file's name and cannot be answered, in a sentence."""
    found = queue.no_files
    return (f"not answered, no request files: {name_some(found)}",) if found else ()


def _previous(config: RequestsConfig, catalog: RunCatalog, period: datetime.date) -> Previous:
    """The statistics to measure drift against: given, or the latest published runs'.

    Those of the last `RECENT` days; older ones only where there are none.
    """
    if config.previous is not None:
        return Previous(*reference(config.previous, "--previous"))
    runs: list[RunRow] = []
    for since in (period - RECENT, None):
        runs = runs or catalog.last_published(Job.REQUESTS, since, DRIFT_RUNS, with_rows=True)
    latest: list[RunRow] = []
    for run in runs:
        latest.append(run)
        if sum(run.rows_read for run in latest) >= config.drift_rows:
            break
    if not latest:
        return Previous(notes=["no published run of the queue: drift is not measured"])
    uri, *others = [RunFolder(run.run_folder).statistics for run in latest]
    ids = fingerprint(" ".join(run.run_id for run in latest).encode())
    return Previous(Reference(uri, ids, latest[0].run_id, tuple(others)))
