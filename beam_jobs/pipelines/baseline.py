"""The baseline's graphs: which types columns have, and the statistics of training data."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import AsList
from tensorflow_metadata.proto.v0 import schema_pb2

import beam_jobs.pipelines.coder  # noqa: F401  (registers how batches travel)
from beam_jobs import storage
from beam_jobs.batch import DEFAULT_ACTIONS, RAW, KeyedBatch, column_or_none, readable
from beam_jobs.errors import AuditError
from beam_jobs.images.spec import ImageSpec
from beam_jobs.images.transforms import AddImages
from beam_jobs.models.registry import ModelLocation
from beam_jobs.pipelines.counter import CountRows, RowCounter
from beam_jobs.read.byte_range import ReadSpec, format_of
from beam_jobs.read.coverage import RangeRows, exactly_one, rows_of_files
from beam_jobs.read.inputs import Inputs
from beam_jobs.read.json_names import nested_names
from beam_jobs.read.transforms import BATCHES, ROWS, ReadRanges, SplitFiles
from beam_jobs.schema import Feature, FeatureType
from beam_jobs.score.signature_binding import SignatureBinding
from beam_jobs.score.transforms import Score
from beam_jobs.statistics import column_types
from beam_jobs.statistics.files import (
    ScoredBy,
    Statistics,
    check_measured,
    score_feature_name,
)
from beam_jobs.statistics.transforms import ComputeStatistics
from beam_jobs.validation.transforms import CheckRows


@dataclass(frozen=True)
class Scoring:
    """The model whose scores join the statistics."""

    location: ModelLocation
    binding: SignatureBinding


def build_column_types(pipeline: beam.Pipeline, inputs: Inputs, found: str) -> None:
    """Finds the types of columns that no schema describes; writes them to the file `found`."""
    read = pipeline | SplitFiles(inputs) | ReadRanges(ReadSpec(()))
    joined = (
        read[BATCHES]
        | "Find column types" >> beam.Map(_types_of, inputs)
        | "Join" >> beam.CombineGlobally(_join)
    )
    _ = (
        pipeline
        | "Found" >> beam.Create([found])
        | "Write" >> beam.Map(_write_column_types, inputs, AsList(read[ROWS]), AsList(joined))
    )


RowsTypes = tuple[int, column_types.ColumnTypes, frozenset[str]]
"""(rows, the types of their columns, names of columns that hold lists or objects)."""


def _types_of(element: KeyedBatch, inputs: Inputs) -> RowsTypes:
    key, batch = element
    kind = format_of(inputs.uris[key.source])
    found = column_types.column_types_of(batch, cells_are_text=kind.is_csv)
    # Readers leave such columns of JSON Lines out, so the batch does not show them.
    nested = frozenset[str]()
    if kind.is_jsonl:
        raw = column_or_none(readable(batch), RAW)
        assert raw is not None
        nested = nested_names(record.as_py() for record in raw)
    return batch.num_rows, found, nested


def _join(parts: Iterable[RowsTypes]) -> RowsTypes:
    all_parts = list(parts)
    return (
        sum(rows for rows, _, _ in all_parts),
        column_types.join(found for _, found, _ in all_parts),
        frozenset[str]().union(*(nested for _, _, nested in all_parts)),
    )


def _write_column_types(
    uri: str, inputs: Inputs, reads: Sequence[RangeRows], joined: Sequence[RowsTypes]
) -> None:
    rows, found, nested = exactly_one(joined, "types of columns")
    _check_rows(rows, reads, inputs)
    features = [
        {"name": feature.name, "type": feature.type.value, "is_list": feature.is_list}
        for feature in column_types.to_features(found)
    ]
    document = {"features": features, "nested": sorted(nested)}
    storage.write_atomic(uri, json.dumps(document).encode())


def _check_rows(rows: int, reads: Sequence[RangeRows], inputs: Inputs) -> None:
    if rows != (read := sum(rows_of_files(reads, inputs.uris))):
        raise AuditError(
            f"{read} rows were read, but {rows} arrived: the runner drops or duplicates"
        )


def read_column_types(uri: str) -> tuple[tuple[Feature, ...], frozenset[str]]:
    """What `build_column_types` found: (columns, names of columns that hold lists or objects)."""
    document = json.loads(storage.read_bytes(uri))
    features = tuple(
        Feature(item["name"], FeatureType(item["type"]), item["is_list"])
        for item in document["features"]
    )
    return features, frozenset(document["nested"])


def build_statistics(
    pipeline: beam.Pipeline,
    inputs: Inputs,
    features: tuple[Feature, ...],
    found: str,
    *,
    rows_found: str | None = None,
    key: str | None = None,
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
        rows_found: where to write how many rows there are and how many of them are readable, for
            `read_rows`; None where nobody asks.
        key: the column that identifies a row.
        schema: serialized; None while there is none.
        images: what joins the rows of the images that they name; None for nothing.
        scoring: a model, for which there must be a schema.
        slice_by: features whose values get statistics of their own.
        counter: gets rows for a progress bar.
    """
    read = pipeline | SplitFiles(inputs) | ReadRanges(ReadSpec(features, key))
    rows = read[BATCHES] | "Count rows" >> beam.ParDo(CountRows(counter)) | AddImages(images)
    if schema is not None:
        rows |= CheckRows(schema)
    if scoring is not None:
        rows |= Score(scoring.location, scoring.binding, DEFAULT_ACTIONS)
    statistics = rows | ComputeStatistics(schema, slice_by)
    counts = rows | "Rows" >> beam.Map(_rows_of) | "All rows" >> beam.CombineGlobally(_add)
    _ = (
        pipeline
        | "Found" >> beam.Create([found])
        | "Write"
        >> beam.Map(
            _write_statistics,
            inputs,
            AsList(read[ROWS]),
            AsList(counts),
            AsList(statistics),
            _scored_by(scoring, schema),
            rows_found,
        )
    )


def _scored_by(scoring: Scoring | None, schema: bytes | None) -> tuple[ScoredBy, str] | None:
    """(the model, the score's name among the features)."""
    if scoring is None or schema is None:
        return None
    model = ScoredBy(scoring.location.version, scoring.location.fingerprint)
    return model, score_feature_name(schema_pb2.Schema.FromString(schema))


RowsReadable = tuple[int, int]
"""(rows, those of them that could be parsed into columns)."""


def _rows_of(element: KeyedBatch) -> RowsReadable:
    batch = element[1]
    return batch.num_rows, readable(batch).num_rows


def _add(counts: Iterable[RowsReadable]) -> RowsReadable:
    both = list(counts)
    return sum(rows for rows, _ in both), sum(some for _, some in both)


def _write_statistics(
    uri: str,
    inputs: Inputs,
    reads: Sequence[RangeRows],
    counts: Sequence[RowsReadable],
    statistics: Sequence[Statistics],
    scored_by: tuple[ScoredBy, str] | None,
    rows_found: str | None,
) -> None:
    rows, readable_rows = exactly_one(counts, "rows")
    _check_rows(rows, reads, inputs)
    found = exactly_one(statistics, "statistics")
    check_measured(found, readable_rows)
    if scored_by is not None:
        model, score = scored_by
        marked = Statistics.FromString(found.SerializeToString())
        model.mark(marked, score)
        found = marked
    if rows_found is not None:
        storage.write_atomic(rows_found, json.dumps([rows, readable_rows]).encode())
    storage.write_atomic(uri, found.SerializeToString())


def read_rows(uri: str) -> RowsReadable:
    """(rows, readable rows) that `build_statistics` found."""
    rows, readable_rows = json.loads(storage.read_bytes(uri))
    return rows, readable_rows
