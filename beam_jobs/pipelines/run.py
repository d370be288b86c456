"""Runs a graph on the runner that Beam's flags name, and waits for its end where that is asked."""

from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import StandardOptions

from beam_jobs.errors import unwrap
from beam_jobs.pipelines.options import is_remote, pipeline_options
from beam_jobs.pipelines.watch import explained, wait_for_end, without_traces


def run_pipeline(
    build: Callable[[beam.Pipeline], None], beam_args: Sequence[str], input_bytes: int
) -> str | None:
    """Runs a graph that reads so many bytes, on the local runner unless the flags name another.

    Returns:
        None where it has ended; with --no_wait_until_finish on Dataflow the job's id there, empty
        where only its description was written (--template_location).
    """
    pipeline = beam.Pipeline(options=pipeline_options(beam_args, input_bytes))
    build(pipeline)
    result: Any = None
    try:
        with without_traces():
            result = pipeline.run()
            no_wait = pipeline.options.view_as(StandardOptions).no_wait_until_finish
            if no_wait and is_remote(pipeline.options):
                return result.job_id() if result.has_job else ""
            wait_for_end(result)
            return None
    except KeyboardInterrupt:
        if result is not None and is_remote(pipeline.options):
            raise KeyboardInterrupt(
                f"the Dataflow job {result.job_id()} goes on without this process, and publishes or"
                " holds the run by itself; its page in the Cloud console can cancel it"
            ) from None
        raise
    except Exception as error:
        ours = unwrap(error) or explained(error)
        if ours is None:
            raise
        raise ours from error
