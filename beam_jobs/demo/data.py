"""Ads of an agency: a month to train on, clean months, and a last month with real defects.

Everything follows from the seed. Values are drawn in numpy and written by Arrow; only records
that are broken on purpose are touched one by one.
"""

import datetime
import gzip
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from beam_jobs import storage
from beam_jobs.demo.banners import Banners, make_banners
from beam_jobs.demo.defects import (
    BANNER,
    COLUMNS,
    DEFECTS,
    TRUNCATED,
    ColumnDefect,
    RecordDefect,
)
from beam_jobs.errors import UsageError

KEY = "ad_id"
LABEL = "clicked"
TRAINING_MONTH = datetime.date(2026, 7, 1)
MONTHS = (datetime.date(2026, 8, 1), datetime.date(2026, 9, 1), datetime.date(2026, 10, 1))
MIN_ROWS = 1_000
"""With fewer rows a month could not hold every defect and still be mostly good."""

RANGES: Mapping[str, tuple[float, float]] = {
    "bid": (0.0, 100.0),
    "user_age": (13, 99),
    "hour": (0, 23),
    "title_length": (1, 200),
    "historic_ctr": (0.0, 1.0),
    "is_video": (0, 1),
}
"""The domains that a data scientist would write into the schema, because data cannot show them;
all values but those broken on purpose lie within."""

DEVICES = {"mobile": 0.55, "desktop": 0.34, "tablet": 0.11}
COUNTRIES = {
    "US": 0.31, "GB": 0.14, "DE": 0.12, "FR": 0.10, "ES": 0.08,
    "IT": 0.07, "NL": 0.06, "PL": 0.05, "SE": 0.04, "AT": 0.03,
}  # fmt: skip
POSITIONS = {"in_feed": 0.45, "top": 0.25, "sidebar": 0.20, "footer": 0.10}
CATEGORIES = {
    "retail": 0.24, "travel": 0.15, "finance": 0.12, "games": 0.11, "autos": 0.09,
    "food": 0.09, "health": 0.08, "education": 0.05, "news": 0.04, "real_estate": 0.03,
}  # fmt: skip
CAMPAIGNS = 400

_DEVICE_EFFECT = {"mobile": 0.3, "desktop": -0.3, "tablet": 0.0}
_POSITION_EFFECT = {"in_feed": 0.2, "top": 0.8, "sidebar": -0.6, "footer": -1.4}
_CATEGORY_EFFECT = {
    "retail": 0.2, "travel": 0.1, "finance": -0.7, "games": 0.9, "autos": -0.4,
    "food": 0.5, "health": -0.2, "education": -0.3, "news": 0.0, "real_estate": -0.8,
}  # fmt: skip
_WARMTH_EFFECT = 0.6
_HISTORIC_CTR_MISSING = 0.02

_FIRST_SUFFIXES = (".csv", ".csv", ".csv.gz")
_LAST_SUFFIXES = (".parquet", ".jsonl")
_ROWS_PER_TRUNCATED_RECORD = 50_000


@dataclass(frozen=True)
class DemoFiles:
    """What was written.

    Attributes:
        training: path of the training data.
        ads: {month: paths of its files}.
        pattern: value for --ads.
        banners: value for --images.
        defects: {name of a defect: rows of the last month that have it}.
    """

    training: str
    ads: Mapping[datetime.date, tuple[str, ...]]
    pattern: str
    banners: str
    defects: Mapping[str, int]


def make_ads(
    folder: str, rows: int, months: Sequence[datetime.date] = MONTHS, seed: int = 7
) -> DemoFiles:
    """Writes `banners/`, `training/ads.csv` and four files a month in `ads/<month>/`.

    The last month is CSV throughout and has `DEFECTS`. In the others, which end with a Parquet or
    a JSON Lines file, one record in 50,000 is cut off, as in any real export, and nothing else.

    Args:
        folder: where; made where it does not exist.
        rows: of the training data, and of each month.
        months: first days of the months, in order.
        seed: the same seed gives the same bytes.

    Raises:
        UsageError: too few rows.
    """
    if rows < MIN_ROWS:
        raise UsageError(f"--rows {rows}: is too few, the demo needs at least {MIN_ROWS}")
    banners = make_banners(storage.join(folder, "banners"), CAMPAIGNS, rows, seed)
    training = make_training(folder, rows, seed, banners)
    ads = {}
    counts: dict[str, int] = {}
    for position, month in enumerate(months):
        random = _generator(seed, position + 1)
        table = _clean_month(month, rows, random, banners)
        target = storage.join(folder, "ads", f"{month:%Y-%m}")
        if month == months[-1]:
            table, broken, counts = _with_defects(table, random)
            ads[month] = _write_month(target, table, broken, ".csv")
        else:
            truncated = random.choice(rows // 4, rows // _ROWS_PER_TRUNCATED_RECORD, replace=False)
            last_suffix = _LAST_SUFFIXES[position % len(_LAST_SUFFIXES)]
            ads[month] = _write_month(
                target, table, dict.fromkeys(truncated.tolist(), TRUNCATED), last_suffix
            )
    pattern = storage.join(folder, "ads", "{month}", "*")
    return DemoFiles(training, ads, pattern, banners.folder, counts)


def make_training(folder: str, rows: int, seed: int = 7, banners: Banners | None = None) -> str:
    """Writes `training/ads.csv`, in which nothing is wrong, and returns its path.

    Without banners the ads have no such column.
    """
    path = storage.join(folder, "training", "ads.csv")
    table = _clean_month(TRAINING_MONTH, rows, _generator(seed, 0), banners)
    storage.write_atomic(path, _csv(table))
    return path


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, stream])


def _clean_month(
    month: datetime.date,
    rows: int,
    random: np.random.Generator,
    banners: Banners | None,
) -> pa.Table:
    """`COLUMNS`; whether an ad was clicked follows a logistic model of the other columns."""
    device = _draw(DEVICES, rows, random)
    country = _draw(COUNTRIES, rows, random)
    position = _draw(POSITIONS, rows, random)
    category = _draw(CATEGORIES, rows, random)
    # A few campaigns get most of the ads, as budgets go.
    campaign = (CAMPAIGNS * random.random(rows) ** 2).astype(np.int64)
    bid = np.clip(random.lognormal(0.3, 0.5, rows), 0.05, 50).round(3)
    age = np.clip(random.gamma(7.0, 5.5, rows), 13, 99).astype(np.int64)
    hour = (random.normal(15, 5, rows).round() % 24).astype(np.int64)
    title_length = np.clip(random.normal(55, 18, rows), 5, 140).astype(np.int64)
    historic_ctr = np.clip(random.beta(2.0, 30.0, rows), 0.001, 0.9).round(4)
    is_video = (random.random(rows) < 0.3).astype(np.int64)
    shown, warmth = np.empty(rows, object), np.zeros(rows)
    if banners is not None:
        number = random.integers(banners.names.shape[1], size=rows)
        shown, warmth = banners.names[campaign, number], banners.warmth[campaign, number]
    logit = (
        -3.2
        + _effect(_DEVICE_EFFECT, DEVICES, device)
        + _effect(_POSITION_EFFECT, POSITIONS, position)
        + _effect(_CATEGORY_EFFECT, CATEGORIES, category)
        + 14.0 * historic_ctr
        + 0.8 * is_video
        + _WARMTH_EFFECT * warmth
        + 0.5 * np.log(bid)
        - 0.015 * np.abs(age - 30)
        + 0.35 * np.cos((hour - 20) / 24 * 2 * np.pi)
    )
    clicked = (random.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    missing = random.random(rows) < _HISTORIC_CTR_MISSING
    table = pa.table(
        [
            _numbered(f"{month:%Y%m}-", np.arange(1, rows + 1), digits=8),
            _numbered("c", campaign, digits=4),
            pa.array(list(DEVICES)).take(pa.array(device)),
            pa.array(list(COUNTRIES)).take(pa.array(country)),
            pa.array(list(POSITIONS)).take(pa.array(position)),
            pa.array(list(CATEGORIES)).take(pa.array(category)),
            pa.array(bid),
            pa.array(age),
            pa.array(hour),
            pa.array(title_length),
            pa.array(historic_ctr, mask=missing),
            pa.array(is_video),
            pa.array(shown, pa.string()),
            pa.array(clicked),
        ],
        names=list(COLUMNS),
    )
    return table if banners is not None else table.drop([BANNER])


def _draw(shares: Mapping[str, float], rows: int, random: np.random.Generator) -> npt.NDArray[Any]:
    """int64[rows]: positions in the mapping, drawn with its shares."""
    return random.choice(len(shares), rows, p=list(shares.values()))


def _effect(
    effects: Mapping[str, float], shares: Mapping[str, float], codes: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    each: npt.NDArray[np.float64] = np.array([effects[value] for value in shares])[codes]
    return each


def _numbered(prefix: str, numbers: npt.NDArray[Any], digits: int) -> pa.Array:
    padded = pc.utf8_lpad(pc.cast(pa.array(numbers), pa.string()), digits, "0")
    return pc.binary_join_element_wise(prefix, padded, "")


def _with_defects(
    table: pa.Table, random: np.random.Generator
) -> tuple[pa.Table, dict[int, RecordDefect], dict[str, int]]:
    """The month with `DEFECTS`.

    A broken record has no other defect, so that each defect has exactly the rows it states.

    Returns:
        The table, {row: what is wrong with its text}, {name of a defect: its rows}.
    """
    rows = table.num_rows
    others = random.permutation(rows - 1)
    broken: dict[int, RecordDefect] = {}
    counts: dict[str, int] = {}
    for defect in DEFECTS:
        if isinstance(defect, RecordDefect):
            counts[defect.name] = defect.count(rows)
            if defect.is_last:
                broken[rows - 1] = defect
            else:
                chosen, others = np.split(others, [counts[defect.name]])
                broken |= dict.fromkeys(chosen.tolist(), defect)
    for defect in DEFECTS:
        if isinstance(defect, ColumnDefect):
            counts[defect.name] = min(defect.count(rows), len(others))
            mask = np.zeros(rows, dtype=bool)
            mask[random.choice(others, counts[defect.name], replace=False)] = True
            position = COLUMNS.index(defect.column or defect.feature)
            column = defect.change(table.column(position).combine_chunks(), mask)
            table = table.set_column(position, COLUMNS[position], column)
    return table, broken, counts


def _write_month(
    folder: str, table: pa.Table, broken: Mapping[int, RecordDefect], last_suffix: str
) -> tuple[str, ...]:
    """Writes the table in four files of about as many rows each."""
    suffixes = (*_FIRST_SUFFIXES, last_suffix)
    borders = np.linspace(0, table.num_rows, len(suffixes) + 1).astype(int)
    paths = []
    for number, suffix in enumerate(suffixes):
        start, end = int(borders[number]), int(borders[number + 1])
        part = table.slice(start, end - start)
        here = {row - start: defect for row, defect in broken.items() if start <= row < end}
        path = storage.join(folder, f"ads-{number + 1}{suffix}")
        storage.write_atomic(path, _encoded(part, suffix, here))
        paths.append(path)
    return tuple(paths)


def _encoded(table: pa.Table, suffix: str, broken: Mapping[int, RecordDefect]) -> bytes:
    if suffix == ".csv":
        return _csv(table, broken)
    if suffix == ".csv.gz":
        # No time stamp in the header: the same rows are the same bytes.
        return gzip.compress(_csv(table, broken), compresslevel=6, mtime=0)
    if broken:
        raise ValueError(f"{suffix} cannot hold broken records {sorted(broken)}")
    if suffix == ".jsonl":
        text: str = table.to_pandas().to_json(orient="records", lines=True)
        return text.encode()
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream)
    return stream.getvalue()


def _csv(table: pa.Table, broken: Mapping[int, RecordDefect] | None = None) -> bytes:
    """Header and records; those in `broken`, by row, as their defect makes them."""
    header = ",".join(table.column_names).encode() + b"\n"
    # Arrow 10's own writer puts every text in quotes, which no export does.
    records = b"".join(
        pc.binary_join_element_wise(
            pc.binary_join_element_wise(
                *(pc.cast(column, pa.string()) for column in batch.columns),
                ",",
                null_handling="replace",
            ),
            "\n",
            "",
        ).buffers()[2]
        for batch in table.to_batches()
    )
    if broken:
        lines = records.split(b"\n")
        for row, defect in broken.items():
            lines[row] = defect.broken(lines[row].split(b","))
        records = b"\n".join(lines)
    return header + records
