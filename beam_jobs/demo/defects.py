"""What is wrong with the demo's last month, and what a run has to say about each of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.batch import Reason
from beam_jobs.demo.banners import CUT, HUGE, MISSING, NO_IMAGE, PLACEHOLDER

COLUMNS = (
    "ad_id", "campaign_id", "device", "country", "position", "category", "bid", "user_age",
    "hour", "title_length", "historic_ctr", "is_video", "banner", "clicked",
)  # fmt: skip
"""The columns of every file, in this order; the first is the key, the last the label."""

BANNER = "banner"


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong, and how it must show up.

    Attributes:
        name: short, in kebab case.
        what: what was done to the data, in a few words.
        share: of the month's rows that have it; rare ones have at least one row (keys: one pair).
        feature: where an anomaly or a detail must point; None for the record as a whole.
        reason: the reason its rows carry in `quarantine` or, for OUT_OF_DOMAIN, in
            `scores.flags`; None where each row by itself is fine.
        is_anomaly: whether the month's statistics must raise an anomaly for `feature`.
    """

    name: str
    what: str
    share: float
    feature: str | None = None
    reason: Reason | None = None
    is_anomaly: bool = False

    def count(self, rows: int) -> int:
        """Rows with the defect, in a month of so many rows."""
        return max(1, round(self.share * rows))


@dataclass(frozen=True)
class ColumnDefect(Defect):
    """Values of a column are changed before anything is written.

    Attributes:
        change: (column, bool[rows] of the rows that get the defect) -> the new column.
        column: what is changed, where it is not the feature itself.
    """

    change: Callable[[pa.Array, npt.NDArray[np.bool_]], pa.Array] = lambda column, _: column
    column: str | None = None


@dataclass(frozen=True)
class DuplicateKeys(ColumnDefect):
    """Pairs of rows with one key."""

    def count(self, rows: int) -> int:
        """How many of so many rows are broken."""
        return 2 * max(1, round(self.share * rows / 2))


@dataclass(frozen=True)
class RecordDefect(Defect):
    """The text of a record is broken.

    Attributes:
        broken: cells of a good record -> the record as it is written, without its line end.
        is_last: it is the last record of the last file, where what it swallows is nothing.
    """

    broken: Callable[[list[bytes]], bytes] = b",".join
    is_last: bool = False

    def count(self, rows: int) -> int:
        """How many of so many rows are broken."""
        return 1 if self.is_last else super().count(rows)


def _cell(column: str, value: bytes) -> Callable[[list[bytes]], bytes]:
    position = COLUMNS.index(column)

    def broken(cells: list[bytes]) -> bytes:
        return b",".join([*cells[:position], value, *cells[position + 1 :]])

    return broken


def _without_last_columns(cells: list[bytes]) -> bytes:
    return b",".join(cells[:7])


def _with_extra_columns(cells: list[bytes]) -> bytes:
    return b",".join([*cells, b"extra", b"1"])


def _with_open_quote(cells: list[bytes]) -> bytes:
    return b",".join([*cells[:-1], b'"' + cells[-1]])


def _set_to(value: str | None) -> Callable[[pa.Array, npt.NDArray[np.bool_]], pa.Array]:
    def change(column: pa.Array, chosen: npt.NDArray[np.bool_]) -> pa.Array:
        return pc.if_else(pa.array(chosen), pa.scalar(value, column.type), column)

    return change


def _raised_by_half_a_std_dev(column: pa.Array, chosen: npt.NDArray[np.bool_]) -> pa.Array:
    values = column.to_numpy()
    return pa.array(np.where(chosen, values + 0.5 * values.std(), values).round(3))


def _repeated(column: pa.Array, chosen: npt.NDArray[np.bool_]) -> pa.Array:
    """The second half of the chosen rows take the keys of the first half: pairs far apart."""
    rows = np.flatnonzero(chosen)
    take = np.arange(len(column))
    take[rows[len(rows) // 2 :]] = rows[: len(rows) // 2]
    return column.take(pa.array(take))


def _dark(column: pa.Array, chosen: npt.NDArray[np.bool_]) -> pa.Array:
    """`c0012-3.jpg` -> the dark banner of campaign 12."""
    campaign = pc.utf8_slice_codeunits(column, 1, 5)
    dark = pc.binary_join_element_wise("dark/c", campaign, ".jpg", "")
    return pc.if_else(pa.array(chosen), dark, column)


TRUNCATED = RecordDefect(
    "too-few-columns", "record cut off after 7 columns", 0.0006,
    reason=Reason.MALFORMED_RECORD, broken=_without_last_columns,
)  # fmt: skip

DEFECTS: tuple[ColumnDefect | RecordDefect, ...] = (
    ColumnDefect(
        "drifted-category", "a quarter of the ads moved to the category games", 0.25,
        feature="category", is_anomaly=True, change=_set_to("games"),
    ),
    ColumnDefect(
        "shifted-bid", "bids half a standard deviation higher", 1.0,
        feature="bid", is_anomaly=True, change=_raised_by_half_a_std_dev,
    ),
    ColumnDefect(
        "new-device", "a device that training never saw, smart_tv", 0.03,
        feature="device", reason=Reason.OUT_OF_DOMAIN, is_anomaly=True,
        change=_set_to("smart_tv"),
    ),
    ColumnDefect(
        "empty-column", "historic_ctr missing in 40 % of the rows instead of 2 %", 0.40,
        feature="historic_ctr", is_anomaly=True, change=_set_to(None),
    ),
    ColumnDefect(
        "dark-banners", "a third of the ads show banners at 40 % of their brightness", 0.33,
        feature="image_brightness", is_anomaly=True, change=_dark, column=BANNER,
    ),
    ColumnDefect(
        "placeholder", "a grey placeholder instead of the banner", 0.03,
        feature="image_hash", is_anomaly=True, change=_set_to(PLACEHOLDER), column=BANNER,
    ),
    DuplicateKeys(
        "repeated-key", "pairs of rows with the same ad_id", 0.0010,
        feature="ad_id", reason=Reason.DUPLICATE_KEY, change=_repeated,
    ),
    RecordDefect(
        "missing-key", "no ad_id", 0.0002,
        feature="ad_id", reason=Reason.MISSING_KEY, broken=_cell("ad_id", b""),
    ),
    RecordDefect(
        "missing-device", "no device, which every row must have", 0.0003,
        feature="device", reason=Reason.MISSING_REQUIRED, broken=_cell("device", b""),
    ),
    TRUNCATED,
    RecordDefect(
        "too-many-columns", "two columns too many", 0.0003,
        reason=Reason.MALFORMED_RECORD, broken=_with_extra_columns,
    ),
    RecordDefect(
        "open-quote", "a quote that is never closed", 0.0,
        reason=Reason.MALFORMED_RECORD, broken=_with_open_quote, is_last=True,
    ),
    RecordDefect(
        "nul-byte", "a NUL byte in campaign_id", 0.0001,
        reason=Reason.MALFORMED_RECORD, broken=_cell("campaign_id", b"c00\x0007"),
    ),
    RecordDefect(
        "invalid-utf8", "campaign_id in Latin-1", 0.0003,
        feature="campaign_id", reason=Reason.INVALID_ENCODING,
        broken=_cell("campaign_id", "é0007".encode("latin-1")),
    ),
    RecordDefect(
        "text-for-number", "n/a where the bid belongs", 0.0005,
        feature="bid", reason=Reason.INVALID_TYPE, broken=_cell("bid", b"n/a"),
    ),
    RecordDefect(
        "hexadecimal", "0x10 as user_age", 0.0001,
        feature="user_age", reason=Reason.INVALID_TYPE, broken=_cell("user_age", b"0x10"),
    ),
    RecordDefect(
        "infinite", "a bid of 1e999, beyond every float", 0.0001,
        feature="bid", reason=Reason.NOT_FINITE, broken=_cell("bid", b"1e999"),
    ),
    RecordDefect(
        "impossible-age", "user_age 212", 0.0008,
        feature="user_age", reason=Reason.OUT_OF_RANGE, broken=_cell("user_age", b"212"),
    ),
    RecordDefect(
        "huge-bid", "a bid of a million, which spoils naive distances", 0.0002,
        feature="bid", reason=Reason.OUT_OF_RANGE, broken=_cell("bid", b"1000000.0"),
    ),
    RecordDefect(
        "missing-banner", "a banner that is not there", 0.0004,
        feature=BANNER, reason=Reason.IMAGE_MISSING, broken=_cell(BANNER, MISSING.encode()),
    ),
    RecordDefect(
        "cut-banner", "a banner of which half was uploaded", 0.0003,
        feature=BANNER, reason=Reason.IMAGE_CORRUPT, broken=_cell(BANNER, CUT.encode()),
    ),
    RecordDefect(
        "huge-banner", "a banner of 4 gigapixels in 44 bytes", 0.0001,
        feature=BANNER, reason=Reason.IMAGE_TOO_LARGE, broken=_cell(BANNER, HUGE.encode()),
    ),
    RecordDefect(
        "error-page", "an error page instead of the banner", 0.0002,
        feature=BANNER, reason=Reason.IMAGE_UNSUPPORTED, broken=_cell(BANNER, NO_IMAGE.encode()),
    ),
)  # fmt: skip
