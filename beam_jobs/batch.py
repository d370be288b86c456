"""What a RecordBatch looks like between stages.

An element of a PCollection is one `pyarrow.RecordBatch` of at most `ROWS_PER_BATCH` rows. Every
input record is exactly one row of exactly one batch, from the reader to the two sinks; nothing
drops a row, a row that fails only gains findings. A batch holds

* the features under their own names: INT as int64, FLOAT as float64, BYTES as string (UTF-8), or
  a list of these; null is "missing". Columns that the schema does not know ride along, so that
  the statistics (and so TFDV's schema anomalies) see them;
* the reserved columns below. Readers add KEY, SOURCE_FILE, SOURCE_ROW, RAW and FINDINGS (and IMAGE
  where a record carries its image inside), the image stage adds IMAGE or IMAGE_TENSOR where the
  model takes them, scoring uses them up and adds SCORE and OUTPUTS.
"""

import enum
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

ROWS_PER_BATCH = 32_768
"""Rows of a full batch: large enough that per-batch costs vanish, small enough for flat memory."""

RAW_LIMIT_BYTES = 64 * 1024
"""The original record is kept in quarantine up to this size."""

RESERVED_PREFIX = "__"
KEY = "__key"  # string: the cell of --key as text; null where there is no key
SOURCE_FILE = "__source_file"  # string: the input's URI
SOURCE_ROW = "__source_row"  # int64: counted from 1, without the header
RAW = "__raw"  # binary: the original record with its line end; null where only columns exist
FINDINGS = "__findings"  # list<struct<reason, feature, detail>>: empty for a row without one
SCORE = "__score"  # float64: null where the row was not scored
IMAGE = "__image"  # binary: the encoded image; given by the reader, or fetched for the model
IMAGE_TENSOR = "__image_tensor"  # fixed size binary: the image as the model's tensor takes it
OUTPUTS = "__outputs"  # string: JSON object of the model's other outputs; null where there are none


class BatchKey(NamedTuple):
    """Where a batch comes from: the same for every attempt at it, and of no other batch.

    Attributes:
        source: what is read as one. In the monthly job an input file, its place in the plan; in
            the queue job a group of request files, its number.
        byte_range: of the file, its number; 0 in the queue job.
        batch: the batch's place among those of the byte range.
    """

    source: int
    byte_range: int
    batch: int


KeyedBatch = tuple[BatchKey, pa.RecordBatch]
"""An element of the graph."""

FINDING_TYPE = pa.struct(
    [("reason", pa.string()), ("feature", pa.string()), ("detail", pa.string())]
)
"""Why, in which feature (null: in the record as a whole), and the value with what was expected."""

FINDINGS_TYPE = pa.list_(FINDING_TYPE)
"""Of the column FINDINGS, and of `details` in the table `quarantine`."""


class Reason(str, enum.Enum):
    """Why a row is quarantined or flagged. The same words in tables, report, metrics and docs."""

    MALFORMED_RECORD = "MALFORMED_RECORD"
    INVALID_ENCODING = "INVALID_ENCODING"
    MISSING_REQUIRED = "MISSING_REQUIRED"
    INVALID_TYPE = "INVALID_TYPE"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    OUT_OF_DOMAIN = "OUT_OF_DOMAIN"
    INVALID_VALUE_COUNT = "INVALID_VALUE_COUNT"
    NOT_FINITE = "NOT_FINITE"
    DUPLICATE_KEY = "DUPLICATE_KEY"
    MISSING_KEY = "MISSING_KEY"
    IMAGE_MISSING = "IMAGE_MISSING"
    IMAGE_CORRUPT = "IMAGE_CORRUPT"
    IMAGE_TOO_LARGE = "IMAGE_TOO_LARGE"
    IMAGE_UNSUPPORTED = "IMAGE_UNSUPPORTED"
    MODEL_ERROR = "MODEL_ERROR"


class Action(str, enum.Enum):
    """What happens to a row that has a finding."""

    QUARANTINE = "QUARANTINE"
    FLAG = "FLAG"  # the row is scored and carries the reason in `flags`


Actions = Mapping[Reason, Action]

DEFAULT_ACTIONS: Actions = {
    reason: Action.FLAG if reason is Reason.OUT_OF_DOMAIN else Action.QUARANTINE
    for reason in Reason
}

ALWAYS_QUARANTINED = frozenset({Reason.MALFORMED_RECORD, Reason.MODEL_ERROR})
"""Nothing could be scored in such a row, so a policy cannot turn these into flags."""


@dataclass(frozen=True)
class Findings:
    """Findings of one reason in one feature of one batch, columnar.

    Attributes:
        reason: the one reason.
        rows: int64 indices into the batch, ascending or not; a row may appear several times.
        details: as many texts, each with the value and what was expected.
        feature: the column that they are in; None where it is the record as a whole.
    """

    reason: Reason
    rows: npt.NDArray[np.int64]
    details: Sequence[str]
    feature: str | None = None


class Finding(NamedTuple):
    """One finding, where rows are looked at one by one; see `Findings`."""

    reason: Reason
    row: int
    detail: str
    feature: str | None = None


_SHOWN = 80


def truncated(value: object) -> str:
    """A value as a detail shows it, cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def gathered(found: Sequence[Finding]) -> list[Findings]:
    """Single findings as `Findings`, one a reason and feature."""
    groups: dict[tuple[Reason, str | None], list[Finding]] = {}
    for one in found:
        groups.setdefault((one.reason, one.feature), []).append(one)
    return [
        Findings(
            reason, np.array([f.row for f in rows], np.int64), [f.detail for f in rows], feature
        )
        for (reason, feature), rows in groups.items()
    ]


def as_lists(column: pa.Array, kind: pa.DataType | None = None) -> pa.Array:
    """A column of values as lists of one, null as null; a column of lists as it is.

    Args:
        column: values or lists of values.
        kind: what the values are cast to; None keeps their type.
    """
    if pt.is_list(column.type):
        return column if kind is None else column.cast(pa.list_(kind))
    present = np.asarray(column.is_valid())
    offsets = np.concatenate([[0], np.cumsum(present)]).astype(np.int32)
    mask = np.append(~present, False) if column.null_count else None
    values = column.drop_null() if column.null_count else column
    values = values if kind is None else values.cast(kind)
    return pa.ListArray.from_arrays(pa.array(offsets, mask=mask), values)


def json_record(record: Mapping[str, object]) -> bytes:
    """A record as JSON, for RAW where there is no text of it; see `jsonable`."""
    text = json.dumps(jsonable(record), ensure_ascii=False, default=str)
    return text.encode("utf-8", "replace")


def jsonable(value: object) -> object:
    r"""A value without what JSON lacks.

    Numbers that are not finite become texts, as do bytes, whose parts that are not UTF-8 appear as
    `\xff`.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return {name: jsonable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [jsonable(item) for item in value]
    return value


def with_findings(batch: pa.RecordBatch, found: Sequence[Findings]) -> pa.RecordBatch:
    """The batch with further findings added to its FINDINGS column (created where absent)."""
    found = [f for f in found if len(f.rows)]
    position = batch.schema.get_field_index(FINDINGS)
    if not found and position >= 0:
        return batch
    rows = [np.asarray(f.rows, dtype=np.int64) for f in found]
    reasons = [pa.array([f.reason.value] * len(f.rows), pa.string()) for f in found]
    features = [pa.repeat(pa.scalar(f.feature, pa.string()), len(f.rows)) for f in found]
    details = [pa.array(f.details, pa.string()) for f in found]
    if position >= 0:
        old = batch.column(position)
        old_values = old.flatten()
        rows.insert(0, np.asarray(pc.list_parent_indices(old), dtype=np.int64))
        reasons.insert(0, old_values.field("reason"))
        features.insert(0, old_values.field("feature"))
        details.insert(0, old_values.field("detail"))
    column = _findings_column(batch.num_rows, rows, [reasons, features, details])
    return set_column(batch, FINDINGS, column)


def _findings_column(
    num_rows: int,
    rows: Sequence[npt.NDArray[np.int64]],
    fields: Sequence[Sequence[pa.Array]],
) -> pa.Array:
    """The column of findings whose fields, in `FINDING_TYPE`'s order, come in pieces."""
    all_rows = np.concatenate(rows) if rows else np.zeros(0, np.int64)
    order = np.argsort(all_rows, kind="stable")
    offsets = np.searchsorted(all_rows[order], np.arange(num_rows + 1)).astype(np.int32)
    take = pa.array(order)
    values = pa.StructArray.from_arrays(
        [
            pa.concat_arrays(pieces).take(take) if rows else pa.array([], pa.string())
            for pieces in fields
        ],
        fields=list(FINDING_TYPE),
    )
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def set_column(batch: pa.RecordBatch, name: str, column: pa.Array) -> pa.RecordBatch:
    """The batch with one column replaced, or appended where it does not exist."""
    position = batch.schema.get_field_index(name)
    columns, names = list(batch.columns), list(batch.schema.names)
    if position >= 0:
        columns[position] = column
    else:
        columns.append(column)
        names.append(name)
    return pa.RecordBatch.from_arrays(columns, names=names)


def without(batch: pa.RecordBatch, *names: str) -> pa.RecordBatch:
    """The batch without these columns; the batch itself where it has none of them."""
    kept = [name for name in batch.schema.names if name not in names]
    if len(kept) == batch.num_columns:
        return batch
    columns = [batch.column(batch.schema.get_field_index(name)) for name in kept]
    return pa.RecordBatch.from_arrays(columns, names=kept)


def column_or_none(batch: pa.RecordBatch, name: str) -> pa.Array | None:
    """The column of that name, None where the batch has none."""
    position = batch.schema.get_field_index(name)
    return batch.column(position) if position >= 0 else None


def feature_names(batch: pa.RecordBatch) -> list[str]:
    """Names of all columns that are not reserved."""
    return [name for name in batch.schema.names if not name.startswith(RESERVED_PREFIX)]


def given_way(name: str, taken: Collection[str]) -> str:
    """What a column of the data is called whose own name is one of ours: `ad_NAME`."""
    other = f"ad_{name}"
    while other in taken:
        other = f"ad_{other}"
    return other


def rows_with(batch: pa.RecordBatch, reasons: frozenset[Reason]) -> npt.NDArray[np.bool_]:
    """bool[num_rows]: the rows that have a finding of one of these reasons."""
    mask = np.zeros(batch.num_rows, dtype=bool)
    findings = column_or_none(batch, FINDINGS)
    if findings is None or not len(findings.flatten()):
        return mask
    wanted = pa.array([reason.value for reason in reasons], pa.string())
    hit = pc.is_in(findings.flatten().field("reason"), value_set=wanted)
    mask[np.asarray(pc.list_parent_indices(findings))[np.asarray(hit)]] = True
    return mask


def quarantined_rows(batch: pa.RecordBatch, actions: Actions) -> npt.NDArray[np.bool_]:
    """bool[num_rows]: the rows that go to quarantine.

    Those that these actions send there, and of a scored batch all that could not be scored: a
    finding that only flags may still keep the model from a row, and `scores` holds scores.
    """
    mask = rows_with(batch, frozenset(r for r, a in actions.items() if a is Action.QUARANTINE))
    scores = column_or_none(batch, SCORE)
    return mask if scores is None else mask | np.asarray(scores.is_null())


def readable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows that could be parsed into columns: what statistics cover."""
    return keep(batch, ~rows_with(batch, frozenset({Reason.MALFORMED_RECORD})))


def split(batch: pa.RecordBatch, actions: Actions) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """(rows for `scores`, rows for `quarantine`); together they are the batch."""
    mask = quarantined_rows(batch, actions)
    return keep(batch, ~mask), keep(batch, mask)


def keep(batch: pa.RecordBatch, mask: npt.NDArray[np.bool_]) -> pa.RecordBatch:
    """The rows where bool[num_rows] `mask` holds; the batch itself (no copy) where all do."""
    return batch if mask.all() else batch.filter(pa.array(mask))


def finding_text(reason: str, feature: str | None, detail: str) -> str:
    """A finding as people read it: `REASON feature: value, what was expected`."""
    return f"{reason} {detail}" if feature is None else f"{reason} {feature}: {detail}"


def distinct_reasons(findings: pa.ListArray) -> pa.Array:
    """list<string>: the reasons of each row of a FINDINGS column.

    In the order of their first finding and never twice, so that counting reasons counts rows.
    """
    values = findings.flatten()
    parents = np.asarray(pc.list_parent_indices(findings), dtype=np.int64)
    reasons = values.field("reason")
    codes = np.asarray(pc.index_in(reasons, pa.array([r.value for r in Reason])), dtype=np.int64)
    pair = parents * len(Reason) + codes
    _, first = np.unique(pair, return_index=True)
    first.sort()
    everywhere = np.arange(len(findings) + 1)
    offsets = np.searchsorted(parents[first], everywhere).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), reasons.take(pa.array(first)))
