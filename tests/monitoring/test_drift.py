"""Which distances are asked for, what they weigh, and what cannot be compared at all."""

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from scipy.spatial.distance import jensenshannon
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.monitoring.anomalies import find_anomalies
from beam_jobs.monitoring.anomaly import AnomalyReport
from beam_jobs.monitoring.drift import NOT_COMPARED, FeatureRoles
from beam_jobs.monitoring.policy import Kind, Policy, Severity
from beam_jobs.monitoring.volume import RunCounts
from beam_jobs.statistics.files import Statistics
from support.tfdv_statistics import reference

COUNTS = RunCounts(10_000, 10_000, 0, {})
PLACE = (np.arange(10_000) + 0.5) / 10_000


def schema_of(text: str) -> schema_pb2.Schema:
    return text_format.Parse(text, schema_pb2.Schema())


def named(statistics: Statistics, name: str = "all") -> Statistics:
    statistics.datasets[0].name = name
    return statistics


def find(
    now: pa.Array | None,
    before: pa.Array | None,
    feature: str,
    *,
    used: bool = True,
    before_feature: str | None = None,
    counts: RunCounts = COUNTS,
    policy: Policy | None = None,
) -> AnomalyReport:
    """The feature x, now and before; its schema, and another one before where that is given."""
    schemas = [schema_of(text) for text in (feature, before_feature or feature)]
    current, baseline = (
        named(
            reference(
                {"other": pa.array(PLACE)}
                if column is None
                else {"other": pa.array(np.resize(PLACE, len(column))), "x": column},
                schema,
            )
        )
        for column, schema in zip((now, before), schemas, strict=True)
    )
    roles = FeatureRoles(used=("x",) if used else ())
    return find_anomalies(current, schemas[0], baseline, None, policy or Policy(), counts, roles)


def lines(report: AnomalyReport) -> list[tuple[str, str, str]]:
    """(code, measure, severity) of x."""
    return [(a.code, a.measure, a.severity.value) for a in report.anomalies if a.feature == "x"]


TEXT = (
    'feature { name: "x" type: BYTES skew_comparator { %s } } feature { name: "other" type: FLOAT }'
)
COMPARATORS = {
    "infinity_norm": "COMPARATOR_L_INFTY_HIGH",
    "jensen_shannon_divergence": "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH",
    "normalized_abs_difference": "COMPARATOR_NORMALIZED_ABSOLUTE_DIFFERENCE_HIGH",
}


def device(share: float) -> pa.Array:
    return pa.array(np.where(share > PLACE, "mobile", "desktop"))


@pytest.mark.parametrize("measure", COMPARATORS)
@pytest.mark.parametrize(
    ("used", "threshold", "severity"),
    [(True, 0.02, "HOLD"), (True, 0.06, "WARN"), (False, 0.02, "WARN")],
)
def test_each_comparator_of_a_text_is_weighed(
    measure: str, used: bool, threshold: float, severity: str
) -> None:
    now = {"infinity_norm": 0.61, "jensen_shannon_divergence": 0.83,
           "normalized_abs_difference": 0.72}[measure]  # fmt: skip
    schema = TEXT % f"{measure} {{ threshold: {threshold} }}"
    report = find(device(now), device(0.5), schema, used=used)
    assert lines(report) == [(COMPARATORS[measure], measure, severity)]
    (row,) = [r for r in report.feature_statistics.to_pylist() if r["feature"] == "x"]
    p, q = np.array([now, 1 - now]), np.array([0.5, 0.5])
    expected = {
        "infinity_norm": now - 0.5,
        "jensen_shannon_divergence": jensenshannon(p, q, base=2) ** 2,
        "normalized_abs_difference": (now - 0.5) / 2,
    }
    assert row["skew_measure"] == measure
    assert row["skew"] == pytest.approx(expected[measure], abs=1e-3)


def test_several_comparators_have_a_line_each() -> None:
    asked = "infinity_norm { threshold: 0.1 } jensen_shannon_divergence { threshold: 0.1 }"
    asked += " normalized_abs_difference { threshold: 0.2 }"
    report = find(device(0.8), device(0.5), TEXT % asked)
    assert lines(report) == [("COMPARATOR_L_INFTY_HIGH", "infinity_norm", "HOLD")]
    report = find(device(0.95), device(0.5), TEXT % asked)
    assert sorted(lines(report)) == [
        ("COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH", "jensen_shannon_divergence", "HOLD"),
        ("COMPARATOR_L_INFTY_HIGH", "infinity_norm", "HOLD"),
        ("COMPARATOR_NORMALIZED_ABSOLUTE_DIFFERENCE_HIGH", "normalized_abs_difference", "WARN"),
    ]


def test_a_measure_of_categories_on_numbers_is_told_and_not_measured() -> None:
    schema = (
        'feature { name: "x" type: FLOAT skew_comparator { infinity_norm { threshold: 0.1 } } }'
    )
    report = find(pa.array(PLACE + 0.5), pa.array(PLACE), schema)
    assert ("NOT_COMPARED", "", "INFO") in lines(report)
    (line,) = [a for a in report.anomalies if a.feature == "x" and a.code == NOT_COMPARED]
    assert "infinity_norm counts values, and these are numbers (FLOAT)" in line.description
    assert ("JENSEN_SHANNON_SKEW_HIGH", "quantile_jensen_shannon_divergence", "HOLD") in lines(
        report
    )


INT = """
    feature { name: "x" type: INT skew_comparator {
        jensen_shannon_divergence { threshold: 0.01 } infinity_norm { threshold: 0.01 } } }
"""
CATEGORY = INT.replace("type: INT", "type: INT int_domain { is_categorical: true }")
FLOAT = INT.replace("type: INT", "type: FLOAT")
BYTES = INT.replace("type: INT", "type: BYTES")
WHOLE = pa.array(np.arange(10_000) % 7)
REAL = pa.array((np.arange(10_000) % 7) / 2)
WORD = pa.array([str(value) for value in np.arange(10_000) % 5])


@pytest.mark.parametrize(
    ("now", "schema", "before", "before_schema", "types"),
    [
        (WHOLE, CATEGORY, WHOLE, INT, ("INT as a category", "INT")),
        (WHOLE, INT, WHOLE, CATEGORY, ("INT", "INT as a category")),
        (WHOLE, CATEGORY, WORD, BYTES, ("INT as a category", "STRING")),
        (WORD, BYTES, WHOLE, INT, ("STRING", "INT")),
        (REAL, FLOAT, WORD, BYTES, ("FLOAT", "STRING")),
        (WORD, BYTES, WHOLE, CATEGORY, ("STRING", "INT as a category")),
    ],
)
@pytest.mark.parametrize("used", [True, False])
def test_another_type_is_told_and_nothing_is_computed(
    now: pa.Array, schema: str, before: pa.Array, before_schema: str,
    types: tuple[str, str], used: bool,
) -> None:  # fmt: skip
    report = find(now, before, schema, used=used, before_feature=before_schema)
    severity = "WARN" if used else "INFO"
    assert lines(report) == [("NOT_COMPARED", "", severity)]
    (line,) = [a for a in report.anomalies if a.feature == "x"]
    assert "cannot be compared with the baseline" in line.description
    assert f"it is {types[0]}, there it was {types[1]}" in line.description
    (row,) = [r for r in report.feature_statistics.to_pylist() if r["feature"] == "x"]
    assert (row["skew"], row["skew_measure"]) == (None, None)
    assert not report.proto.drift_skew_info


PICTURE = 'feature { name: "x" type: BYTES image_domain {} }'


@pytest.mark.parametrize(("before", "severity"), [(PICTURE, "INFO"), (BYTES, "WARN")])
def test_images_that_never_have_distances_are_no_news(before: str, severity: str) -> None:
    report = find(WORD, WORD, PICTURE, before_feature=before)
    assert lines(report) == [("NOT_COMPARED", "", severity)]


def test_whole_and_real_numbers_are_compared() -> None:
    now = pa.array(np.arange(10_000) / 10.0)
    report = find(now, pa.array(np.arange(10_000) // 10), FLOAT, before_feature=INT)
    (row,) = [r for r in report.feature_statistics.to_pylist() if r["feature"] == "x"]
    assert row["skew"] < 0.01
    assert all(severity == "INFO" for *_, severity in lines(report))


OPTIONAL = """
    feature { name: "x" type: FLOAT presence { min_count: 1 } }
    feature { name: "other" type: FLOAT }
"""


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize("missing", [10_000, 9_990, 6_000, 3_000])
def test_a_feature_that_most_rows_have_lost_holds_where_the_model_uses_it(
    used: bool, missing: int
) -> None:
    now = pa.array(PLACE, mask=np.arange(10_000) < missing)
    report = find(now, pa.array(PLACE), OPTIONAL, used=used)
    codes = {code: severity for code, _, severity in lines(report)}
    expected = "HOLD" if used and missing > 5_000 else "WARN"
    assert codes["MISSING_SHARE_SKEW"] == expected
    if missing == 10_000:
        assert codes["FEATURE_TYPE_NOT_PRESENT"] == expected


@pytest.mark.parametrize("used", [True, False])
def test_a_column_that_is_not_even_in_the_statistics(used: bool) -> None:
    schema = 'feature { name: "x" type: FLOAT } feature { name: "other" type: FLOAT }'
    found = lines(find(None, pa.array(PLACE), schema, used=used))
    assert found == [("MISSING_SHARE_SKEW", "missing_share", "HOLD" if used else "WARN")]


def test_a_missing_reference_is_said_of_features_score_and_slices() -> None:
    schema = schema_of(OPTIONAL)
    now = named(reference({"x": pa.array(PLACE), "score": pa.array(PLACE)}, schema))
    now.datasets.append(named(reference({"x": pa.array(PLACE)}, schema), "device=a").datasets[0])
    before = named(reference({"other": pa.array(PLACE)}, schema))
    report = find_anomalies(now, schema, before, None, Policy(), COUNTS, FeatureRoles())
    found = {(a.feature, a.slice) for a in report.anomalies if a.code == NOT_COMPARED}
    assert found == {("x", "all"), ("score", "all"), ("", "device=a")}


def test_rows_that_the_schema_expects_reach_table_and_gate() -> None:
    schema = schema_of(OPTIONAL)
    schema.dataset_constraints.min_examples_count = 20_000
    schema.dataset_constraints.num_examples_drift_comparator.min_fraction_threshold = 0.9
    now, before = (named(reference({"x": pa.array(PLACE[:n])}, schema)) for n in (1000, 10_000))
    for is_queue, severity in ((False, "HOLD"), (True, "INFO")):
        counts = RunCounts(1000, 1000, 0, {}, is_queue=is_queue)
        report = find_anomalies(now, schema, None, before, Policy(), counts, FeatureRoles())
        found = {
            a.code: (a.kind, a.feature, a.severity.value, a.reference)
            for a in report.anomalies
            if "NUM_EXAMPLES" in a.code
        }
        assert found == {
            "DATASET_LOW_NUM_EXAMPLES": (Kind.VOLUME, "", severity, "schema"),
            "COMPARATOR_LOW_NUM_EXAMPLES": (Kind.VOLUME, "", severity, "previous"),
        }
    schema.dataset_constraints.Clear()
    schema.dataset_constraints.min_examples_count = 1
    schema.dataset_constraints.max_examples_count = 10
    report = find_anomalies(now, schema, None, None, Policy(), COUNTS, FeatureRoles())
    assert [(a.code, a.severity) for a in report.anomalies if a.kind is Kind.VOLUME] == [
        ("DATASET_HIGH_NUM_EXAMPLES", Severity.WARN)
    ]


@pytest.mark.parametrize(("rows", "held"), [(501, True), (599, True), (600, False), (2_000, False)])
def test_a_month_is_compared_with_the_run_it_replaces(rows: int, held: bool) -> None:
    counts = RunCounts(rows, rows, 0, {}, previous_read=rows, replaced_read=1000, replaced_run="r7")
    found = find(pa.array(PLACE), pa.array(PLACE), OPTIONAL, counts=counts).anomalies
    low = [a for a in found if a.code == "ROWS_LOW_REPLACED"]
    assert [(a.severity, a.reference, a.value) for a in low] == (
        [(Severity.HOLD, "replaced", rows / 1000)] if held else []
    )
    assert all("run r7" in a.description for a in low)


def test_every_line_that_only_informs_says_why() -> None:
    outlier = np.append(PLACE, 1e6)
    silent = Policy(severities={"SKEW": Severity.INFO})
    reports = [
        find(pa.array(outlier), pa.array(PLACE), FLOAT),
        find(pa.array(PLACE[:20]), pa.array(PLACE[5:25]), FLOAT),
        find(device(0.8), device(0.5), TEXT % "", policy=silent),
        find(WORD, WHOLE, BYTES, used=False, before_feature=INT),
        find(pa.array(PLACE), None, FLOAT),
        find(pa.array(PLACE, mask=PLACE < 0.001), pa.array(PLACE),
             'feature { name: "x" type: FLOAT presence { min_fraction: 1 } }'),
        find(pa.array([None, None, 1.0, 2.0]), pa.array([1.0, 2.0, 3.0, 4.0]), FLOAT),
        find(pa.array(PLACE), pa.array(PLACE), FLOAT,
             counts=RunCounts(0, 0, 0, {}, is_queue=True)),
        find(pa.array(PLACE), pa.array(PLACE), FLOAT,
             counts=RunCounts(50, 48, 2, {}, is_queue=True)),
    ]  # fmt: skip
    told = [a for report in reports for a in report.anomalies if a.severity is Severity.INFO]
    assert len({a.code for a in told}) >= 7
    for anomaly in told:
        _, _, why = anomaly.short_description.partition("; only INFO: ")
        assert why
        assert f"Only INFO: {why}" in anomaly.description or anomaly.told
    assert not any("only INFO" in a.short_description for report in reports
                   for a in report.anomalies if a.severity is not Severity.INFO)  # fmt: skip


def test_an_empty_list_is_missing_as_tfx_writes_it() -> None:
    schema = schema_of(OPTIONAL)
    now = named(reference({"x": pa.array([1.0] * 600 + [None] * 400)}, schema))
    before = Statistics()
    stats = before.datasets.add(name="all", num_examples=1000).features.add(name="x", type=1)
    common = stats.num_stats.common_stats
    common.num_non_missing, common.tot_num_values, common.max_num_values = 1000, 600, 1
    report = find_anomalies(now, schema, before, None, Policy(), COUNTS, FeatureRoles())
    assert "MISSING_SHARE_SKEW" not in {a.code for a in report.anomalies}
    common.tot_num_values = 1000
    common.min_num_values = 1
    report = find_anomalies(now, schema, before, None, Policy(), COUNTS, FeatureRoles())
    assert "MISSING_SHARE_SKEW" in {a.code for a in report.anomalies}
