"""Runs a staged pipeline: `python run_staged.py pipeline.pb`, a program of its own.

It knows nothing but the file: whatever the graph needs, it carries.
"""

import logging
import sys
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner


def main(path: str) -> None:
    # As the workers log: everything from INFO on.
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    pipeline = beam_runner_api_pb2.Pipeline.FromString(Path(path).read_bytes())
    for environment in pipeline.components.environments.values():
        # In a container on Dataflow, in this process here.
        environment.urn = python_urns.EMBEDDED_PYTHON
        environment.payload = b""
        del environment.dependencies[:]
    FnApiRunner().run_via_runner_api(pipeline, PipelineOptions([])).wait_until_finish()


if __name__ == "__main__":
    main(sys.argv[1])
