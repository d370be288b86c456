"""The baseline's graphs: which types columns have, and the statistics of training data."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import apache_beam as beam

import beam_jobs.pipelines.coder  # noqa: F401  (registers how batches travel)
from beam_jobs import storage
from beam_jobs.check import census
from beam_jobs.check.statistics import ComputeStatistics
from beam_jobs.check.transforms import CheckRows
from beam_jobs.features import Feature, FeatureType
from beam_jobs.images.spec import ImageSpec
from beam_jobs.images.transforms import AddImages
from beam_jobs.pipelines.counter import CountRows, RowCounter
from beam_jobs.read.spans import ReadSpec, format_of
from beam_jobs.read.transforms import ReadSpans, SplitFiles
from beam_jobs.records import DEFAULT_ACTIONS, Located
from beam_jobs.score.fit import InputPlan
from beam_jobs.score.handler import Score
from beam_jobs.score.location import ModelLocation


@dataclass(frozen=True)
class Scoring:
    """The model whose scores join the statistics."""

    location: ModelLocation
    plan: InputPlan


def build_census(pipeline: beam.Pipeline, inputs: Sequence[storage.FileInfo], found: str) -> None:
    """Finds the types of columns that no schema describes; writes them to the file `found`."""
    uris = [file.uri for file in inputs]
    _ = (
        pipeline
        | SplitFiles(inputs)
        | ReadSpans(ReadSpec(()))
        | "Take census" >> beam.Map(_census_of, uris)
        | "Join" >> beam.CombineGlobally(census.join)
        | "Write" >> beam.Map(_write_census, found)
    )


def _census_of(element: Located, uris: Sequence[str]) -> dict[str, census.ColumnType]:
    file_index, _, _, batch = element
    return census.take_census(batch, cells_are_text=format_of(uris[file_index]).is_csv)


def _write_census(found: census.Census, uri: str) -> None:
    features = [
        {"name": feature.name, "type": feature.type.value, "is_list": feature.is_list}
        for feature in census.to_features(found)
    ]
    storage.write_atomic(uri, json.dumps(features).encode())


def read_census(uri: str) -> tuple[Feature, ...]:
    """What `build_census` found."""
    return tuple(
        Feature(item["name"], FeatureType(item["type"]), item["is_list"])
        for item in json.loads(storage.read_bytes(uri))
    )


def build_statistics(
    pipeline: beam.Pipeline,
    inputs: Sequence[storage.FileInfo],
    features: tuple[Feature, ...],
    found: str,
    *,
    schema: bytes | None = None,
    images: ImageSpec | None = None,
    scoring: Scoring | None = None,
    slice_by: Sequence[str] = (),
    counter: RowCounter | None = None,
) -> None:
    """Computes the statistics of typed columns; writes them to the file `found`.

    Args:
        pipeline: for any runner.
        inputs: training data.
        features: the columns.
        found: where to write a DatasetFeatureStatisticsList.
        schema: serialized; None while there is none.
        images: what joins the rows of the images that they name; None for nothing.
        scoring: a model, for which there must be a schema.
        slice_by: features whose values get statistics of their own.
        counter: told of rows for a progress bar.
    """
    rows = (
        pipeline
        | SplitFiles(inputs)
        | ReadSpans(ReadSpec(features))
        | "Count rows" >> beam.ParDo(CountRows(counter))
        | AddImages(images)
    )
    if schema is not None:
        rows |= CheckRows(schema)
    if scoring is not None:
        rows |= Score(scoring.location, scoring.plan, DEFAULT_ACTIONS)
    _ = (
        rows
        | ComputeStatistics(schema, slice_by)
        | "Write" >> beam.Map(lambda s: storage.write_atomic(found, s.SerializeToString()))
    )
