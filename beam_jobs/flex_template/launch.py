"""What Dataflow's Flex Template launcher runs: plans the job, submits it, and ends.

The image says which job it is (BEAM_JOBS_JOB) and which image the workers run (BEAM_JOBS_IMAGE);
all else comes as arguments, as the launcher passes them.
"""

import os
from collections.abc import Sequence

from beam_jobs import notify, terminal
from beam_jobs.commands.command_line import Command, parse
from beam_jobs.commands.verbs import JOBS
from beam_jobs.errors import BeamJobsError, UsageError
from beam_jobs.flex_template.arguments import command_line
from beam_jobs.runs.run_row import Job
from beam_jobs.runs.summary import RunOutcome, RunSummary

JOB = "BEAM_JOBS_JOB"
IMAGE = "BEAM_JOBS_IMAGE"


def main(argv: Sequence[str]) -> int:
    """Submits the job without waiting for it; returns the exit code.

    A launch that fails is announced like a run that fails: nobody sees a launcher's terminal.
    """
    job = os.environ.get(JOB, "")
    try:
        command = parse([job, *_arguments(argv, job)], JOBS)
        summary = _start(Job(job), command)
        if summary is None or summary.outcome is not RunOutcome.SUBMITTED:
            _submit_nothing(command.beam_args)
        return 0
    except BeamJobsError as error:
        terminal.print_error(str(error))
        if not error.announced:
            _announce(job, str(error))
        return error.exit_code
    except Exception as error:
        _announce(job, f"{type(error).__name__}: {error}")
        raise


def _start(job: Job, command: Command) -> RunSummary | None:
    if job is Job.MONTHLY:
        from beam_jobs.commands.monthly import run_monthly

        return run_monthly(command.config, command.beam_args)
    from beam_jobs.commands.requests import run_requests

    return run_requests(command.config, command.beam_args)


def _arguments(argv: Sequence[str], job: str) -> list[str]:
    if job not in JOBS:
        raise UsageError(f"{JOB}={job}: is no job; there are {', '.join(JOBS)}")
    words = command_line(argv, JOBS[job].config)
    names = {word.split("=", 1)[0] for word in words}
    image = os.environ.get(IMAGE)
    if image and not names & {"--sdk_container_image", "--worker_harness_container_image"}:
        words.append(f"--sdk_container_image={image}")
    return [*words, "--no_wait_until_finish"]


def _submit_nothing(beam_args: Sequence[str]) -> None:
    """Submits a graph that does nothing, where there was nothing to do on Dataflow.

    A queue without requests, or a month that is published already, is no failure; but Dataflow
    takes a launch that gives it no job for one.
    """
    import apache_beam as beam

    from beam_jobs.pipelines.options import is_remote, pipeline_options

    options = pipeline_options(beam_args)
    if not is_remote(options):
        return
    pipeline = beam.Pipeline(options=options)
    _ = pipeline | "Nothing to do" >> beam.Create([0])
    pipeline.run()


def _announce(job: str, error: str) -> None:
    """Without the webhook: its address is one of the arguments that may be what is wrong."""
    notify.log_to_standard_error()
    known = Job(job) if job in JOBS else None
    notify.announce(RunSummary(job=known, outcome=RunOutcome.FAILED, error=error), None)
