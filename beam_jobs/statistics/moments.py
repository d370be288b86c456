"""Mean, spread and extremes of the numbers in rows that were scored.

TFDV's statistics cover all readable rows, because TFDV is to see what is wrong with them; a bid of
1e6 that went to quarantine must not move the mean that people look at. So these are counted beside
TFDV's, and stand in its message as custom statistics.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from beam_jobs.batch import SCORE, column_or_none, feature_names, readable
from beam_jobs.errors import AuditError
from beam_jobs.statistics.files import FeatureStats, Statistics, dataset_of, feature_name
from beam_jobs.statistics.slices import ALL

_PREFIX = "beam_jobs.scored_"
_ROWS = "beam_jobs.rows_scored"


@dataclass(frozen=True)
class Moments:
    """Of the values of one feature in one slice.

    Attributes:
        count: how many values there are.
        mean: their mean.
        squares: sum of (value - mean)^2.
        min, max: their extremes.
    """

    count: int
    mean: float
    squares: float
    min: float
    max: float

    @property
    def std_dev(self) -> float:
        """Of the population, as TFDV computes it: sqrt(sum((x - mean)^2) / n)."""
        return math.sqrt(self.squares / self.count)

    def __add__(self, other: "Moments") -> "Moments":
        """Of both together.

        Source: Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing
        Sample Variances, 1979.
        """
        count = self.count + other.count
        gap = other.mean - self.mean
        return Moments(
            count,
            self.mean + gap * other.count / count,
            self.squares + other.squares + gap**2 * self.count * other.count / count,
            min(self.min, other.min),
            max(self.max, other.max),
        )


MomentsOf = Mapping[tuple[str, str], Moments]
"""{(data set, feature): its moments}, features without a value left out."""


def scored_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows that have a score; all that could be read where nothing scores."""
    batch = readable(batch)
    scores = column_or_none(batch, SCORE)
    return batch if scores is None or not scores.null_count else batch.filter(scores.is_valid())


def moments_of(batch: pa.RecordBatch, dataset: str, score_feature: str) -> dict[
    tuple[str, str], Moments
]:  # fmt: skip
    """The moments of every numeric column of rows that belong to one data set."""
    names = {name: name for name in feature_names(batch)}
    if SCORE in batch.schema.names:
        names[score_feature] = SCORE
    found = {}
    for feature, name in names.items():
        column = batch.column(batch.schema.get_field_index(name))
        values = _numbers(column)
        if values is not None and len(values):
            mean = float(values.mean())
            squares = float(np.square(values - mean).sum())
            extremes = float(values.min()), float(values.max())
            found[dataset, feature] = Moments(len(values), mean, squares, *extremes)
    return found


def _numbers(column: pa.Array) -> npt.NDArray[np.float64] | None:
    """float64: the finite values of a numeric column, lists flattened; None for other types."""
    values = column.flatten() if pt.is_list(column.type) else column
    if not (pt.is_integer(values.type) or pt.is_floating(values.type)):
        return None
    present = pc.cast(values.drop_null(), pa.float64(), safe=False)
    numbers: npt.NDArray[np.float64] = present.to_numpy(zero_copy_only=False)
    finite = np.isfinite(numbers)
    return numbers if finite.all() else numbers[finite]


Scored = tuple[int, MomentsOf]
"""(rows that were scored, moments of their numbers)."""


def add_scored(parts: Iterable[Scored]) -> Scored:
    """Those of all parts together."""
    rows = 0
    total: dict[tuple[str, str], Moments] = {}
    for part_rows, part in parts:
        rows += part_rows
        for place, moments in part.items():
            total[place] = total[place] + moments if place in total else moments
    return rows, total


def write_scored(statistics: Statistics, scored: Scored, score_feature: str) -> None:
    """Adds them to the features that they describe, and the number of rows to the score."""
    rows, found = scored
    for dataset in statistics.datasets:
        for stats in dataset.features:
            name = feature_name(stats)
            if (dataset.name, name) == (ALL, score_feature):
                stats.custom_stats.add(name=_ROWS, num=rows)
            moments = found.get((dataset.name, name))
            if moments is not None:
                for figure in ("mean", "std_dev", "min", "max"):
                    stats.custom_stats.add(name=_PREFIX + figure, num=getattr(moments, figure))


def read_moments(stats: FeatureStats) -> dict[str, float]:
    """{mean, std_dev, min, max: number}; empty where the statistics do not say."""
    return {
        custom.name.removeprefix(_PREFIX): custom.num
        for custom in stats.custom_stats
        if custom.name.startswith(_PREFIX)
    }


def check_scored(statistics: Statistics, score_feature: str, scored: int) -> None:
    """Raises AuditError where the moments do not cover exactly the rows that were scored."""
    dataset = dataset_of(statistics, ALL)
    for stats in dataset.features if dataset is not None else ():
        for custom in stats.custom_stats if feature_name(stats) == score_feature else ():
            if custom.name == _ROWS and int(custom.num) != scored:
                raise AuditError(
                    f"the means cover {int(custom.num)} rows, but {scored} were scored: the runner"
                    " dropped or duplicated some on their way"
                )
