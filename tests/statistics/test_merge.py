"""Statistics of many small runs as one, and nights of the queue that raise no false alarm."""

import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.batch import Reason
from beam_jobs.monitoring.anomalies import find_anomalies
from beam_jobs.monitoring.drift import FeatureRoles
from beam_jobs.monitoring.policy import Policy, Severity
from beam_jobs.monitoring.volume import RunCounts
from beam_jobs.statistics.compute import stats_options, to_tfdv
from beam_jobs.statistics.files import Statistics
from beam_jobs.statistics.merge import merge_statistics
from support.tfdv_statistics import (
    by_name,
    exact_figures,
    located,
    quantile_ranks,
    reference,
    top_values,
)

Columns = Mapping[str, pa.Array]

SCHEMA = text_format.Parse(
    """
    feature { name: "bid" type: FLOAT
              skew_comparator { jensen_shannon_divergence { threshold: 0.03 } }
              drift_comparator { jensen_shannon_divergence { threshold: 0.03 } } }
    feature { name: "hour" type: INT }
    feature { name: "video" type: INT }
    feature { name: "site" type: BYTES skew_comparator { infinity_norm { threshold: 0.1 } }
              drift_comparator { infinity_norm { threshold: 0.1 } } }
    """,
    schema_pb2.Schema(),
)


def night(chance: np.random.Generator, rows: int, *, games: float = 0.1) -> dict[str, pa.Array]:
    """Requests of a night; `games` is the share of one site."""
    sites = np.array([f"site{n}" for n in range(8)] + ["games"])
    shares = np.append(np.full(8, (1 - games) / 8), games)
    bids = chance.lognormal(0, 1, rows)
    return {
        "bid": pa.array(np.where(chance.random(rows) < 0.1, np.nan, bids), from_pandas=True),
        "hour": pa.array(chance.integers(0, 24, rows)),
        "video": pa.array((chance.random(rows) < 0.05).astype(np.int64)),
        "site": pa.array(sites[chance.choice(9, rows, p=shares)]),
        "__score": pa.array(chance.beta(2, 8, rows)),
    }


def statistics(columns: Columns) -> Statistics:
    ((*_, batch),) = located(columns)
    made = stats_impl.generate_statistics_in_memory(to_tfdv(batch, "score"), stats_options(SCHEMA))
    made.datasets[0].name = "all"
    return made


@pytest.mark.parametrize("sizes", [(1, 2, 3), (200,) * 12, (5, 4_000, 17, 900)])
def test_many_runs_are_as_all_their_rows(sizes: tuple[int, ...]) -> None:
    chance = np.random.default_rng(len(sizes))
    nights = [night(chance, rows) for rows in sizes]
    merged = merge_statistics([statistics(columns) for columns in nights])
    assert merged is not None
    together = {name: pa.concat_arrays([columns[name] for columns in nights]) for name in nights[0]}
    together["score"] = together.pop("__score")
    expected = by_name(reference(together, SCHEMA).datasets[0])
    found = by_name(merged.datasets[0])
    assert (merged.datasets[0].name, merged.datasets[0].num_examples) == ("all", sum(sizes))
    assert found.keys() == expected.keys()
    for name, stats in found.items():
        assert exact_figures(stats) == pytest.approx(exact_figures(expected[name])), name
        if name == "site":
            assert top_values(stats) == top_values(expected[name])
            continue
        for figure in ("mean", "std_dev"):
            ours = getattr(stats.num_stats, figure)
            assert ours == pytest.approx(getattr(expected[name].num_stats, figure), rel=1e-5)
        values = together[name].drop_null().to_numpy(zero_copy_only=False).astype(np.float32)
        # A border lies between two values of one small run: no nearer than its own steps.
        step = 0.03 + sum(1 for size in sizes if size < 100) / sum(sizes)
        for claimed, below, upto in quantile_ranks(stats, values):
            assert below - step <= claimed <= upto + step, name


def test_features_that_runs_lack_or_type_otherwise_are_left_to_the_others() -> None:
    chance = np.random.default_rng(0)
    full = night(chance, 50)
    lacking = {name: column for name, column in night(chance, 30).items() if name != "site"}
    other = night(chance, 20) | {"hour": pa.array(["noon"] * 20)}
    merged = merge_statistics([statistics(columns) for columns in (full, lacking, other)])
    assert merged is not None
    found = by_name(merged.datasets[0])
    assert sum(top_values(found["site"]).values()) == 70
    assert found["hour"].num_stats.common_stats.num_non_missing == 80
    assert merge_statistics([]) is None


def alarms(now: Columns, baseline: Statistics, previous: Statistics | None) -> list[str]:
    """What would make somebody look."""
    rows = len(now["bid"])
    report = find_anomalies(
        statistics(now),
        SCHEMA,
        baseline,
        previous,
        Policy(),
        RunCounts(rows, rows, 0, {}, is_queue=True),
        FeatureRoles(used=("bid", "hour", "site")),
    )
    return [
        f"{a.severity.value} {a.kind.value} {a.feature} {a.code}"
        for a in report.anomalies
        if a.severity is not Severity.INFO
    ]


NIGHTS = 30


def test_slow_nights_raise_no_false_alarm_and_a_shift_is_found() -> None:
    chance = np.random.default_rng(11)
    baseline = statistics(night(chance, 20_000))
    history = [statistics(night(chance, 200)) for _ in range(30)]
    previous = merge_statistics(history)
    found = {
        rows: [alarms(night(chance, rows), baseline, previous) for _ in range(NIGHTS)]
        for rows in (3, 30, 200)
    }
    assert {rows: sum(map(bool, nights)) for rows, nights in found.items()} == {3: 0, 30: 0, 200: 0}
    shifted = alarms(night(chance, 200, games=0.5), baseline, previous)
    assert "HOLD DRIFT site COMPARATOR_L_INFTY_HIGH" in shifted
    assert "HOLD SKEW site COMPARATOR_L_INFTY_HIGH" in shifted


def test_one_small_run_before_is_no_ground_for_an_alarm() -> None:
    chance = np.random.default_rng(5)
    baseline = statistics(night(chance, 20_000))
    pairs = [(night(chance, 20), statistics(night(chance, 5))) for _ in range(NIGHTS)]
    assert [alarms(now, baseline, before) for now, before in pairs] == [[]] * NIGHTS


@pytest.mark.parametrize(
    ("bad", "rows", "severity"),
    [
        (1, 1, "INFO"), (1, 10, "INFO"), (3, 10, "WARN"), (3, 3, "HOLD"), (20, 200, "WARN"),
        (40, 200, "HOLD"), (3, 200, "INFO"), (600, 10_000, "HOLD"), (510, 10_000, "WARN"),
    ],
)  # fmt: skip
def test_a_few_bad_requests_of_few_do_not_hold_the_others(
    bad: int, rows: int, severity: str
) -> None:
    from beam_jobs.monitoring.volume import quarantine, volume

    counts = RunCounts(rows, rows - bad, bad, {Reason.INVALID_TYPE: bad}, is_queue=True)
    (anomaly,) = quarantine(counts, Policy())
    assert anomaly.severity.value == severity
    assert ("may be chance" in anomaly.description) == (severity == "INFO")
    assert volume(counts, Policy()) == []
    assert math.isclose(anomaly.value or 0, bad / rows)
