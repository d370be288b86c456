"""TFDV's verdict on a run's statistics: its own message, and a line for each of its reasons."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from beam_jobs.monitoring.anomaly import Anomaly
from beam_jobs.monitoring.drift import Rules
from beam_jobs.monitoring.policy import Kind, Severity
from beam_jobs.monitoring.quality import reference_of
from beam_jobs.monitoring.tfdv_codes import Subject, built_in, subject_of
from beam_jobs.monitoring.volume import UNLIKELY, chance_of
from beam_jobs.schema import SERVING, in_environment
from beam_jobs.statistics.distances import Measure
from beam_jobs.statistics.files import FeatureStats, Statistics, dataset_of, feature_name
from beam_jobs.statistics.histograms import common_stats, missing_share
from beam_jobs.statistics.slices import ALL
from beam_jobs.statistics.tfdv import tfdv

_Info = anomalies_pb2.AnomalyInfo
_MEASURES = {
    "COMPARATOR_L_INFTY_HIGH": Measure.INFINITY_NORM,
    "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH": Measure.JENSEN_SHANNON,
    "COMPARATOR_NORMALIZED_ABSOLUTE_DIFFERENCE_HIGH": Measure.ABS_DIFFERENCE,
}
_QUARANTINED = ("FEATURE_TYPE_LOW_FRACTION_PRESENT", "INVALID_FEATURE_SHAPE")
_VOLUMES = (Subject.VOLUME_LOW, Subject.VOLUME_HIGH)
_ONLY_INFO = {
    Subject.NEW: "neither the schema nor the model knows the column",
    Subject.REFERENCE: "there is nothing to compare with",
}

Incomparable = Mapping[Kind, Collection[str]]
"""{SKEW or DRIFT: features whose statistics mean different things on the two sides}."""


@dataclass(frozen=True)
class References:
    """What a run is compared with; None measures nothing."""

    baseline: Statistics | None
    previous: Statistics | None

    def items(self) -> list[tuple[Kind, Statistics | None]]:
        """(kind of anomaly, the statistics that it is measured against; None measures none)."""
        return [(Kind.SKEW, self.baseline), (Kind.DRIFT, self.previous)]


def tfdv_anomalies(
    current: Statistics,
    references: References,
    incomparable: Incomparable,
    rules: Rules,
    is_queue: bool,
) -> tuple[anomalies_pb2.Anomalies, list[Anomaly]]:
    """TFDV's verdict on the whole data set: its message, and a line for each of its reasons.

    TFDV would compare whatever it is given, so the comparators of features that cannot be compared
    are taken out of its schema.
    """
    schema = rules.schema
    hidden = {rules.score}
    hidden |= {f.name for f in schema.feature if not in_environment(schema, f, SERVING)}
    ours = _whole(current, hidden)
    if ours is None or not ours.datasets[0].num_examples:
        return anomalies_pb2.Anomalies(baseline=schema), []
    proto = tfdv.validate_statistics(
        ours,
        _comparing(_serving_schema(schema), incomparable),
        environment=SERVING,
        previous_statistics=_whole(references.previous, hidden),
    )
    rows = list(_lines(proto, Kind.SCHEMA, Kind.DRIFT, rules))
    theirs = _whole(references.baseline, hidden)
    if theirs is not None:
        skew = tfdv.validate_statistics(
            theirs, _comparing(schema, incomparable), serving_statistics=ours
        )
        rows += _lines(skew, None, Kind.SKEW, rules)
        _add_skew(proto, skew)
    return proto, [_with_severity(row, ours, rules, is_queue) for row in rows]


def _comparing(schema: schema_pb2.Schema, incomparable: Incomparable) -> schema_pb2.Schema:
    copied = schema_pb2.Schema()
    copied.CopyFrom(schema)
    for feature in copied.feature:
        if feature.name in incomparable[Kind.SKEW]:
            feature.ClearField("skew_comparator")
        if feature.name in incomparable[Kind.DRIFT]:
            feature.ClearField("drift_comparator")
    return copied


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


def _with_severity(row: Anomaly, whole: Statistics, rules: Rules, is_queue: bool) -> Anomaly:
    """The line with the severity that its figures give it."""
    subject = subject_of(row.code)
    if subject in _VOLUMES and is_queue:
        return row.informing("a queue's runs are as small as they come")
    if subject is not Subject.PRESENCE:
        return row
    (dataset,) = whole.datasets
    stats = next((f for f in dataset.features if feature_name(f) == row.feature), None)
    if stats is None:
        return row
    if row.code in _QUARANTINED and _is_known_row_by_row(stats, dataset, rules, is_queue):
        return row.informing("the few rows without a value are in quarantine")
    if rules.is_used(row.feature) and _is_nearly_absent(stats, row.feature, rules):
        return dataclasses.replace(row, severity=Severity.HOLD)
    return row


def _is_known_row_by_row(
    stats: FeatureStats,
    dataset: statistics_pb2.DatasetFeatureStatistics,
    rules: Rules,
    is_queue: bool,
) -> bool:
    """A few missing values of a required feature are known row by row, in quarantine.

    Few are those that the policy allows, and of a queue's few rows as many as chance could make.
    """
    limit = rules.policy.thresholds.quarantined_share
    if missing_share(stats) <= limit:
        return True
    missing = common_stats(stats).num_missing
    return is_queue and chance_of(missing, dataset.num_examples, limit) >= UNLIKELY


def _is_nearly_absent(stats: FeatureStats, feature: str, rules: Rules) -> bool:
    """Whether so much of what the schema requires is missing that it holds the run."""
    of_schema = [f.presence.min_fraction for f in rules.schema.feature if f.name == feature]
    required = max(of_schema, default=0.0) or 1.0
    share = (1 - missing_share(stats)) / required
    return 1 - share > rules.policy.thresholds.missing_share_hold


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


def _lines(
    proto: anomalies_pb2.Anomalies, schema_kind: Kind | None, distance_kind: Kind, rules: Rules
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
            kind = distance_kind if code.startswith("COMPARATOR_") else schema_kind
            if kind is not None:
                figures = [m for m in measured.get(feature, ()) if _code(m) == code]
                yield _line(reason, kind, feature, rules, figures[0] if figures else None)
    for reason in proto.dataset_anomaly_info.reason if schema_kind is not None else ():
        yield _line(reason, Kind.VOLUME, "", rules, None)


def _line(
    reason: anomalies_pb2.AnomalyInfo.Reason,
    kind: Kind,
    feature: str,
    rules: Rules,
    figure: anomalies_pb2.DriftSkewInfo.Measurement | None,
) -> Anomaly:
    code = _Info.Type.Name(reason.type)
    compares = code.startswith("COMPARATOR_")
    return Anomaly(
        kind=kind,
        code=code,
        severity=built_in(code, rules.is_used(feature)),
        short_description=reason.short_description,
        description=reason.description,
        feature=feature,
        measure=_MEASURES[code].value if code in _MEASURES else "",
        value=figure.value if figure is not None else None,
        threshold=figure.threshold if figure is not None else None,
        reference=reference_of(Kind.DRIFT if kind is Kind.VOLUME and compares else kind),
        only_info=_ONLY_INFO.get(subject_of(code), ""),
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
