"""Statistics -> anomalies: TFDV's own, and what TFDV lacks.

TFDV is the authority on schema, skew and drift: every anomaly of `tfdv.validate_statistics`
becomes a line. Beside them stand distances that one outlier cannot spoil, guards for small
samples, missing values, predictions, volume and quarantine.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from beam_jobs.check.distances import (
    Distance,
    FeatureStats,
    common_stats,
    distance,
    is_categorical,
    missing_share,
)
from beam_jobs.check.feature_table import feature_statistics
from beam_jobs.check.policy import Kind, Policy, Severity
from beam_jobs.check.quality import Pair, missing_values, reference_of, shared_images
from beam_jobs.check.report import Anomaly, AnomalyReport
from beam_jobs.check.run_anomalies import UNLIKELY, RunCounts, chance_of, of_run
from beam_jobs.check.slices import ALL
from beam_jobs.check.statistics_files import Statistics, dataset_of, score_feature_name
from beam_jobs.check.tfdv import tfdv
from beam_jobs.features import SERVING, in_environment

LINF = "infinity_norm"
JENSEN_SHANNON = "jensen_shannon_divergence"

_Info = anomalies_pb2.AnomalyInfo
_BUILT_IN: Mapping[str, Severity] = {
    "SCHEMA_MISSING_COLUMN": Severity.HOLD,
    "SCHEMA_NEW_COLUMN": Severity.INFO,
    "COMPARATOR_CONTROL_DATA_MISSING": Severity.INFO,
    "COMPARATOR_TREATMENT_DATA_MISSING": Severity.WARN,
    "COMPARATOR_LOW_NUM_EXAMPLES": Severity.INFO,
}
_DISTANCE_CODES = {
    "COMPARATOR_L_INFTY_HIGH": LINF,
    "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH": JENSEN_SHANNON,
    "COMPARATOR_NORMALIZED_ABSOLUTE_DIFFERENCE_HIGH": "normalized_abs_difference",
}
_MISSING_CODES = ("FEATURE_TYPE_LOW_FRACTION_PRESENT", "INVALID_FEATURE_SHAPE")
_SEVERITIES = (Severity.HOLD, Severity.WARN, Severity.INFO)


@dataclass(frozen=True)
class Context:
    """What features are to the run.

    Attributes:
        label, key: not compared.
        used: the model's features; their distances may hold a run.
        image_hash: the one that is equal where images look alike.
    """

    label: str | None = None
    key: str | None = None
    used: tuple[str, ...] = ()
    image_hash: str | None = None


def find_anomalies(
    current: Statistics,
    schema: schema_pb2.Schema,
    baseline: Statistics | None,
    previous: Statistics | None,
    policy: Policy,
    counts: RunCounts,
    context: Context,
) -> AnomalyReport:
    """Compares a run's statistics with schema, baseline and previous run.

    Args:
        current: of the run, one data set a slice.
        schema: TFDV's.
        baseline: of the training data, for skew; None measures none.
        previous: of the run before, for drift; None measures none.
        policy: thresholds and severities.
        counts: rows of the run.
        context: label, key and used features.
    """
    score = score_feature_name(schema)
    proto, rows = _tfdv(current, schema, baseline, previous, score, policy, counts.is_queue)
    distances: dict[tuple[str, str, Kind], Distance] = {}
    for kind, reference in ((Kind.SKEW, baseline), (Kind.DRIFT, previous)):
        for pair in _pairs(current, reference, context):
            measured = distance(pair.current, pair.reference)
            if measured is not None:
                distances[pair.slice, pair.feature, kind] = measured
                rows = _judge(rows, pair, kind, measured, schema, policy, context, score)
            rows += missing_values(pair, kind, policy)
            if pair.feature == context.image_hash:
                rows += shared_images(pair, kind, policy)
    rows += of_run(counts, policy)
    final = [
        dataclasses.replace(
            row, severity=policy.severity(row.severity, row.kind, row.code, row.feature)
        )
        for row in rows
    ]
    final.sort(key=lambda a: (_SEVERITIES.index(a.severity), a.slice, a.kind.value, a.feature))
    table = feature_statistics(
        current,
        {(s, f): d.value for (s, f, kind), d in distances.items() if kind is Kind.SKEW},
        {(s, f): d.value for (s, f, kind), d in distances.items() if kind is Kind.DRIFT},
    )
    return AnomalyReport(proto, tuple(final), table, _score_figures(current, score))


def _tfdv(
    current: Statistics,
    schema: schema_pb2.Schema,
    baseline: Statistics | None,
    previous: Statistics | None,
    score: str,
    policy: Policy,
    is_queue: bool,
) -> tuple[anomalies_pb2.Anomalies, list[Anomaly]]:
    """TFDV's verdict on the whole data set: its proto, and a line for each of its reasons."""
    hidden = {score} | {f.name for f in schema.feature if not in_environment(schema, f, SERVING)}
    ours = _whole(current, hidden)
    if ours is None or not ours.datasets[0].num_examples:
        return anomalies_pb2.Anomalies(baseline=schema), []
    proto = tfdv.validate_statistics(
        ours,
        _serving_schema(schema),
        environment=SERVING,
        previous_statistics=_whole(previous, hidden),
    )
    rows = [
        _if_quarantined(row, ours, policy, is_queue)
        for row in _lines(proto, Kind.SCHEMA, Kind.DRIFT)
    ]
    theirs = _whole(baseline, hidden)
    if theirs is not None:
        skew = tfdv.validate_statistics(theirs, schema, serving_statistics=ours)
        rows += _lines(skew, None, Kind.SKEW)
        _add_skew(proto, skew)
    return proto, rows


def _serving_schema(schema: schema_pb2.Schema) -> schema_pb2.Schema:
    """The schema with SERVING among its environments: TFDV refuses one that it does not name."""
    if SERVING in schema.default_environment:
        return schema
    named = schema_pb2.Schema()
    named.CopyFrom(schema)
    named.default_environment.append(SERVING)
    for feature in named.feature:
        if not in_environment(schema, feature, SERVING):
            feature.not_in_environment.append(SERVING)
    return named


def _if_quarantined(row: Anomaly, whole: Statistics, policy: Policy, is_queue: bool) -> Anomaly:
    """A few missing values of a required feature are known row by row, in quarantine.

    Few are those that the policy allows, and of a queue's few rows as many as chance could make.
    """
    if row.code not in _MISSING_CODES:
        return row
    (dataset,) = whole.datasets
    limit = policy.thresholds.quarantined_share
    stats = next((f for f in dataset.features if feature_name(f) == row.feature), None)
    few = stats is not None and missing_share(stats) <= limit
    if stats is not None and is_queue:
        missing = common_stats(stats).num_missing
        few |= chance_of(missing, dataset.num_examples, limit) >= UNLIKELY
    return dataclasses.replace(row, severity=Severity.INFO) if few else row


def _whole(statistics: Statistics | None, hidden: Collection[str]) -> Statistics | None:
    """The whole data set alone, without the score and what SERVING does not expect (the label)."""
    dataset = dataset_of(statistics, ALL)
    if dataset is None:
        return None
    whole = statistics_pb2.DatasetFeatureStatisticsList()
    whole.datasets.add().CopyFrom(dataset)
    kept = [f for f in dataset.features if feature_name(f) not in hidden]
    del whole.datasets[0].features[:]
    whole.datasets[0].features.extend(kept)
    whole.datasets[0].name = ""
    return whole


def feature_name(stats: FeatureStats) -> str:
    """Name of a top-level feature, as path or as name."""
    return ".".join(stats.path.step) if stats.path.step else stats.name


def _lines(
    proto: anomalies_pb2.Anomalies, schema_kind: Kind | None, distance_kind: Kind
) -> Iterator[Anomaly]:
    """A line for each reason; reasons of the schema are left out where they have no kind."""
    measured = {
        info.path.step[0]: info.drift_measurements or info.skew_measurements
        for info in proto.drift_skew_info
    }
    for name, info in proto.anomaly_info.items():
        feature = info.path.step[0] if info.path.step else name
        for reason in info.reason:
            code = _Info.Type.Name(reason.type)
            compares = code.startswith("COMPARATOR_")
            kind = distance_kind if compares else schema_kind
            if kind is None:
                continue
            figures = [m for m in measured.get(feature, ()) if _code(m) == code]
            yield Anomaly(
                kind=kind,
                code=code,
                severity=_BUILT_IN.get(code, Severity.WARN),
                short_description=reason.short_description,
                description=reason.description,
                feature=feature,
                measure=_DISTANCE_CODES.get(code, ""),
                value=figures[0].value if figures else None,
                threshold=figures[0].threshold if figures else None,
                reference=reference_of(kind),
            )


def _code(measurement: anomalies_pb2.DriftSkewInfo.Measurement) -> str:
    """The anomaly that TFDV reports where the measurement is above its threshold."""
    return f"COMPARATOR_{type(measurement).Type.Name(measurement.type)}_HIGH"


def _add_skew(proto: anomalies_pb2.Anomalies, skew: anomalies_pb2.Anomalies) -> None:
    """Adds TFDV's skew to its drift and schema anomalies, in TFDV's own message."""
    for name, info in skew.anomaly_info.items():
        reasons = [r for r in info.reason if _Info.Type.Name(r.type).startswith("COMPARATOR_")]
        if not reasons:
            continue
        if name not in proto.anomaly_info:
            proto.anomaly_info[name].CopyFrom(info)
            del proto.anomaly_info[name].reason[:]
        proto.anomaly_info[name].reason.extend(reasons)
    by_path = {tuple(info.path.step): info for info in proto.drift_skew_info}
    for info in skew.drift_skew_info:
        known = by_path.get(tuple(info.path.step))
        if known is None:
            proto.drift_skew_info.add().CopyFrom(info)
        else:
            known.skew_measurements.extend(info.skew_measurements)


def _pairs(current: Statistics, reference: Statistics | None, context: Context) -> Iterator[Pair]:
    for dataset in current.datasets:
        other = dataset_of(reference, dataset.name)
        if other is None:
            continue
        theirs = {feature_name(stats): stats for stats in other.features}
        for stats in dataset.features:
            name = feature_name(stats)
            if name in theirs and name not in (context.label, context.key):
                yield Pair(dataset.name, name, stats, theirs[name])


def _judge(
    rows: list[Anomaly],
    pair: Pair,
    kind: Kind,
    measured: Distance,
    schema: schema_pb2.Schema,
    policy: Policy,
    context: Context,
    score: str,
) -> list[Anomaly]:
    """The lines with our judgement of one distance: TFDV's line is weighed, or ours added."""
    measure = LINF if is_categorical(pair.current) else JENSEN_SHANNON
    is_score = pair.feature == score
    threshold = _threshold(pair.feature, kind, measure, schema, policy, is_score)
    is_high = measured.value > threshold
    severity = _weight(measured, threshold, is_score or pair.feature in context.used, policy)
    if is_score and is_high and severity is not Severity.INFO:
        severity = Severity.HOLD
    mine = [
        row
        for row in rows
        if (row.slice, row.feature, row.kind) == (pair.slice, pair.feature, kind)
        and row.measure == measure
    ]
    if mine:
        weighed = [
            _weighed(row, severity if is_high else Severity.INFO, measured, threshold)
            for row in mine
        ]
        return [row for row in rows if row not in mine] + weighed
    if not is_high:
        return rows
    return [*rows, _ours(pair, kind, measure, measured, threshold, severity, is_score)]


def _weighed(row: Anomaly, severity: Severity, measured: Distance, threshold: float) -> Anomaly:
    note = f" Our {row.measure} is {measured.value:.4g}; chance alone gives {measured.noise:.2g}."
    if measured.value <= threshold:
        note += f" That is not above the threshold {threshold:g}"
        stretched = row.value is not None and row.value > threshold
        note += ": few extreme values stretch TFDV's equal-width bins." if stretched else "."
    return dataclasses.replace(
        row, severity=severity, description=row.description.rstrip(". ") + "." + note
    )


def _weight(measured: Distance, threshold: float, is_used: bool, policy: Policy) -> Severity:
    if measured.value <= measured.noise:
        return Severity.INFO
    far = measured.value > policy.thresholds.hold_factor * threshold
    return Severity.HOLD if far and is_used else Severity.WARN


def _threshold(
    feature: str,
    kind: Kind,
    measure: str,
    schema: schema_pb2.Schema,
    policy: Policy,
    is_score: bool,
) -> float:
    """The policy's for the feature, the schema's comparator, the policy's for all; first wins."""
    if feature in policy.features:
        return policy.features[feature]
    if is_score:
        return policy.thresholds.prediction
    for proto in schema.feature:
        if proto.name == feature:
            comparator = proto.skew_comparator if kind is Kind.SKEW else proto.drift_comparator
            if comparator.HasField(measure):
                return getattr(comparator, measure).threshold
    thresholds = policy.thresholds
    return thresholds.categorical if measure == LINF else thresholds.numeric


def _ours(
    pair: Pair,
    kind: Kind,
    measure: str,
    measured: Distance,
    threshold: float,
    severity: Severity,
    is_score: bool,
) -> Anomaly:
    reference = reference_of(kind)
    where = f", most in value {measured.where!r}" if measured.where else ""
    guard = ""
    if severity is Severity.INFO:
        guard = f"; so few rows that chance alone can make {measured.noise:.2g}"
    name = "SCORE" if is_score else ("L_INFTY" if measure == LINF else "JENSEN_SHANNON")
    return Anomaly(
        kind=Kind.PREDICTION if is_score else kind,
        code=f"{name}_{kind.value}_HIGH",
        severity=severity,
        short_description=f"High {measure.replace('_', ' ')} to {reference}",
        description=f"The {measure.replace('_', ' ')} to the {reference} is {measured.value:.4g},"
        f" above the threshold {threshold:g}{where}{guard}.",
        feature=pair.feature,
        slice=pair.slice,
        measure=measure,
        value=measured.value,
        threshold=threshold,
        reference=reference,
    )


def _score_figures(current: Statistics, score: str) -> dict[str, float] | None:
    dataset = dataset_of(current, ALL)
    for stats in dataset.features if dataset is not None else ():
        if feature_name(stats) == score and common_stats(stats).num_non_missing:
            numbers = stats.num_stats
            return {"mean": numbers.mean, "min": numbers.min, "max": numbers.max}
    return None
