"""Beam's options for a run: what we set where the user does not."""

from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
"""Named in full: Beam's default tries to download Prism first, then falls back in silence."""


def pipeline_options(beam_args: Sequence[str]) -> PipelineOptions:
    """The user's flags over our defaults; `DirectRunner` means the local runner here."""
    named = PipelineOptions(list(beam_args)).get_all_options(drop_default=True)
    local = named.get("runner") in (None, "DirectRunner", "FnApiRunner")
    runner = [f"--runner={LOCAL_RUNNER}"] if local else []
    return PipelineOptions([*beam_args, *runner])
