"""Prices: a TOML file of the user's, because they differ by region and contract."""

import dataclasses
import math
import tomllib
from dataclasses import dataclass

from beam_jobs import storage
from beam_jobs.config.flags import nearest
from beam_jobs.errors import UsageError


@dataclass(frozen=True)
class Prices:
    """What a unit costs; each has to be given, 0 where it is free.

    Attributes:
        currency: of all.
        vcpu_hour: Dataflow batch, an hour of a vCPU.
        memory_gib_hour: Dataflow batch, an hour of a GiB.
        storage_gib_month: Cloud Storage, a GiB for a month.
        storage_reads_10k: Cloud Storage, 10,000 operations of class B.
        storage_writes_10k: Cloud Storage, 10,000 operations of class A.
        bigquery_gib_month: BigQuery, a logical GiB for a month.
        bigquery_query_tib: BigQuery, a TiB scanned on demand.
    """

    currency: str
    vcpu_hour: float
    memory_gib_hour: float
    storage_gib_month: float
    storage_reads_10k: float
    storage_writes_10k: float
    bigquery_gib_month: float
    bigquery_query_tib: float


def load_prices(uri: str | None) -> Prices | None:
    """Reads a file of prices (docs/costs.md).

    Raises:
        UsageError: it cannot be read, lacks a price, or has an unknown key or a wrong value.
    """
    if uri is None:
        return None
    where = f"--prices {uri}"
    try:
        table = tomllib.loads(storage.read_bytes(uri).decode())
    except OSError as error:
        raise UsageError(f"{where}: cannot be read ({error.strerror or error})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{where}: is not TOML: {error}") from error
    known = [field.name for field in dataclasses.fields(Prices)]
    for name, value in table.items():
        if name not in known:
            raise UsageError(f"{where}: unknown key {name!r}{nearest(name, known)}")
        if name == "currency":
            if not isinstance(value, str):
                raise UsageError(f'{where}: currency: {value!r} is no text such as "USD"')
        elif (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not (0 <= value < math.inf)
        ):
            raise UsageError(f"{where}: {name}: {value!r} is not a number of at least 0")
    missing = [name for name in known if name not in table]
    if missing:
        raise UsageError(f"{where}: lacks {', '.join(missing)}")
    return Prices(**table)
