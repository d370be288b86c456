"""The arrays that a signature gives -> the score, and the other outputs as JSON."""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.errors import RunError
from beam_jobs.score.class_check import Outputs, check_classes
from beam_jobs.score.score_choice import positive_column
from beam_jobs.score.signature_binding import SignatureBinding

_FLOAT_BYTES = 4


def check_outputs(outputs: Outputs, binding: SignatureBinding, rows: int) -> None:
    """Whether an answer holds a score for each row.

    Raises:
        RunError: the model does not give one row a row, or not the score's column, or its classes
            say that another column is the positive one.
    """
    for name, value in outputs.items():
        if value.ndim == 0 or value.shape[0] != rows:
            raise RunError(
                f"the model gave output {name!r} of shape {list(value.shape)} for {rows} rows;"
                " every output must have a row for each row of its input"
            )
    score = outputs[binding.score_output]
    width = score.shape[1] if score.ndim > 1 else 1
    index = binding.score_index
    if score.ndim > 2 or (width not in (1, 2) if index is None else index >= width):
        raise RunError(
            f"output {binding.score_output!r} has shape {list(score.shape)}, so no column"
            f" {'that is surely' if index is None else f'{index} for'} the score; choose one with"
            " --score OUTPUT:INDEX"
        )
    check_classes(outputs, binding.score)


def score_of(outputs: Outputs, binding: SignatureBinding) -> npt.NDArray[Any]:
    """float64[n]."""
    value = outputs[binding.score_output]
    if value.ndim == 1:
        return value.astype(np.float64)
    index = positive_column(value.shape[1]) if binding.score_index is None else binding.score_index
    return value[:, index].astype(np.float64)


def others_as_json(outputs: Outputs, binding: SignatureBinding, rows: int) -> pa.Array:
    """string[n]: {output: value or list}; null where the score is all that the model gives.

    The score's own output is among them where it has more columns than the score.
    """
    parts = []
    for name in sorted(outputs):
        value = outputs[name]
        if name == binding.score_output and (value.ndim == 1 or value.shape[1] == 1):
            continue
        parts.append(pc.binary_join_element_wise(json.dumps(name), _json(value), ":"))
    if not parts:
        return pa.nulls(rows, pa.string())
    body = pc.binary_join_element_wise(*parts, ",")
    return pc.binary_join_element_wise("{", body, "}", "")


def _json(value: npt.NDArray[Any]) -> pa.Array:
    """string[n]: scalars for [n] and [n, 1], flat lists for more."""
    rows = value.shape[0]
    flat = _texts(value.reshape(-1))
    width = len(flat) // rows if rows else 1
    if width == 1:
        return flat
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * np.int32(width))
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, flat), ",")
    return pc.binary_join_element_wise("[", joined, "]", "")


def _texts(values: npt.NDArray[Any]) -> pa.Array:
    r"""JSON texts whose JSON type follows the array's: floats always with a point or exponent.

    Floats are the shortest decimals that give the same value back in their own type (those of
    half the size, in float32). NaN and infinities, which JSON lacks, become null; of bytes, what
    is not UTF-8 is written as \xNN.
    """
    if values.dtype == object:
        # Few distinct texts (classes) in many rows.
        encoded = pa.array(values, pa.binary()).dictionary_encode()
        texts = [
            json.dumps(v.decode(errors="backslashreplace")) for v in encoded.dictionary.to_pylist()
        ]
        return pa.array(texts, pa.string()).take(encoded.indices)
    values = _for_arrow(values)
    array = pa.array(values)
    texts = pc.cast(array, pa.string())
    if values.dtype.kind != "f":
        return texts
    whole = values == np.floor(values)  # also of those that are so large that they have an exponent
    if whole.any():
        bare = pc.and_(pa.array(whole), pc.invert(pc.match_substring_regex(texts, "[.e]")))
        texts = pc.if_else(bare, pc.binary_join_element_wise(texts, ".0", ""), texts)
    return pc.if_else(pc.is_finite(array), texts, "null")


def _for_arrow(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same numbers in a type that Arrow can print.

    It cannot print half floats, nor the types that NumPy has from elsewhere (bfloat16, float8,
    int4).
    """
    if "float" in values.dtype.name:
        return values.astype(np.float32) if values.dtype.itemsize < _FLOAT_BYTES else values
    return values.astype(np.int8) if values.dtype.kind == "V" else values
