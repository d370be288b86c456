"""The graphs hold nothing that only one runner knows: translated, they are Beam's own steps."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import beam_runner_api_pb2

from beam_jobs import storage
from beam_jobs.config.verbs import MonthlyConfig, RequestsConfig
from beam_jobs.pipelines import baseline, monthly, requests
from beam_jobs.plan import Plan, plan_monthly, plan_requests
from support.queues import good, make_setup, put

pytestmark = pytest.mark.integration

PRIMITIVES = {
    common_urns.primitives.IMPULSE.urn,
    common_urns.primitives.PAR_DO.urn,
    common_urns.primitives.FLATTEN.urn,
    common_urns.primitives.GROUP_BY_KEY.urn,
    common_urns.primitives.ASSIGN_WINDOWS.urn,
}
COMPOSITES = {
    "",
    python_urns.GENERIC_COMPOSITE_TRANSFORM,
    python_urns.PICKLED_TRANSFORM,
    common_urns.composites.RESHUFFLE.urn,
    common_urns.composites.COMBINE_PER_KEY.urn,
    common_urns.combine_components.COMBINE_GROUPED_VALUES.urn,
}
"""What a runner may replace by something better, or else expands."""

STANDARD_CODERS = {
    common_urns.coders.BYTES.urn,
    common_urns.coders.STRING_UTF8.urn,
    common_urns.coders.VARINT.urn,
    common_urns.coders.BOOL.urn,
    common_urns.coders.KV.urn,
    common_urns.coders.ITERABLE.urn,
    common_urns.coders.NULLABLE.urn,
    common_urns.coders.GLOBAL_WINDOW.urn,
}
PYTHON_CODERS = {python_urns.PICKLED_CODER, "beam:coder:tuple:v1"}
"""Bytes to the runner; only our workers read them."""


@pytest.fixture(scope="module")
def queue_plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("queue")
    make_setup(folder)
    put(folder, "a.jsonl", good("a", 3))
    return plan_requests(
        RequestsConfig(
            queue=(f"{folder}/queue/*",),
            model=f"{folder}/model",
            schema=f"{folder}/schema.pbtxt",
            runs=str(folder / "runs"),
            warehouse=f"duckdb:{folder / 'ads.duckdb'}",
            responses=str(folder / "responses"),
        )
    )


@pytest.fixture(scope="module")
def plan(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("portable")
    return plan_monthly(
        MonthlyConfig(
            month="2026-10",
            ads=(f"{demo}/ads/{{month}}/*",),
            images=f"{demo}/banners",
            model=f"{demo}/models/ads",
            schema=f"{demo}/baseline/schema.pbtxt",
            baseline=f"{demo}/baseline/statistics.binpb",
            runs=str(folder / "runs"),
            warehouse=f"duckdb:{folder / 'ads.duckdb'}",
            key="ad_id",
            label="clicked",
            slice=("device",),
        )
    )


def _monthly(pipeline: beam.Pipeline, plan: Plan) -> None:
    monthly.build(pipeline, plan)


def _column_types(pipeline: beam.Pipeline, plan: Plan) -> None:
    baseline.build_column_types(pipeline, plan.input_list, "column_types.json")


def _statistics(pipeline: beam.Pipeline, plan: Plan) -> None:
    baseline.build_statistics(
        pipeline,
        plan.input_list,
        plan.read_features,
        "statistics.binpb",
        schema=plan.schema,
        images=plan.images,
        scoring=baseline.Scoring(plan.model, plan.binding),
        slice_by=plan.data.slice,
    )


@pytest.mark.parametrize("build", [_monthly, _column_types, _statistics])
def test_the_graph_is_portable(build: Callable[[beam.Pipeline, Plan], None], plan: Plan) -> None:
    pipeline = beam.Pipeline(options=PipelineOptions())
    build(pipeline, plan)
    assert_portable(pipeline)


def test_the_graph_of_the_queue_job_is_portable(queue_plan: Plan) -> None:
    pipeline = beam.Pipeline(options=PipelineOptions())
    requests.build(pipeline, queue_plan)
    assert_portable(pipeline)


def assert_portable(pipeline: beam.Pipeline) -> None:
    proto = pipeline.to_runner_api()
    parts = proto.components
    leaves = [t for t in parts.transforms.values() if not _is_composite(t)]
    assert {leaf.spec.urn for leaf in leaves} <= PRIMITIVES
    composites = [t for t in parts.transforms.values() if _is_composite(t)]
    assert {composite.spec.urn for composite in composites} <= COMPOSITES
    assert {coder.spec.urn for coder in parts.coders.values()} <= STANDARD_CODERS | PYTHON_CODERS
    assert [environment.urn for environment in parts.environments.values()] == [
        "beam:env:default:v1"
    ]
    for windowing in parts.windowing_strategies.values():
        assert windowing.window_fn.urn == common_urns.global_windows.urn
    # Neither state, timers nor splitting, which not every runner has.
    assert list(proto.requirements) == []
    for leaf in leaves:
        if leaf.spec.urn == common_urns.primitives.PAR_DO.urn:
            payload = beam_runner_api_pb2.ParDoPayload.FromString(leaf.spec.payload)
            assert not payload.state_specs, leaf.unique_name
            assert not payload.timer_family_specs, leaf.unique_name
            assert not payload.restriction_coder_id, leaf.unique_name


def _is_composite(transform: Any) -> bool:
    """Also one that gives on what it takes, such as `AddImages` without images."""
    return bool(transform.subtransforms) or set(transform.outputs.values()) <= set(
        transform.inputs.values()
    )


GRAPHS = {"monthly": _monthly, "column_types": _column_types, "statistics": _statistics}


@pytest.mark.parametrize("name", [*GRAPHS, "requests"])
def test_what_is_sent_to_workers_stays_small(plan: Plan, queue_plan: Plan, name: str) -> None:
    """A service takes a graph of some megabytes; no file's content, name or model is in it."""
    build = GRAPHS.get(name, requests.build)
    files = tuple(
        storage.FileInfo(f"gs://bucket/ads/{number:06d}.csv", 1_000_000, "1764090000000000")
        for number in range(100_000)
    )
    sizes = []
    for inputs in (files[:1], files):
        pipeline = beam.Pipeline(options=PipelineOptions())
        some = queue_plan if name == "requests" else plan
        build(pipeline, dataclasses.replace(some, inputs=inputs))
        proto = pipeline.to_runner_api()
        assert b"ads/000000" not in proto.SerializeToString()
        sizes.append(proto.ByteSize())
    # Pickles of sets differ by some bytes from one time to the next.
    assert abs(sizes[1] - sizes[0]) < 1_000
    assert sizes[1] < 1 << 20
