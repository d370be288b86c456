"""Images join their rows: features as columns, problems as findings, pixels for the model.

Of a batch each distinct name is read once. Where the model takes images, rows that share one are
moved together and the batch is cut into parts of bounded size, so that memory does not depend on
how large images are or how many; parts need not keep the order of rows, which SOURCE_ROW tells.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_jobs.batch import (
    IMAGE,
    IMAGE_TENSOR,
    Findings,
    Reason,
    column_or_none,
    given_way,
    rows_with,
    set_column,
    with_findings,
    without,
)
from beam_jobs.images.features import columns
from beam_jobs.images.fetch import ImageReader, Wanted
from beam_jobs.images.processed import ProcessedImage
from beam_jobs.images.spec import ImageSpec
from beam_jobs.images.table import NAMES

PART_BYTES = 64 << 20
"""Of model input in one part; a single larger image is a part of its own."""


def add_images(batch: pa.RecordBatch, reader: ImageReader) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(number of the part's first row, part) of a batch; together the parts are the batch.

    A part has the columns of `table.IMAGE_FEATURES`, and IMAGE or IMAGE_TENSOR where the model
    takes them; null where a row has no image. A row whose image has a problem gains a finding. A
    row without a name has no image, which is no finding; a record that is malformed is not looked
    at. Where the batch has IMAGE already, its bytes are taken instead of reading.

    Raises:
        InputError: storage is down, or forbids to read.
    """
    spec = reader.spec
    codes, wanted = _wanted(batch, spec)
    batch = without(batch, IMAGE, IMAGE_TENSOR)
    if not spec.keeps_bytes and spec.tensor is None:
        yield 0, _part(batch, codes, list(reader.processed(wanted)), spec)
        return
    order = np.argsort(codes, kind="stable")
    if (np.diff(order) != 1).any():
        batch, codes = batch.take(pa.array(order)), codes[order]
    ends = np.searchsorted(codes, np.arange(len(wanted)), side="right")
    # Of the part that is being filled; rows without an image come first, in the first part.
    start = size = first_code = 0
    done = int(np.searchsorted(codes, 0))
    processed: list[ProcessedImage] = []
    for code, image in enumerate(reader.processed(wanted)):
        processed.append(image)
        while done < ends[code]:
            cost = image.input_bytes
            fitting = (PART_BYTES - size) // cost if cost else len(codes)
            if fitting < 1 and size:
                part = batch.slice(start, done - start)
                yield start, _part(part, codes[start:done] - first_code, processed, spec)
                start, size, first_code, processed = done, 0, code, [image]
                continue
            taken = min(max(fitting, 1), int(ends[code]) - done)
            done, size = done + taken, size + taken * cost
    if start < len(codes) or not len(codes):
        part = batch.slice(start)
        yield start, _part(part, codes[start:] - first_code, processed, spec)


def _wanted(batch: pa.RecordBatch, spec: ImageSpec) -> tuple[npt.NDArray[np.int64], list[Wanted]]:
    """(int64[num_rows] places in the list, -1 for no image; each distinct image once)."""
    names = column_or_none(batch, spec.column)
    if names is None or not pa.types.is_string(names.type):
        names = pa.nulls(batch.num_rows, pa.string())
    unreadable = rows_with(batch, frozenset({Reason.MALFORMED_RECORD}))
    encoded = names.dictionary_encode()
    codes = np.asarray(encoded.indices.fill_null(-1)).astype(np.int64)
    codes[unreadable] = -1
    given = column_or_none(batch, IMAGE)
    if given is None:
        given = pa.nulls(batch.num_rows, pa.binary())
    inside = np.flatnonzero(np.asarray(given.is_valid()))
    # Each on its own: two records that give the same name need not hold the same bytes.
    codes[inside] = len(encoded.dictionary) + np.arange(len(inside))
    used, codes = np.unique(codes, return_inverse=True)
    if len(used) and used[0] < 0:
        used, codes = used[1:], codes - 1
    texts = encoded.dictionary.to_pylist()
    wanted: list[Wanted] = []
    for code in used.tolist():
        if code < len(texts):
            wanted.append((texts[code], None))
        else:
            row = int(inside[code - len(texts)])
            wanted.append((names[row].as_py() or "image", given[row].as_py()))
    return codes, wanted


def _part(
    batch: pa.RecordBatch,
    codes: npt.NDArray[np.int64],
    processed: Sequence[ProcessedImage],
    spec: ImageSpec,
) -> pa.RecordBatch:
    """The rows with what came of their images.

    A column of the data that is called as one that is computed gives way.

    Args:
        batch: the rows.
        codes: int64[num_rows], places in `processed`; below 0 for a row without an image.
        processed: what came of distinct images.
        spec: what to join.
    """
    take = pa.array(codes, mask=codes < 0)
    present = batch.schema.names
    if not NAMES.isdisjoint(present):
        renamed = [
            given_way(name, {*present, *NAMES}) if name in NAMES else name for name in present
        ]
        batch = pa.RecordBatch.from_arrays(batch.columns, names=renamed)
    for name, column in columns([image.row for image in processed]).items():
        batch = set_column(batch, name, column.take(take))
    if spec.keeps_bytes:
        encoded = pa.array([image.encoded for image in processed], pa.binary())
        batch = set_column(batch, IMAGE, encoded.take(take))
    if spec.tensor is not None:
        tensors = _tensor_column(codes, processed, spec.tensor.nbytes)
        batch = set_column(batch, IMAGE_TENSOR, tensors)
    return with_findings(batch, _findings(codes, processed, spec.column))


def _tensor_column(
    codes: npt.NDArray[np.int64], processed: Sequence[ProcessedImage], width: int
) -> pa.Array:
    """fixed_size_binary[width]: the tensors' bytes, row after row; null where there is none."""
    distinct = np.zeros((len(processed) + 1, width), np.uint8)  # the last for rows without a tensor
    present = np.zeros(len(processed) + 1, bool)
    for place, image in enumerate(processed):
        if image.tensor is not None:
            distinct[place], present[place] = image.tensor.reshape(-1).view(np.uint8), True
    chosen = np.where(codes < 0, len(processed), codes)
    in_order = len(chosen) == len(processed) and (chosen == np.arange(len(processed))).all()
    rows = distinct[:-1] if in_order else distinct[chosen]
    valid = pa.array(present[chosen]).buffers()[1]
    return pa.Array.from_buffers(pa.binary(width), len(codes), [valid, pa.py_buffer(rows)])


def _findings(
    codes: npt.NDArray[np.int64], processed: Sequence[ProcessedImage], column: str
) -> list[Findings]:
    found = [
        (place, image.problem) for place, image in enumerate(processed) if image.problem is not None
    ]
    if not found:
        return []
    order = np.argsort(codes, kind="stable")
    places = np.array([place for place, _ in found])
    starts = np.searchsorted(codes[order], places, side="left")
    ends = np.searchsorted(codes[order], places, side="right")
    by_reason: dict[Reason, tuple[list[npt.NDArray[np.int64]], list[str]]] = {}
    for (_, problem), start, end in zip(found, starts, ends, strict=True):
        rows, details = by_reason.setdefault(problem.reason, ([], []))
        rows.append(order[start:end])
        details += [problem.detail] * int(end - start)
    return [
        Findings(reason, np.concatenate(rows), details, column)
        for reason, (rows, details) in by_reason.items()
    ]
