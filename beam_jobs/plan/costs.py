"""What a run will read, load and store, and with prices what that costs; estimated by `--plan`.

The rates are measured (docs/costs.md says how and how far they hold). Nothing is read but the
beginning of one input of each format and one page of the list of images.
"""

import dataclasses
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from beam_jobs import storage
from beam_jobs.plan.plan import Plan
from beam_jobs.plan.prices import Prices
from beam_jobs.read import Format, format_of
from beam_jobs.read.splitting import is_scanned
from beam_jobs.read.text_files import gzip_error

SAMPLE_BYTES = 256 << 10
IMAGES_SAMPLED = 1_000

WAREHOUSE_ROW_BYTES = 160
"""Logical bytes of a row of `scores` beside the ad's own: run, key, score, file, row."""
IMAGE_ROW_BYTES = 120
"""The same of the columns computed from an image."""
PARQUET_SHARE = 1 / 6
"""Bytes of the run folder's Parquet for a logical byte."""
AUDIT_PASSES = 2
"""How often the audits scan what is staged."""
ROWS_PER_CORE_SECOND = 50_000
IMAGE_BYTES_PER_CORE_SECOND = 50_000_000
START_CORE_SECONDS = 1_200
"""Machines that start and stop: five minutes of four cores a run."""
GIB_A_CORE = 4

GIB = 1 << 30
TIB = 1 << 40


@dataclass(frozen=True)
class Input:
    """What is known of the inputs before they are read.

    Attributes:
        files: how many.
        bytes: of the files.
        rows: estimated.
        text_bytes: estimated, as if nothing were compressed.
        scanned_bytes: of files that are read once more, to find where their parts begin.
        image_bytes: estimated, 0 without images.
        has_images: whether rows name images.
        has_key: whether duplicate keys are looked for.
    """

    files: int
    bytes: int
    rows: int
    text_bytes: int
    scanned_bytes: int = 0
    image_bytes: int = 0
    has_images: bool = False
    has_key: bool = False


@dataclass(frozen=True)
class Estimate:
    """Quantities of one run.

    Attributes:
        rows: read.
        read_bytes: from storage: the inputs (once more where duplicate keys are looked for, and
            files that are split once more), images.
        loaded_bytes: Parquet that is loaded into the warehouse.
        stored_bytes: of the run folder.
        warehouse_bytes: logical bytes that the run adds to the tables.
        query_bytes: scanned by audits.
        reads: requests to storage that read.
        writes: requests to storage that write.
        core_hours: of workers.
    """

    rows: int
    read_bytes: int
    loaded_bytes: int
    stored_bytes: int
    warehouse_bytes: int
    query_bytes: int
    reads: int
    writes: int
    core_hours: float


def quantities(of: Input) -> Estimate:
    """What a run on these inputs takes."""
    own = WAREHOUSE_ROW_BYTES + (IMAGE_ROW_BYTES if of.has_images else 0)
    warehouse = of.text_bytes + of.rows * own
    parquet = round(warehouse * PARQUET_SHARE)
    parts = of.files + of.bytes // (64 << 20) + 1
    work = of.rows / ROWS_PER_CORE_SECOND + of.image_bytes / IMAGE_BYTES_PER_CORE_SECOND
    return Estimate(
        rows=of.rows,
        read_bytes=of.bytes * (2 if of.has_key else 1) + of.scanned_bytes + of.image_bytes,
        loaded_bytes=parquet,
        stored_bytes=parquet,
        warehouse_bytes=warehouse,
        query_bytes=AUDIT_PASSES * warehouse,
        reads=(of.rows if of.has_images else 0) + 4 * parts,
        writes=2 * parts + 20,
        core_hours=round((work + START_CORE_SECONDS) / 3600, 2),
    )


def money(of: Estimate, prices: Prices) -> dict[str, float]:
    """{what: amount} in the prices' currency, rounded to hundredths; `total` is their sum."""
    items = {
        "workers": of.core_hours * (prices.vcpu_hour + GIB_A_CORE * prices.memory_gib_hour),
        "storage_requests": of.reads / 10_000 * prices.storage_reads_10k
        + of.writes / 10_000 * prices.storage_writes_10k,
        "run_folder_month": of.stored_bytes / GIB * prices.storage_gib_month,
        "warehouse_month": of.warehouse_bytes / GIB * prices.bigquery_gib_month,
        "audits": of.query_bytes / TIB * prices.bigquery_query_tib,
    }
    rounded = {name: round(amount, 2) for name, amount in items.items()}
    return rounded | {"total": round(sum(items.values()), 2)}


def estimate(plan: Plan) -> Estimate:
    """Looks at the inputs of a plan.

    Raises:
        InputError, StorageError: what is looked at cannot be read.
    """
    rows = text_bytes = 0.0
    densities: dict[Format, tuple[float, float]] = {}
    for file in plan.inputs:
        kind = format_of(file.uri)
        if kind not in densities and file.size:
            densities[kind] = density(file, kind)
        rows_per_byte, text_per_byte = densities.get(kind, (0.0, 0.0))
        rows += file.size * rows_per_byte
        text_bytes += file.size * text_per_byte
    images = plan.images
    image_bytes = 0.0
    if images is not None and images.prefix is not None:
        image_bytes = rows * _mean_size(images.prefix)
    return quantities(
        Input(
            files=len(plan.inputs),
            bytes=plan.bytes,
            rows=round(rows),
            text_bytes=round(text_bytes),
            scanned_bytes=sum(file.size for file in plan.inputs if is_scanned(file)),
            image_bytes=round(image_bytes),
            has_images=images is not None,
            has_key=plan.data.key is not None,
        )
    )


def density(file: storage.FileInfo, kind: Format) -> tuple[float, float]:
    """(rows, bytes of text) for a byte of the file, from its beginning or its footer.

    Raises:
        InputError: it cannot be read.
    """
    if kind is Format.PARQUET:
        from beam_jobs.read.parquet import row_groups

        groups = row_groups(file)
        return (
            sum(group.rows for group in groups) / file.size,
            sum(group.bytes for group in groups) / file.size,
        )
    with storage.open_pinned(file) as stream:
        data = stream.read(SAMPLE_BYTES)
    text = data
    if kind.is_compressed:
        unpacked = zlib.decompressobj(wbits=31)
        try:
            text = unpacked.decompress(data)
        except zlib.error as error:
            raise gzip_error(file, error) from error
        # The first of several members stands for all.
        data = data[: len(data) - len(unpacked.unused_data)]
    return text.count(b"\n") / len(data), len(text) / len(data)


def _mean_size(prefix: str) -> float:
    """Bytes of an image, the mean of the first ones; each row has one at most."""
    sizes = [file.size for file in storage.list_files(prefix, IMAGES_SAMPLED)]
    return sum(sizes) / len(sizes) if sizes else 0.0


def describe_estimate(of: Estimate, prices: Prices | None) -> Mapping[str, str]:
    """The estimate in lines for a person: {what: value}."""
    lines = {
        "estimate": f"about {of.rows:,} rows; reads {_size(of.read_bytes)}, loads"
        f" {_size(of.loaded_bytes)}, stores {_size(of.stored_bytes)} in the run folder and"
        f" {_size(of.warehouse_bytes)} in the warehouse; {of.core_hours:g} core hours on Dataflow",
    }
    if prices is not None:
        items = money(of, prices)
        total = items.pop("total")
        parts = ", ".join(f"{name.replace('_', ' ')} {value:,.2f}" for name, value in items.items())
        lines["costs"] = f"about {total:,.2f} {prices.currency} on Google Cloud ({parts})"
    return lines


def estimate_json(of: Estimate, prices: Prices | None) -> dict[str, object]:
    """The estimate for a program."""
    found: dict[str, object] = dataclasses.asdict(of)
    if prices is not None:
        found |= {"money": money(of, prices), "currency": prices.currency}
    return found


def _size(count: int) -> str:
    for unit, name in ((GIB, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:,.1f} {name}"
    return f"{count} bytes"
