"""The warehouse's tables: every column, its type and its meaning, once.

The run folder's Parquet files, both warehouses and docs/tables.md follow from here.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from beam_jobs.batch import FINDINGS_TYPE
from beam_jobs.schema import Feature

_RESERVED_BY_BIGQUERY = (
    "_TABLE_", "_FILE_", "_PARTITION", "_ROW_TIMESTAMP", "__ROOT__", "_COLIDENTIFIER", "_CHANGE_",
)  # fmt: skip
"""https://cloud.google.com/bigquery/docs/schemas#column_names"""

_LONGEST_NAME = 280
"""BigQuery takes 300 characters; a prefix and a number must fit."""

TEXTS = pa.list_(pa.string())
NUMBERS = pa.list_(pa.float64())
TIMESTAMP = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Column:
    """A column of a table: its Arrow type and what it means, for docs and BigQuery."""

    name: str
    type: pa.DataType
    description: str


RUN_COLUMNS = (
    Column("run_id", pa.string(), "hash of everything that decides the run's result"),
    Column("job", pa.string(), "monthly or requests"),
    Column("period", pa.date32(), "first day of the month, or the day of a queue run"),
)

TABLES: Mapping[str, tuple[Column, ...]] = {
    "runs": (
        *RUN_COLUMNS,
        Column("status", pa.string(), "PUBLISHED, HELD, SUPERSEDED, REJECTED or FAILED"),
        Column("started_at", TIMESTAMP, "when the plan was made"),
        Column("finished_at", TIMESTAMP, "when the status was decided"),
        Column("rows_read", pa.int64(), "records in the inputs"),
        Column("rows_scored", pa.int64(), "rows in scores"),
        Column("rows_quarantined", pa.int64(), "rows in quarantine"),
        Column("error", pa.string(), "why a FAILED run failed"),
        Column("model", pa.string(), "SavedModel folder"),
        Column("model_version", pa.string(), "version folder, else the model's fingerprint"),
        Column("schema_fingerprint", pa.string(), "hash of the schema"),
        Column("baseline", pa.string(), "statistics of the training data, for skew"),
        Column("previous_run_id", pa.string(), "run compared with, for drift"),
        Column("code_version", pa.string(), "version of beam-jobs"),
        Column("run_folder", pa.string(), "where the run's files are"),
        Column("hold_reasons", TEXTS, "why the gate held the run"),
    ),
    "scores": (
        *RUN_COLUMNS,
        Column("key", pa.string(), "the row's key (--key)"),
        Column("score", pa.float64(), "the model's score"),
        Column("outputs", pa.string(), "the model's other outputs, a JSON object"),
        Column("model_version", pa.string(), "version that scored the row"),
        Column("flags", TEXTS, "reason codes that did not stop the row"),
        Column("source_file", pa.string(), "input that held the row"),
        Column("source_row", pa.int64(), "row in that input, from 1, without the header"),
    ),
    "quarantine": (
        *RUN_COLUMNS,
        Column("key", pa.string(), "the row's key, where it could be read"),
        Column("reasons", TEXTS, "all reason codes of the row, each once"),
        Column(
            "details",
            FINDINGS_TYPE,
            "each finding: its reason code, the feature (null: the whole record), and its value"
            " with what was expected",
        ),
        Column("raw", pa.binary(), "the original record, at most 64 KiB"),
        Column("source_file", pa.string(), "input that held the row"),
        Column("source_row", pa.int64(), "row in that input, from 1, without the header"),
    ),
    "anomalies": (
        *RUN_COLUMNS,
        Column("slice", pa.string(), "all, or feature=value"),
        Column("feature", pa.string(), "feature, empty for the whole data set"),
        Column("kind", pa.string(), "SCHEMA, SKEW, DRIFT, PREDICTION, VOLUME, QUALITY or DECAY"),
        Column("code", pa.string(), "what was found; TFDV's own anomaly type where it is TFDV's"),
        Column("severity", pa.string(), "INFO, WARN or HOLD"),
        Column("measure", pa.string(), "distance or share that was measured"),
        Column("value", pa.float64(), "its value"),
        Column("threshold", pa.float64(), "the limit that it passed"),
        Column("short_description", pa.string(), "a few words"),
        Column("description", pa.string(), "a sentence with the figures"),
        Column(
            "reference",
            pa.string(),
            "what it was compared with: schema, baseline, previous (runs.previous_run_id) or"
            " replaced (the run of the period that was published before)",
        ),
    ),
    "feature_statistics": (
        *RUN_COLUMNS,
        Column("slice", pa.string(), "all, or feature=value"),
        Column("feature", pa.string(), "feature"),
        Column("type", pa.string(), "INT, FLOAT or BYTES"),
        Column("rows", pa.int64(), "rows in the slice"),
        Column("missing", pa.int64(), "rows without a value"),
        Column("zeros", pa.int64(), "values that are 0 (numeric)"),
        Column("mean", pa.float64(), "mean of the rows that were scored (numeric)"),
        Column(
            "std_dev", pa.float64(), "standard deviation of the rows that were scored (numeric)"
        ),
        Column("min", pa.float64(), "smallest value in the rows that were scored (numeric)"),
        Column("max", pa.float64(), "largest value in the rows that were scored (numeric)"),
        Column("quantiles", NUMBERS, "the 11 deciles from minimum to maximum (numeric)"),
        Column("distinct", pa.int64(), "distinct values, estimated (categorical)"),
        Column(
            "top_values",
            pa.list_(pa.struct([("value", pa.string()), ("count", pa.float64())])),
            "most frequent values, at most 20 (categorical)",
        ),
        Column("skew", pa.float64(), "distance to the baseline; null where none was measured"),
        Column(
            "skew_measure",
            pa.string(),
            "which distance that is: infinity_norm, jensen_shannon_divergence or"
            " normalized_abs_difference of categories, quantile_jensen_shannon_divergence of"
            " numbers (in anomalies, jensen_shannon_divergence is TFDV's, in bins of equal width)",
        ),
        Column("drift", pa.float64(), "distance to the previous run; null where none was measured"),
        Column("drift_measure", pa.string(), "which distance that is, as skew_measure"),
    ),
    "inputs": (
        *RUN_COLUMNS,
        Column("uri", pa.string(), "input file"),
        Column("generation", pa.string(), "content that was read"),
        Column("bytes", pa.int64(), "size"),
        Column(
            "rows", pa.int64(), "records that it held; null: it cannot be read, and was set aside"
        ),
    ),
    "publications": (
        *RUN_COLUMNS,
        Column("at", TIMESTAMP, "when"),
        Column("action", pa.string(), "PUBLISHED, APPROVED, REJECTED or ROLLED_BACK (put back)"),
        Column(
            "by",
            pa.string(),
            "who: the system's user, in BigQuery the account; null before there was this table",
        ),
        Column("reason", pa.string(), "why (--reason)"),
        Column("replaced_run_id", pa.string(), "run that was published until then"),
    ),
}


def arrow_schema(table: str) -> pa.Schema:
    """The fixed columns of a table."""
    return pa.schema([(column.name, column.type) for column in TABLES[table]])


def own_columns(features: Sequence[Feature]) -> dict[str, str]:
    """{feature name: column name in `scores`} for the ad's own columns.

    Characters that BigQuery does not take become `_`, and what is longer than it takes is cut; a
    name that `scores` uses itself, or BigQuery, gets the prefix `ad_`; what then still clashes
    (BigQuery ignores case) gets a number. A name that can stay as it is does.
    """
    taken = {column.name.lower() for column in TABLES["scores"]}
    stays = {f.name for f in features if _plain_name(f.name) == f.name} - taken
    names: dict[str, str] = {}
    for feature in sorted(features, key=lambda feature: feature.name not in stays):
        name = _plain_name(feature.name)
        if name.lower() in taken:
            name = "ad_" + name
        base, count = name, 2
        while name.lower() in taken:
            name, count = f"{base}_{count}", count + 1
        taken.add(name.lower())
        names[feature.name] = name
    return {feature.name: names[feature.name] for feature in features}


def _plain_name(feature: str) -> str:
    """The name as both warehouses take it."""
    name = re.sub(r"[^0-9A-Za-z_]", "_", feature) or "_"
    if name[0].isdigit():
        name = "_" + name
    if name.upper().startswith(_RESERVED_BY_BIGQUERY):
        name = "ad_" + name
    return name[:_LONGEST_NAME]


def same_but_for_case(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that are equal but for case: no warehouse tells such columns apart."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.lower(), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def scores_schema(features: Sequence[Feature]) -> pa.Schema:
    """The columns of `scores`: the fixed ones, then the ad's own, typed by the schema."""
    names = own_columns(features)
    fields = [(names[feature.name], feature.arrow) for feature in features]
    return pa.schema([*arrow_schema("scores"), *(pa.field(*field) for field in fields)])


def own_schema(table: str) -> pa.Schema:
    """A table's columns but for those that every table of a run has."""
    shared = {column.name for column in RUN_COLUMNS}
    return pa.schema([field for field in arrow_schema(table) if field.name not in shared])
