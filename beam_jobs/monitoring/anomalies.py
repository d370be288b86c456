"""Statistics -> anomalies: TFDV's own, and what TFDV lacks.

TFDV is the authority on schema, skew and drift: every anomaly of `tfdv.validate_statistics`
becomes a line. Beside them stand distances that one outlier cannot spoil, guards for small
samples, missing values, predictions, volume and quarantine.
"""

import dataclasses

from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.monitoring.anomaly import Anomaly, AnomalyReport
from beam_jobs.monitoring.drift import (
    FeatureRoles,
    Rules,
    absent_from_reference,
    incomparable,
    measured_distances,
    not_compared,
    pairs,
    with_distance,
)
from beam_jobs.monitoring.files import find_file_anomalies
from beam_jobs.monitoring.policy import Kind, Policy, Severity
from beam_jobs.monitoring.quality import Pair, missing_values, shared_images
from beam_jobs.monitoring.tfdv_anomalies import References, tfdv_anomalies
from beam_jobs.monitoring.volume import RunCounts, of_run
from beam_jobs.statistics.distances import Measured
from beam_jobs.statistics.feature_table import feature_statistics
from beam_jobs.statistics.files import (
    Statistics,
    dataset_of,
    feature_name,
    score_feature_name,
)
from beam_jobs.statistics.histograms import common_stats
from beam_jobs.statistics.slices import ALL

_SEVERITIES = (Severity.HOLD, Severity.WARN, Severity.INFO)


def find_anomalies(
    current: Statistics,
    schema: schema_pb2.Schema,
    baseline: Statistics | None,
    previous: Statistics | None,
    policy: Policy,
    counts: RunCounts,
    roles: FeatureRoles,
) -> AnomalyReport:
    """Compares a run's statistics with schema, baseline and previous run.

    Args:
        current: of the run, one data set a slice.
        schema: TFDV's.
        baseline: of the training data, for skew; None measures none.
        previous: of the run before, for drift; None measures none.
        policy: thresholds and severities.
        counts: rows of the run.
        roles: label, key and used features.
    """
    score = score_feature_name(schema)
    rules = Rules(schema, policy, roles, score)
    references = References(baseline, previous)
    compared = {
        kind: list(pairs(current, reference, rules)) for kind, reference in references.items()
    }
    unmeasured = {
        kind: {pair: why for pair in found if (why := incomparable(pair)) is not None}
        for kind, found in compared.items()
    }
    names = {kind: {pair.feature for pair in found} for kind, found in unmeasured.items()}
    proto, rows = tfdv_anomalies(current, references, names, rules, counts.is_queue)
    distances: dict[tuple[str, str, Kind], Measured] = {}
    for kind, reference in references.items():
        rows += absent_from_reference(current, reference, kind, rules)
        for pair in compared[kind]:
            rows += _of_values(pair, kind, rules)
            if pair in unmeasured[kind]:
                rows.append(not_compared(pair, kind, unmeasured[kind][pair], rules))
                continue
            found, unknown = measured_distances(pair, kind, rules)
            rows += unknown
            for measured in found:
                distances.setdefault((pair.slice, pair.feature, kind), measured)
                rows = with_distance(rows, pair, kind, measured, rules)
    rows += of_run(counts, policy)
    rows += find_file_anomalies(counts.files)
    return AnomalyReport(
        proto,
        _final(rows, policy),
        feature_statistics(
            current,
            {(s, f): d for (s, f, kind), d in distances.items() if kind is Kind.SKEW},
            {(s, f): d for (s, f, kind), d in distances.items() if kind is Kind.DRIFT},
        ),
        _score_figures(current, score),
    )


def _of_values(pair: Pair, kind: Kind, rules: Rules) -> list[Anomaly]:
    """What is said of missing values and of images, whatever the distances are."""
    rows = missing_values(pair, kind, rules.policy, rules.is_used(pair.feature))
    if pair.feature == rules.roles.image_hash:
        rows += shared_images(pair, kind, rules.policy)
    return rows


def _final(rows: list[Anomaly], policy: Policy) -> tuple[Anomaly, ...]:
    """With the policy's severities, and why where it is only INFO; the worst first."""
    final = [_with_policy(row, policy).explained() for row in rows]
    final.sort(key=lambda a: (_SEVERITIES.index(a.severity), a.slice, a.kind.value, a.feature))
    return tuple(final)


def _with_policy(row: Anomaly, policy: Policy) -> Anomaly:
    severity = policy.severity(row.severity, row.kind, row.code, row.feature)
    if severity is Severity.INFO and row.severity is not Severity.INFO:
        return row.informing("the policy says so")
    return dataclasses.replace(row, severity=severity)


def _score_figures(current: Statistics, score: str) -> dict[str, float] | None:
    dataset = dataset_of(current, ALL)
    for stats in dataset.features if dataset is not None else ():
        if feature_name(stats) == score and common_stats(stats).num_non_missing:
            numbers = stats.num_stats
            return {"mean": numbers.mean, "min": numbers.min, "max": numbers.max}
    return None
