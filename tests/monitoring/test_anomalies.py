"""Anomalies: TFDV's own verdict, distances that outliers cannot spoil, and no false alarms."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from google.protobuf import text_format
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from beam_jobs.batch import Reason
from beam_jobs.finish.judge import anomalies_table
from beam_jobs.monitoring.anomalies import find_anomalies
from beam_jobs.monitoring.anomaly import Anomaly, AnomalyReport
from beam_jobs.monitoring.drift import FeatureRoles
from beam_jobs.monitoring.policy import Kind, Policy, Severity
from beam_jobs.monitoring.volume import RunCounts
from beam_jobs.statistics.compute import stats_options, to_tfdv
from beam_jobs.statistics.files import Statistics
from beam_jobs.statistics.tfdv import tfdv
from support.tfdv_statistics import located

SCHEMA = text_format.Parse(
    """
    feature { name: "price" type: FLOAT presence { min_fraction: 1 min_count: 1 }
              value_count { min: 1 max: 1 } float_domain { min: 0 max: 100 }
              skew_comparator { jensen_shannon_divergence { threshold: 0.03 } }
              drift_comparator { jensen_shannon_divergence { threshold: 0.02 } } }
    feature { name: "device" type: BYTES presence { min_count: 1 } domain: "devices"
              skew_comparator { infinity_norm { threshold: 0.1 }
                                jensen_shannon_divergence { threshold: 0.01 } }
              drift_comparator { infinity_norm { threshold: 0.2 } } }
    feature { name: "clicked" type: INT presence { min_fraction: 1 }
              int_domain { is_categorical: true } not_in_environment: "SERVING"
              skew_comparator { infinity_norm { threshold: 0.01 } } }
    string_domain { name: "devices" value: "mobile" value: "desktop" }
    default_environment: "TRAINING" default_environment: "SERVING"
    """,
    schema_pb2.Schema(),
)
COUNTS = RunCounts(read=1000, scored=1000, quarantined=0, reasons={})
CONTEXT = FeatureRoles(label="clicked", key="id", used=("price", "device"))
Columns = Mapping[str, pa.Array]


def statistics(columns: Columns, schema: schema_pb2.Schema, name: str = "all") -> Statistics:
    """As a run makes them, in memory."""
    ((*_, batch),) = located(columns)
    made = stats_impl.generate_statistics_in_memory(to_tfdv(batch, "score"), stats_options(schema))
    made.datasets[0].name = name
    return made


def find(
    now: Columns | Statistics,
    schema: schema_pb2.Schema,
    baseline: Columns | Statistics | None = None,
    previous: Columns | Statistics | None = None,
    roles: FeatureRoles = CONTEXT,
) -> AnomalyReport:
    """Names of the one data set: as a run, a file of TFX and a file of TFDV have them."""
    current, skew, drift = (
        statistics(data, schema, name) if isinstance(data, Mapping) else data
        for data, name in ((now, "all"), (baseline, ""), (previous, "All Examples"))
    )
    assert current is not None
    return find_anomalies(current, schema, skew, drift, Policy(), COUNTS, roles)


def ads(rows: int = 1000, mobile: float = 0.5, cheap: float = 0.5) -> dict[str, pa.Array]:
    """Shares, not samples: what differs is exactly what the arguments say."""
    place = (np.arange(rows) + 0.5) / rows
    return {
        "price": pa.array(np.where(place < cheap, place, place + 10)),
        "device": pa.array(np.where(place < mobile, "mobile", "desktop")),
    }


MISSING = pa.array([None] * 400 + [1.0] * 600)
CASES: dict[str, tuple[Columns, Columns | None, Columns | None]] = {
    "nothing": (ads(), ads(), ads()),
    "a column is missing": ({"price": ads()["price"]}, ads(), ads()),
    "a column is new": (ads() | {"brand": ads()["device"]}, ads(), ads()),
    "a value outside the domain": (ads() | {"device": pa.array(["tv"] * 1000)}, None, None),
    "numbers outside the domain": (ads() | {"price": pa.array([-1.0, 101.0] * 500)}, None, None),
    "another type": (ads() | {"price": pa.array(["1"] * 1000)}, None, None),
    "missing values": (ads() | {"price": MISSING}, ads(), ads()),
    "skew": (ads(mobile=0.8, cheap=0.8), ads(), None),
    "drift": (ads(mobile=0.8, cheap=0.8), None, ads()),
    "skew and drift": (ads(mobile=0.8, cheap=0.8), ads(), ads(mobile=0.3)),
    "neither baseline": (ads(), {"price": ads()["price"]}, {"device": ads()["device"]}),
}


def theirs(proto: anomalies_pb2.Anomalies) -> set[tuple[str, str, str]]:
    return {
        (info.path.step[0] if info.path.step else name, type(info).Type.Name(r.type), r.description)
        for name, info in proto.anomaly_info.items()
        for r in info.reason
    }


@pytest.mark.parametrize("case", CASES)
def test_every_anomaly_of_tfdv_is_a_line(case: str) -> None:
    now, baseline, previous = CASES[case]
    ours, before = statistics(now, SCHEMA, ""), None
    if previous is not None:
        before = statistics(previous, SCHEMA, "")
    checked = tfdv.validate_statistics(
        ours, SCHEMA, environment="SERVING", previous_statistics=before
    )
    expected = theirs(checked)
    if baseline is not None:
        training = statistics(baseline, SCHEMA, "")
        skew = tfdv.validate_statistics(training, SCHEMA, serving_statistics=ours)
        expected |= {found for found in theirs(skew) if found[1].startswith("COMPARATOR_")}

    report = find(now, SCHEMA, baseline, previous)
    assert theirs(report.proto) == expected
    types = anomalies_pb2.AnomalyInfo.Type.keys()
    lines = [row for row in report.anomalies if row.code in types]
    assert {(row.feature, row.code) for row in lines} == {found[:2] for found in expected}
    assert len(lines) == len(expected)
    for row in lines:
        texts = [text for *place, text in expected if place == [row.feature, row.code]]
        assert any(row.description.startswith(text.rstrip(". ")) for text in texts)
    if case != "nothing":
        assert lines
    # All above a threshold that TFDV found is a line of ours too, never twice.
    places = [
        (row.kind, row.feature, row.measure, row.reference)
        for row in report.anomalies
        if row.measure
    ]
    assert len(places) == len(set(places))


def test_a_line_has_the_figures_that_tfdv_measured() -> None:
    report = find(ads(mobile=0.8, cheap=0.8), SCHEMA, ads(), ads(mobile=0.3))
    measures = {
        "L_INFTY": "infinity_norm",
        "JENSEN_SHANNON_DIVERGENCE": "jensen_shannon_divergence",
    }
    measured = {
        (kind, info.path.step[0], measures[type(m).Type.Name(m.type)]): (m.value, m.threshold)
        for info in report.proto.drift_skew_info
        for kind, several in (
            (Kind.SKEW, info.skew_measurements),
            (Kind.DRIFT, info.drift_measurements),
        )
        for m in several
    }
    found = {
        (row.kind, row.feature, row.measure): (row.value, row.threshold)
        for row in report.anomalies
        if row.code.startswith("COMPARATOR_")
    }
    assert found == {place: m for place, m in measured.items() if m[0] > m[1]}
    assert found[Kind.SKEW, "device", "infinity_norm"] == pytest.approx((0.3, 0.1))
    assert found[Kind.DRIFT, "device", "infinity_norm"] == pytest.approx((0.5, 0.2))
    assert len(found) == 5


def alarms(report: AnomalyReport) -> list[Anomaly]:
    return [row for row in report.anomalies if row.severity is not Severity.INFO]


KINDS_OF_DATA = schema_pb2.Schema()
for _name, _type in [
    ("normal", 3), ("heavy", 3), ("gaps", 3), ("count", 2), ("hour", 2), ("coin", 1), ("rare", 1),
    ("site", 1), ("user", 1),
]:  # fmt: skip
    _feature = KINDS_OF_DATA.feature.add(name=_name, type=_type)
    if _name == "hour":
        _feature.int_domain.is_categorical = True
    for _comparator in (_feature.skew_comparator, _feature.drift_comparator):
        if _type == schema_pb2.BYTES or _name == "hour":
            _comparator.infinity_norm.threshold = 0.1
        else:
            _comparator.jensen_shannon_divergence.threshold = 0.03


def sample(random: np.random.Generator, rows: int, shift: float = 0.0) -> dict[str, pa.Array]:
    """Rows of one distribution, whose `normal` and `coin` may be shifted."""
    gaps = random.exponential(size=rows)
    return {
        "normal": pa.array(random.normal(shift, 1, rows)),
        "heavy": pa.array(random.pareto(1.0, rows)),
        "gaps": pa.array(gaps, mask=random.random(rows) < 0.5),
        "count": pa.array(random.poisson(3, rows)),
        "hour": pa.array(random.integers(0, 24, rows)),
        "coin": pa.array(np.where(random.random(rows) < 0.5 + shift / 2, "a", "b")),
        "rare": pa.array(np.where(random.random(rows) < 0.01, "a", "b")),
        "site": pa.array((random.zipf(1.3, rows) % 1_000_000).astype(str)),
        "user": pa.array(random.integers(0, 10**9, rows).astype(str)),
        "score": pa.array(random.beta(2, 5, rows)),
    }


def two_samples(seed: int, rows: int, shift: float = 0.0) -> tuple[Statistics, Statistics]:
    """(a month, the next one, shifted)."""
    random = np.random.default_rng(seed)
    before, now = sample(random, rows), sample(random, rows, shift)
    return statistics(before, KINDS_OF_DATA), statistics(now, KINDS_OF_DATA)


@pytest.mark.parametrize(("rows", "by_chance"), [(200, 2), (20_000, 0)])
def test_samples_of_one_distribution_raise_no_alarm(rows: int, by_chance: int) -> None:
    """The noise of a distance is its 99.9 % point.

    Of 300 distances of small samples, more than two lie above in 0.4 % of cases; of large samples,
    the noise is far below the thresholds.
    """
    roles = FeatureRoles(used=tuple(feature.name for feature in KINDS_OF_DATA.feature))
    by_tfdv, found = 0, set()
    for seed in range(30):
        before, now = two_samples(seed, rows)
        report = find(now, KINDS_OF_DATA, before, before, roles)
        by_tfdv += len(report.proto.anomaly_info)
        found |= {(seed, row.feature, row.severity, row.value) for row in alarms(report)}
    assert by_tfdv > 10, "the samples are too easy: TFDV alone finds nothing in them"
    assert len(found) <= by_chance, found
    assert not any(severity is Severity.HOLD for _, _, severity, _ in found)


@pytest.mark.parametrize(("rows", "shift"), [(200, 1.0), (20_000, 0.7), (20_000, 0.25)])
def test_a_true_shift_is_found_and_nothing_else(rows: int, shift: float) -> None:
    """A normal's shift by 0.25 standard deviations is a divergence of 0.011, below 0.03."""
    for seed in range(3):
        before, now = two_samples(seed, rows, shift)
        rows_found = alarms(
            find(now, KINDS_OF_DATA, before, before, FeatureRoles(used=("normal",)))
        )
        found = {(row.kind, row.feature): row.severity for row in rows_found}
        expected = {"coin": Severity.WARN}
        if shift > 0.5:
            expected["normal"] = Severity.HOLD
        assert found == {
            (kind, feature): severity
            for kind in (Kind.SKEW, Kind.DRIFT)
            for feature, severity in expected.items()
        }


def normal(rows: int, mean: float, *outliers: float) -> dict[str, pa.Array]:
    values = np.random.default_rng(7).normal(mean, 1, rows)
    return {"normal": pa.array(np.concatenate([values, outliers]))}


ONLY_NORMAL = schema_pb2.Schema(feature=[KINDS_OF_DATA.feature[0]])


def test_one_outlier_is_no_drift() -> None:
    report = find(normal(20_000, 0, 1e6), ONLY_NORMAL, None, normal(20_000, 0))
    (row,) = report.anomalies
    assert (row.code, row.severity) == ("COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH", Severity.INFO)
    assert row.value is not None
    assert row.value > 0.99
    assert "chance alone" in row.description


def test_an_outlier_on_both_sides_hides_no_drift() -> None:
    now, before = normal(20_000, 0.7, 1e6), normal(20_000, 0, 1e6)
    report = find(now, ONLY_NORMAL, None, before, FeatureRoles(used=("normal",)))
    (row,) = report.anomalies
    assert not report.proto.anomaly_info
    assert (row.kind, row.code) == (Kind.DRIFT, "JENSEN_SHANNON_DRIFT_HIGH")
    assert row.severity is Severity.HOLD
    (line,) = report.feature_statistics.to_pylist()
    assert (line["feature"], line["drift"], line["skew"]) == ("normal", row.value, None)


@pytest.mark.parametrize("name", ["score", "model_score"])
def test_a_shift_of_the_score_holds(name: str) -> None:
    schema = schema_pb2.Schema()
    schema.CopyFrom(ONLY_NORMAL)
    if name == "model_score":
        schema.feature.add(name="score", type=schema_pb2.FLOAT)
    random = np.random.default_rng(3)
    other = {"score": pa.array(random.normal(size=5000))} if name == "model_score" else {}
    now, before = (
        normal(5000, 0) | other | {name: pa.array(random.beta(a, 5, 5000))} for a in (4, 2)
    )
    report = find(now, schema, before, before)
    found = {(row.kind, row.feature, row.code, row.severity) for row in report.anomalies}
    assert found == {
        (Kind.PREDICTION, name, f"SCORE_{kind}_HIGH", Severity.HOLD) for kind in ("SKEW", "DRIFT")
    }
    values = np.asarray(now[name])
    assert report.score == pytest.approx(
        {"mean": values.mean(), "min": values.min(), "max": values.max()}
    )


def test_a_shift_within_a_slice_has_its_name() -> None:
    """The whole stays as it was: one slice's gain is the other's loss."""
    random = np.random.default_rng(5)
    a, b = random.normal(0, 1, (2, 5000)), random.normal(3, 1, (2, 5000))

    def month(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Statistics:
        made = statistics({"normal": pa.array(np.concatenate([first, second]))}, ONLY_NORMAL)
        for name, values in (("coin=a", first), ("coin=b", second)):
            part = statistics({"normal": pa.array(values)}, ONLY_NORMAL, name)
            made.datasets.append(part.datasets[0])
        return made

    report = find_anomalies(
        month(b[0], a[0]), ONLY_NORMAL, None, month(a[1], b[1]), Policy(), COUNTS, FeatureRoles()
    )
    found = {(row.slice, row.feature, row.kind) for row in alarms(report)}
    assert found == {("coin=a", "normal", Kind.DRIFT), ("coin=b", "normal", Kind.DRIFT)}


def test_missing_values_that_multiply_are_found() -> None:
    now = {"normal": pa.array([1.0] * 600 + [None] * 400)}
    before = {"normal": pa.array([1.0] * 950 + [None] * 50)}
    (row,) = find(now, ONLY_NORMAL, None, before).anomalies
    assert (row.kind, row.code, row.severity) == (
        Kind.QUALITY, "MISSING_SHARE_DRIFT", Severity.WARN,
    )  # fmt: skip
    assert row.value == pytest.approx(0.35)


@pytest.mark.parametrize(
    ("read", "quarantined", "previous", "expected"),
    [
        (0, 0, None, [("NO_ROWS", "HOLD", 0.0)]),
        (0, 0, 100, [("NO_ROWS", "HOLD", 0.0)]),
        (100, 1, 100, []),
        (100, 2, 100, [("QUARANTINED_SHARE_HIGH", "WARN", 0.02)]),
        (100, 5, 100, [("QUARANTINED_SHARE_HIGH", "WARN", 0.05)]),
        (100, 6, 100, [("QUARANTINED_SHARE_HIGH", "HOLD", 0.06)]),
        (100, 0, None, []),
        (100, 0, 0, []),
        (50, 0, 100, []),
        (49, 0, 100, [("ROWS_LOW", "WARN", 0.49)]),
        (200, 0, 100, []),
        (201, 0, 100, [("ROWS_HIGH", "WARN", 2.01)]),
    ],
)
def test_rows_of_the_run(
    read: int, quarantined: int, previous: int | None, expected: list[Any]
) -> None:
    counts = RunCounts(
        read, read - quarantined, quarantined, {Reason.OUT_OF_RANGE: quarantined}, previous
    )
    now = statistics(ads(max(read, 1)), SCHEMA) if read else statistics({}, SCHEMA)
    report = find_anomalies(now, SCHEMA, None, None, Policy(), counts, FeatureRoles())
    found = [(row.code, row.severity.value, row.value) for row in report.anomalies]
    assert found == expected
    assert anomalies_table(report.anomalies).num_rows == len(expected)
