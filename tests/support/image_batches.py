"""What the tests of the image stage share: a folder of images, batches that name them."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from beam_jobs import storage
from beam_jobs.batch import FINDINGS, IMAGE, SOURCE_ROW, finding_text, with_findings
from beam_jobs.images.fetch import ImageReader
from beam_jobs.images.join import add_images
from beam_jobs.images.limits import ImageLimits
from beam_jobs.images.spec import ImageSpec
from beam_jobs.images.tensor_options import ImageTensorOptions, ImageTensorSpec

SMALL = ImageTensorSpec(8, 12, 3, "float32", ImageTensorOptions())


def write(folder: Path, images: Mapping[str, bytes]) -> Path:
    for name, data in images.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def spec_of(
    folder: Path | str | None,
    *,
    limits: ImageLimits | None = None,
    timeout: int = 30,
    keeps_bytes: bool = False,
    tensor: ImageTensorSpec | None = None,
) -> ImageSpec:
    prefix = None if folder is None else str(folder)
    return ImageSpec("banner", prefix, limits or ImageLimits(), timeout, keeps_bytes, tensor)


def batch_of(
    names: Sequence[str | None], given: Sequence[bytes | None] | None = None
) -> pa.RecordBatch:
    """Rows that name images; SOURCE_ROW tells them apart afterwards."""
    columns = {
        "banner": pa.array(names, pa.string()),
        SOURCE_ROW: pa.array(range(1, len(names) + 1), pa.int64()),
    }
    if given is not None:
        columns[IMAGE] = pa.array(given, pa.binary())
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return with_findings(batch, [])


class Storage:
    """Reads local files and keeps account: what was read, how much at once; may misbehave.

    Attributes:
        reads: {file name: times}.
        before: called with the file name before each read.
    """

    def __init__(self, before: Callable[[str], None] = lambda _: None) -> None:
        self.reads: Counter[str] = Counter()
        self.before = before
        self._lock = threading.Lock()

    def read(self, uri: str, limit: int) -> bytes:
        name = uri.rsplit("/", 1)[-1]
        with self._lock:
            self.reads[name] += 1
        self.before(name)
        return storage.read_bytes(uri, limit)


def joined(
    batch: pa.RecordBatch, spec: ImageSpec, read: Callable[[str, int], bytes] | None = None
) -> list[tuple[int, pa.RecordBatch]]:
    """All parts of a batch."""
    reader = ImageReader(spec, read)
    try:
        return list(add_images(batch, reader))
    finally:
        reader.close()


def rows_of(parts: Sequence[tuple[int, pa.RecordBatch]]) -> list[dict[str, Any]]:
    """The rows of all parts in their order in the file."""
    rows = [row for _, part in parts for row in part.to_pylist()]
    return sorted(rows, key=lambda row: row[SOURCE_ROW])


def reasons(row: Mapping[str, Any]) -> list[str]:
    return [finding["reason"] for finding in row[FINDINGS]]


def detail(row: Mapping[str, Any]) -> str:
    (finding,) = row[FINDINGS]
    return finding_text(**finding).removeprefix(f"{finding['reason']} ")
