"""Columns -> the arrays that a signature takes; what cannot be one becomes a finding."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from beam_jobs.batch import (
    IMAGE,
    IMAGE_TENSOR,
    Findings,
    Reason,
    as_lists,
    column_or_none,
    truncated,
)
from beam_jobs.models.signature import DType, SignatureKind
from beam_jobs.schema import FeatureType
from beam_jobs.score.defaults import Default
from beam_jobs.score.signature_binding import InputBinding, SignatureBinding, Source

_NUMPY = {
    DType.FLOAT32: np.float32,
    DType.FLOAT64: np.float64,
    DType.INT32: np.int32,
    DType.INT64: np.int64,
    DType.BOOL: np.bool_,
}
_LIMITS: Mapping[DType, tuple[float, float]] = {
    DType.INT32: (int(np.iinfo(np.int32).min), int(np.iinfo(np.int32).max)),
    DType.FLOAT32: (float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)),
}
"""Lowest and highest finite values of the types that are narrower than the columns'."""

_TFDV_TYPES = {
    FeatureType.INT: pa.int64(),
    FeatureType.FLOAT: pa.float32(),
    FeatureType.BYTES: pa.binary(),
}


def check_inputs(batch: pa.RecordBatch, binding: SignatureBinding) -> list[Findings]:
    """Rows that the model cannot be given: a value that is missing, or does not fit the tensor.

    Args:
        batch: any rows; rows that are not to be scored should be left out.
        binding: of the model.
    """
    found: list[Findings] = []
    for input_ in binding.inputs:
        column = _column(batch, input_)
        if input_.required and input_.default is None and column.null_count:
            rows = np.flatnonzero(np.asarray(column.is_null()))
            detail = "is missing, and the schema has no default_value for it"
            if input_.source is not Source.VALUE:
                detail = "there is no image, and the model takes one"
            details = [detail] * len(rows)
            found.append(Findings(Reason.MISSING_REQUIRED, rows, details, input_.feature.name))
        if pt.is_list(column.type) and binding.signature.kind is SignatureKind.RAW:
            found += _wrong_lengths(column, input_)
        found += _unfit_values(column, input_)
    return found


def to_arrays(batch: pa.RecordBatch, binding: SignatureBinding) -> dict[str, npt.NDArray[Any]]:
    """{input: array [n, ...]} of rows without findings from `check_inputs`."""
    if binding.signature.kind is SignatureKind.EXAMPLES:
        return {binding.signature.inputs[0].name: to_examples(batch, binding.inputs)}
    return {input_.name: _to_array(_column(batch, input_), input_) for input_ in binding.inputs}


def to_examples(batch: pa.RecordBatch, inputs: Sequence[InputBinding]) -> npt.NDArray[Any]:
    """object[n] of serialized tf.Example; a missing value without default is left out of it."""
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    columns, names = [], []
    for input_ in inputs:
        column = _column(batch, input_)
        if input_.default is not None:
            column = _filled(column, input_.default)
        columns.append(as_lists(column, _TFDV_TYPES[input_.feature.type]))
        names.append(input_.feature.name)
    encoder = RecordBatchToExamplesEncoder()
    encoded = encoder.encode(pa.RecordBatch.from_arrays(columns, names=names))
    return np.array(encoded, dtype=object)


def _column(batch: pa.RecordBatch, input_: InputBinding) -> pa.Array:
    if input_.source is not Source.VALUE:
        name = IMAGE if input_.source is Source.ENCODED else IMAGE_TENSOR
        column = column_or_none(batch, name)
        return pa.nulls(batch.num_rows, pa.binary()) if column is None else column
    column = column_or_none(batch, input_.feature.name)
    return pa.nulls(batch.num_rows, input_.feature.arrow) if column is None else column


def _filled(column: pa.Array, default: Default) -> pa.Array:
    if not column.null_count:
        return column
    if pt.is_list(column.type):
        one = pa.scalar([default], column.type)
        return pc.if_else(column.is_null(), one, column)
    return column.fill_null(pa.scalar(default, column.type))


def _to_array(column: pa.Array, input_: InputBinding) -> npt.NDArray[Any]:
    width = input_.shape[0] if input_.shape else 1
    rows = len(column)
    if input_.source is Source.PIXELS:
        return _pixels(column, input_)
    if input_.source is Source.ENCODED:
        # Images hardly repeat: no dictionary, which would hash them all.
        images: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return images.reshape((rows, *input_.shape))
    if pt.is_list(column.type):
        if column.null_count:
            assert input_.default is not None
            default = pa.scalar([input_.default] * width, column.type)
            column = pc.if_else(column.is_null(), default, column)
        values = column.flatten()
    else:
        values = column if input_.default is None else _filled(column, input_.default)
    return _values(values, input_).reshape((rows, *input_.shape))


def _pixels(column: pa.Array, input_: InputBinding) -> npt.NDArray[Any]:
    """[n, h, w, c]: the column's own memory, not copied."""
    assert input_.pixels is not None
    shape = (len(column), *input_.shape)
    if not len(column):
        return np.zeros(shape, input_.pixels.dtype)
    start, width = column.offset, input_.pixels.nbytes
    data = memoryview(column.buffers()[1])[start * width : (start + len(column)) * width]
    return np.frombuffer(data, input_.pixels.dtype).reshape(shape)


def _values(values: pa.Array, input_: InputBinding) -> npt.NDArray[Any]:
    dtype = input_.dtype
    if dtype is DType.STRING:
        return _objects(values)
    if dtype is DType.BOOL and pt.is_string(values.type):
        return np.asarray(pc.equal(values, input_.truth[0]))
    return np.asarray(values).astype(_NUMPY[dtype], copy=False)


def _objects(values: pa.Array) -> npt.NDArray[Any]:
    """object[n] of bytes. One object a distinct value: several times faster than one a row."""
    encoded = values.dictionary_encode()
    texts = encoded.dictionary.cast(pa.binary())
    distinct: npt.NDArray[Any] = texts.to_numpy(zero_copy_only=False)
    if not len(distinct):
        return np.zeros(len(values), dtype=object)
    repeated: npt.NDArray[Any] = distinct[np.asarray(encoded.indices)]
    return repeated


def _wrong_lengths(column: pa.Array, input_: InputBinding) -> list[Findings]:
    width = input_.shape[0] if input_.shape else 1
    lengths = pc.list_value_length(column)
    rows = np.flatnonzero(np.asarray(pc.not_equal(lengths, width).fill_null(False)))
    counts = lengths.take(pa.array(rows)).to_pylist()
    details = [f"{n} values, the model takes {width}" for n in counts]
    return [Findings(Reason.INVALID_VALUE_COUNT, rows, details, input_.feature.name)]


def _unfit_values(column: pa.Array, input_: InputBinding) -> list[Findings]:
    """Values, in lists too, that a cast to the tensor's type would silently change."""
    values = column.flatten() if pt.is_list(column.type) else column
    if input_.dtype is DType.BOOL:
        reason, hit = Reason.INVALID_TYPE, _no_booleans(values, input_)
    elif input_.dtype in _LIMITS and input_.feature.type is not FeatureType.BYTES:
        reason, hit = Reason.OUT_OF_RANGE, _beyond(values, _LIMITS[input_.dtype])
    else:
        return []
    places = np.flatnonzero(hit)
    if not len(places):
        return []
    bad = values.take(pa.array(places)).to_pylist()
    rows = places
    if pt.is_list(column.type):
        rows = np.asarray(pc.list_parent_indices(column), dtype=np.int64)[places]
    wrong = "is no boolean" if input_.dtype is DType.BOOL else f"is beyond {input_.dtype.value}"
    details = [f"{truncated(value)} {wrong}, which the model takes" for value in bad]
    return [Findings(reason, rows, details, input_.feature.name)]


def _beyond(values: pa.Array, limits: tuple[float, float]) -> npt.NDArray[Any]:
    """bool[n]: finite values that are not within the limits."""
    low, high = limits
    extremes = pc.min_max(values)
    lowest, highest = extremes["min"].as_py(), extremes["max"].as_py()
    if lowest is None or (low <= lowest and highest <= high):
        return np.zeros(len(values), bool)
    beyond = pc.or_(pc.less(values, low), pc.greater(values, high))
    return np.asarray(pc.and_(beyond, pc.is_finite(values)).fill_null(False))


def _no_booleans(values: pa.Array, input_: InputBinding) -> npt.NDArray[Any]:
    """bool[n]: values that mean neither true nor false; a null is no such value."""
    domain = list(input_.truth) if input_.feature.type is FeatureType.BYTES else [0, 1]
    known = pc.is_in(values, value_set=pa.array(domain, values.type))
    return ~np.asarray(pc.or_(known, values.is_null()))
