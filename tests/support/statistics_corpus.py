"""Statistics of two small months as the installed TFDV writes them, in each of its forms.

    .venv/bin/python tests/support/statistics_corpus.py      on each stack

writes tests/statistics/corpus/tfdv-VERSION and, on the earlier stack, distances.json there, which
every other stack is held to.
"""

import json
from pathlib import Path

import apache_beam as beam
import pandas as pd
import tensorflow_data_validation as tfdv

from beam_jobs.statistics.distances import Measure, measure
from beam_jobs.statistics.files import Statistics, feature_name

CORPUS = Path(__file__).parents[1] / "statistics/corpus"
MONTHS = ("previous", "current")
TEXTS = (Measure.INFINITY_NORM, Measure.JENSEN_SHANNON, Measure.ABS_DIFFERENCE)
NUMBERS = (Measure.QUANTILE_JENSEN_SHANNON,)
DEVICES = ("mobile", "desktop", "tablet", "tv", "watch")


def rows_of(month: str) -> pd.DataFrame:
    """600 rows without chance, the same for every version of NumPy."""
    shift = MONTHS.index(month)
    places = range(600)
    return pd.DataFrame({
        "bid": [((place * 37) % 101 + 9 * shift) / 10 for place in places],
        "age": [18 + (place * place + 5 * shift * place) % 61 for place in places],
        "device": [DEVICES[(place * (3 + shift)) % (5 - shift)] for place in places],
        "sparse": [None if place % (7 - 3 * shift) else place / 600 for place in places],
    })  # fmt: skip


def statistics_of(month: str) -> Statistics:
    options = tfdv.StatsOptions(num_quantiles_histogram_buckets=100)
    return tfdv.generate_statistics_from_dataframe(rows_of(month), options)


def distances(
    current: Statistics,
    previous: Statistics,
) -> dict[str, float]:
    """{feature and measure: value} of all that can be measured."""
    before = {feature_name(stats): stats for stats in previous.datasets[0].features}
    found = {}
    for stats in current.datasets[0].features:
        for which in TEXTS if stats.HasField("string_stats") else NUMBERS:
            distance = measure(which, stats, before[feature_name(stats)])
            if distance is not None:
                found[f"{feature_name(stats)} {which.value}"] = distance.value
    return found


def write(folder: Path) -> dict[str, Statistics]:
    """Both months in every form; gives their statistics."""
    folder.mkdir(exist_ok=True)
    made = {month: statistics_of(month) for month in MONTHS}
    for month, statistics in made.items():
        tfdv.write_stats_text(statistics, str(folder / f"{month}.pbtxt"))
        with beam.Pipeline(runner="FnApiRunner") as pipeline:
            values = pipeline | beam.Create([statistics])
            binary = tfdv.WriteStatisticsToBinaryFile(str(folder / f"{month}.FeatureStats.pb"))
            records = tfdv.WriteStatisticsToTFRecord(str(folder / f"{month}.tfrecord"))
            _ = values | "binary" >> binary
            _ = values | "records" >> records
    return made


if __name__ == "__main__":
    written = write(CORPUS / f"tfdv-{tfdv.__version__}")
    if tfdv.__version__.startswith("1.16."):
        text = json.dumps(distances(written["current"], written["previous"]), indent=1)
        (CORPUS / "distances.json").write_text(text + "\n")
