"""The identity of a run: a hash of all that decides its result."""

import dataclasses
import datetime
import json
from collections.abc import Sequence
from typing import Any

from beam_jobs import storage
from beam_jobs.config.verbs import DataConfig, Gate
from beam_jobs.images.spec import ImageSpec
from beam_jobs.models.registry import ModelLocation
from beam_jobs.monitoring.policy import Policy
from beam_jobs.plan.plan import Reference, fingerprint
from beam_jobs.plan.results_version import RESULTS_VERSION
from beam_jobs.runs.run_row import Job, RunRow


def decided_by(
    *,
    job: Job,
    period: datetime.date,
    inputs: Sequence[storage.FileInfo],
    model: ModelLocation,
    schema: str,
    baseline: Reference | None,
    previous: Reference | None,
    previous_run: RunRow | None,
    policy: Policy,
    gate: Gate,
    data: DataConfig,
    images: ImageSpec | None,
    responses: str | None,
) -> dict[str, Any]:
    """All that decides a run's result, as JSON. See `Plan` for the attributes.

    What only decides where the result is kept or how fast it is there is left out: the warehouse,
    the folder of runs, Beam's flags.
    """
    return {
        "results_version": RESULTS_VERSION,
        "job": job.value,
        "period": period.isoformat(),
        "inputs": [(file.uri, file.generation) for file in inputs],
        "model": (model.version, model.fingerprint),
        "schema": schema,
        "baseline": baseline and baseline.fingerprint,
        "previous": previous and (previous.run_id, previous.fingerprint),
        # Its number of rows is compared also where other statistics were given.
        "previous_run": previous_run and (previous_run.run_id, previous_run.rows_read),
        "policy": policy.fingerprint,
        "gate": gate.value,
        "settings": dataclasses.asdict(data),
        "images": images and images.fingerprint,
        "responses": responses,
    }


def run_id_of(decided: dict[str, Any]) -> str:
    """16 hexadecimal digits, the same for equal values of `decided_by` and no others."""
    return fingerprint(json.dumps(decided, sort_keys=True).encode())
