"""How a run uses the machine where the user does not say."""

import os
from typing import Any

import pytest
from apache_beam.options.pipeline_options import DirectOptions, StandardOptions

from beam_jobs.errors import UsageError
from beam_jobs.pipelines.options import WORKERS_PAY_BYTES, check_beam_args, pipeline_options

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("flags", "size", "mode", "workers"),
    [
        ([], WORKERS_PAY_BYTES - 1, "in_memory", 1),
        ([], WORKERS_PAY_BYTES, "in_memory", CORES),
        (["--runner=DirectRunner"], WORKERS_PAY_BYTES, "in_memory", CORES),
        (["--direct_num_workers=1"], WORKERS_PAY_BYTES, "in_memory", 1),
        (["--direct_running_mode=multi_processing"], WORKERS_PAY_BYTES, "multi_processing", 1),
        (["--runner=DataflowRunner"], WORKERS_PAY_BYTES, "in_memory", 1),
    ],
)
def test_workers_where_they_pay_and_the_user_says_nothing(
    flags: Any, size: Any, mode: Any, workers: Any
) -> None:
    options = pipeline_options(flags, size)
    direct = options.view_as(DirectOptions)
    assert (direct.direct_running_mode, direct.direct_num_workers) == (mode, workers)
    is_local = "--runner=DataflowRunner" not in flags
    assert options.view_as(StandardOptions).runner.endswith("FnApiRunner") is is_local


@pytest.mark.parametrize(
    ("flags", "lacks"),
    [([], "--sdk_container_image=IMAGE"), (["--sdk_container_image=i"], "temp_location")],
)
def test_what_dataflow_needs_is_asked_for_before_any_work(flags: list[str], lacks: str) -> None:
    with pytest.raises(UsageError, match=lacks):
        check_beam_args(["--runner=DataflowRunner", *flags])
