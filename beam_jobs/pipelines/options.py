"""Beam's options for a run: what we set where the user does not."""

import contextlib
import enum
import io
import os
import socket
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
    WorkerOptions,
)

from beam_jobs import storage
from beam_jobs.errors import UsageError
from beam_jobs.plan import Plan
from beam_jobs.runs.run_row import period_name

LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
"""Named in full: Beam's default tries to download Prism first, then falls back in silence."""


WORKERS_PAY_BYTES = 32 << 20
"""Measured: a second worker costs 0.4 s to start, and saves 14 ms a MB of CSV, hardly
more of requests: 23 MB of them take 2.9 s with one worker and 3.2 s with two."""

CONNECT_SECONDS = 5.0


def pipeline_options(beam_args: Sequence[str], input_bytes: int = 0) -> PipelineOptions:
    """The user's flags over our defaults; `DirectRunner` means the local runner here.

    Args:
        beam_args: flags of Beam's own.
        input_bytes: what will be read; much of it is read by a worker a core, where the user does
            not say otherwise. They share this process: half the start-up of `multi_threading`,
            whose workers are reached through gRPC.
    """
    named = PipelineOptions(list(beam_args)).get_all_options(drop_default=True)
    if named.get("runner") not in (None, "DirectRunner", "FnApiRunner"):
        return PipelineOptions(list(beam_args))
    ours = [f"--runner={LOCAL_RUNNER}"]
    said = any(word.startswith(_LOCAL_WORKERS) for word in beam_args)
    if input_bytes >= WORKERS_PAY_BYTES and not said:
        ours += ["--direct_running_mode=in_memory", f"--direct_num_workers={_cores()}"]
    return PipelineOptions([*beam_args, *ours])


def is_remote(options: PipelineOptions) -> bool:
    """Whether the graph runs where its launcher may be gone before it ends: on Dataflow."""
    return (options.view_as(StandardOptions).runner or "").endswith("DataflowRunner")


class Launch(str, enum.Enum):
    """Who is there when the graph ends."""

    LOCAL = "local"
    """The launcher, whose runner is no service: it waits, announces the end, and has the lock."""
    REMOTE = "remote"
    """A launcher that waits for Dataflow and has the lock; the graph announces the end."""
    DETACHED = "detached"
    """Nobody: the graph announces, and takes the lock."""


def launch_of(options: PipelineOptions) -> Launch:
    """What a graph with these options has to do itself."""
    if not is_remote(options):
        return Launch.LOCAL
    detached = options.view_as(StandardOptions).no_wait_until_finish
    return Launch.DETACHED if detached else Launch.REMOTE


def label_flags(plan: Plan) -> list[str]:
    """Beam flags with which bills and job lists can be searched by job, period and run."""
    labels = {
        "beam-jobs-job": plan.job.value,
        "beam-jobs-period": period_name(plan.job.value, plan.period),
        "beam-jobs-run": plan.run_id,
    }
    return [f"--labels={name}={value}" for name, value in labels.items()]


_LOCAL_WORKERS = ("--direct_running_mode", "--direct_num_workers")


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def check_beam_args(beam_args: Sequence[str]) -> None:
    """Finds before any work what Beam itself says only when the pipeline is made.

    Raises:
        UsageError: a value that its flag does not take, a runner that does not exist or that loses
            data, flags that the runner requires, no image for Dataflow's workers, or a job service
            that does not answer.
    """
    complaints = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaints):
            options = pipeline_options(beam_args)
            runner = options.view_as(StandardOptions).runner or ""
            if runner.rpartition(".")[2].lower() == "daskrunner":
                raise UsageError(
                    f"--runner {runner}: loses data without an error (Beam {beam.__version__});"
                    " docs/runners.md names runners that work"
                )
            if is_remote(options) and not options.view_as(WorkerOptions).sdk_container_image:
                raise UsageError(
                    "--runner DataflowRunner: workers need this program and its libraries; add"
                    " --sdk_container_image=IMAGE, the image that templates/build.sh pushed"
                    " (docs/deploy.md), of this very version"
                )
            beam.Pipeline(options=options)
            _check_job_endpoint(options.view_as(PortableOptions).job_endpoint)
    except SystemExit as error:  # Beam's own argparse
        message = complaints.getvalue().strip().rpartition("error: ")[2]
        raise UsageError(message) from error
    except (ValueError, ImportError, AttributeError) as error:
        raise UsageError(f"Beam: {' '.join(str(error).split())}") from error


def check_staging(options: PipelineOptions) -> None:
    """Whether what Dataflow needs can be staged: Beam repeats a refused upload for minutes.

    Raises:
        UsageError: a folder may not be written.
    """
    google = options.view_as(GoogleCloudOptions)
    for flag in ("staging_location", "temp_location"):
        folder = getattr(google, flag)
        if folder:
            storage.check_writable(folder, f"--{flag}")


def _check_job_endpoint(endpoint: str | None) -> None:
    host, _, port = (endpoint or "").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"--job_endpoint {endpoint}: no job service answers there"
            f" ({error.strerror if isinstance(error, OSError) and error.strerror else error});"
            " start it, as docs/runners.md says, or name another"
        ) from error
