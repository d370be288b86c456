"""Beam's options for a run: what we set where the user does not."""

import contextlib
import io
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.errors import UsageError

LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
"""Named in full: Beam's default tries to download Prism first, then falls back in silence."""


def pipeline_options(beam_args: Sequence[str]) -> PipelineOptions:
    """The user's flags over our defaults; `DirectRunner` means the local runner here."""
    named = PipelineOptions(list(beam_args)).get_all_options(drop_default=True)
    local = named.get("runner") in (None, "DirectRunner", "FnApiRunner")
    runner = [f"--runner={LOCAL_RUNNER}"] if local else []
    return PipelineOptions([*beam_args, *runner])


def check_beam_args(beam_args: Sequence[str]) -> None:
    """Finds before any work what Beam itself says only when the pipeline is made.

    Raises:
        UsageError: a value that its flag does not take, a runner that does not exist, or flags
            that the runner requires.
    """
    complaints = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaints):
            beam.Pipeline(options=pipeline_options(beam_args))
    except SystemExit as error:  # Beam's own argparse
        message = complaints.getvalue().strip().rpartition("error: ")[2]
        raise UsageError(message) from error
    except (ValueError, ImportError, AttributeError) as error:
        raise UsageError(f"Beam: {error}") from error
