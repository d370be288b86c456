"""One feature, now and in a reference: which distances are asked for, and what they weigh."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from beam_jobs.monitoring.anomaly import Anomaly
from beam_jobs.monitoring.policy import Kind, Policy, Severity
from beam_jobs.monitoring.quality import Pair, reference_of
from beam_jobs.statistics.distances import (
    Measure,
    Measured,
    has_distances,
    measure,
    why_not_comparable,
)
from beam_jobs.statistics.files import Statistics, dataset_of, feature_name
from beam_jobs.statistics.histograms import common_stats, is_categorical, type_name
from beam_jobs.statistics.slices import ALL

_OF_CATEGORIES = {
    "infinity_norm": Measure.INFINITY_NORM,
    "jensen_shannon_divergence": Measure.JENSEN_SHANNON,
    "normalized_abs_difference": Measure.ABS_DIFFERENCE,
}
_OF_NUMBERS = {"jensen_shannon_divergence": Measure.QUANTILE_JENSEN_SHANNON}
_CODES = {
    Measure.INFINITY_NORM: "L_INFTY",
    Measure.JENSEN_SHANNON: "JENSEN_SHANNON",
    Measure.QUANTILE_JENSEN_SHANNON: "JENSEN_SHANNON",
    Measure.ABS_DIFFERENCE: "ABS_DIFFERENCE",
}
NOT_COMPARED = "NOT_COMPARED"


@dataclass(frozen=True)
class FeatureRoles:
    """What features are to the run: label, key, inputs of the model.

    Attributes:
        label, key: not compared.
        used: the model's features; their distances may hold a run.
        image_hash: the one that is equal where images look alike.
    """

    label: str | None = None
    key: str | None = None
    used: tuple[str, ...] = ()
    image_hash: str | None = None


@dataclass(frozen=True)
class Rules:
    """What decides every comparison of a run: schema, policy, and what features are to it.

    Attributes:
        schema: TFDV's; its comparators name measures and thresholds.
        policy: thresholds and severities.
        roles: label, key and used features.
        score: the score's name among the features.
    """

    schema: schema_pb2.Schema
    policy: Policy
    roles: FeatureRoles
    score: str

    def is_used(self, feature: str) -> bool:
        """Whether a distance of the feature may hold a run."""
        return feature == self.score or feature in self.roles.used

    def comparator(self, feature: str, kind: Kind) -> schema_pb2.FeatureComparator:
        """The schema's; an empty one where it has none."""
        for proto in self.schema.feature:
            if proto.name == feature:
                return proto.skew_comparator if kind is Kind.SKEW else proto.drift_comparator
        return schema_pb2.FeatureComparator()


def pairs(current: Statistics, reference: Statistics | None, rules: Rules) -> Iterator[Pair]:
    """Features that both have, in slices that both have; and those that the current run lost.

    A feature of the schema that only the reference has is, now, missing in every row.
    """
    skipped = (rules.roles.label, rules.roles.key)
    known = {feature.name for feature in rules.schema.feature}
    for dataset in current.datasets:
        other = dataset_of(reference, dataset.name)
        if other is None:
            continue
        ours = {feature_name(stats): stats for stats in dataset.features}
        for theirs in other.features:
            name = feature_name(theirs)
            if name in skipped or not (name in ours or (name in known and dataset.num_examples)):
                continue
            stats = ours.get(name)
            if stats is None:
                stats = statistics_pb2.FeatureNameStatistics(type=theirs.type)
                getattr(stats, theirs.WhichOneof("stats") or "num_stats").SetInParent()
                common_stats(stats).num_missing = dataset.num_examples
            yield Pair(dataset.name, name, stats, theirs)


def absent_from_reference(
    current: Statistics, reference: Statistics | None, kind: Kind, rules: Rules
) -> list[Anomaly]:
    """What cannot be compared because the reference lacks it: features, the score, slices."""
    whole, other = dataset_of(current, ALL), dataset_of(reference, ALL)
    if whole is None or reference is None:
        return []
    theirs = {feature_name(stats) for stats in other.features} if other is not None else set()
    known = {feature.name for feature in rules.schema.feature} | {rules.score}
    known -= {rules.roles.label or "", rules.roles.key or ""}
    has_comparator = [
        feature.name
        for feature in rules.schema.feature
        if rules.comparator(feature.name, kind).ByteSize()
    ]
    lost = [
        name
        for name in map(feature_name, whole.features)
        # Of features with a comparator TFDV says so itself.
        if name in known and name not in theirs and name not in has_comparator
    ]
    where = reference_of(kind)
    features = [
        _not_compared(kind, name, ALL, f"the {where} has no statistics of it", Severity.INFO)
        for name in lost
    ]
    slices = [
        _not_compared(kind, "", dataset.name, f"the {where} has no such slice", Severity.INFO)
        for dataset in current.datasets
        if dataset_of(reference, dataset.name) is None
    ]
    return features + slices


def incomparable(pair: Pair) -> str | None:
    """Why no distance of the pair can be right; None where one can, or a side has no values."""
    sides = (pair.current, pair.reference)
    if any(common_stats(stats).num_non_missing == 0 for stats in sides):
        return None
    return why_not_comparable(*sides)


def not_compared(pair: Pair, kind: Kind, why: str, rules: Rules) -> Anomaly:
    """The one line of a pair whose distance would mean nothing."""
    # That images have no distances is so in every run, and no news of this one.
    is_news = has_distances(pair.current) or has_distances(pair.reference)
    severity = Severity.WARN if is_news and rules.is_used(pair.feature) else Severity.INFO
    return _not_compared(kind, pair.feature, pair.slice, why, severity)


def _not_compared(kind: Kind, feature: str, slice_: str, why: str, severity: Severity) -> Anomaly:
    reference = reference_of(kind)
    return Anomaly(
        kind=kind,
        code=NOT_COMPARED,
        severity=severity,
        short_description=f"Cannot be compared with {reference}",
        description=f"It cannot be compared with the {reference}: {why}.",
        feature=feature,
        slice=slice_,
        reference=reference,
        only_info="nothing was measured",
    )


def measured_distances(
    pair: Pair, kind: Kind, rules: Rules
) -> tuple[list[Measured], list[Anomaly]]:
    """(the distances that the schema asks for, what it asks for that does not exist).

    Without a comparator it is the infinity norm of a category, and the divergence of numbers. The
    first is the one that `feature_statistics` keeps.
    """
    comparator = rules.comparator(pair.feature, kind)
    known = _OF_CATEGORIES if is_categorical(pair.current) else _OF_NUMBERS
    asked = [name for name in _OF_CATEGORIES if getattr(comparator, name).HasField("threshold")]
    limits = rules.policy.thresholds
    default = limits.categorical if is_categorical(pair.current) else limits.numeric
    thresholds = {
        known[name]: getattr(comparator, name).threshold for name in asked if name in known
    } or {next(iter(known.values())): default}
    found = []
    for which, threshold in thresholds.items():
        distance = measure(which, pair.current, pair.reference)
        if distance is not None:
            found.append(Measured(which, distance, _threshold(pair.feature, threshold, rules)))
    unmeasured = [
        _not_compared(
            kind,
            pair.feature,
            pair.slice,
            f"{name} counts values, and these are numbers ({type_name(pair.current)}); make it a"
            " category (is_categorical), or ask for jensen_shannon_divergence",
            Severity.INFO,
        )
        for name in asked
        if name not in known and pair.slice == ALL
    ]
    return found, unmeasured


def _threshold(feature: str, of_schema: float, rules: Rules) -> float:
    """The policy's for the feature, the score's, the schema's comparator; first wins."""
    if feature in rules.policy.features:
        return rules.policy.features[feature]
    return rules.policy.thresholds.prediction if feature == rules.score else of_schema


def with_distance(
    rows: Sequence[Anomaly], pair: Pair, kind: Kind, measured: Measured, rules: Rules
) -> list[Anomaly]:
    """The anomalies with one distance: TFDV's gets the distance's severity, or ours is added."""
    severity, why = _severity_of(measured, pair.feature, rules)
    name = measured.measure
    by_tfdv = Measure.JENSEN_SHANNON if name is Measure.QUANTILE_JENSEN_SHANNON else name
    mine = [
        row
        for row in rows
        if (row.slice, row.feature, row.kind) == (pair.slice, pair.feature, kind)
        and row.measure == by_tfdv.value
    ]
    if mine:
        weighed = [_with_severity(row, severity, why, measured) for row in mine]
        return [row for row in rows if row not in mine] + weighed
    if not measured.is_high:
        return list(rows)
    return [*rows, _own_anomaly(pair, kind, measured, severity, why, rules)]


def _severity_of(measured: Measured, feature: str, rules: Rules) -> tuple[Severity, str]:
    """(severity, why it is only INFO)."""
    found, threshold = measured.distance, measured.threshold
    if not measured.is_high:
        return Severity.INFO, f"not above the threshold {threshold:g}"
    if found.value <= found.noise:
        return Severity.INFO, f"chance alone gives {found.noise:.2g}"
    far = found.value > rules.policy.thresholds.hold_factor * threshold
    if feature == rules.score or (far and rules.is_used(feature)):
        return Severity.HOLD, ""
    return Severity.WARN, ""


def _with_severity(row: Anomaly, severity: Severity, why: str, measured: Measured) -> Anomaly:
    found, threshold = measured.distance, measured.threshold
    note = f" Our {measured.measure.value} is {found.value:.4g}; chance alone gives"
    note += f" {found.noise:.2g}."
    if not measured.is_high:
        note += f" That is not above the threshold {threshold:g}"
        stretched = row.value is not None and row.value > threshold
        is_binned = measured.measure is Measure.QUANTILE_JENSEN_SHANNON
        note += ": few extreme values stretch TFDV's equal-width bins." * (stretched and is_binned)
        note = note.rstrip(".") + "."
    return dataclasses.replace(
        row,
        severity=severity,
        description=row.description.rstrip(". ") + "." + note,
        only_info=f"our {measured.measure.value} is {found.value:.2g}, {why}",
        told="not above" in note or "chance alone" in why,
    )


def _own_anomaly(
    pair: Pair, kind: Kind, measured: Measured, severity: Severity, why: str, rules: Rules
) -> Anomaly:
    reference, found = reference_of(kind), measured.distance
    words = measured.measure.value.replace("_", " ")
    where = f", most in value {found.where!r}" if found.where else ""
    guard = f"; so few rows that {why}" if severity is Severity.INFO else ""
    is_score = pair.feature == rules.score
    name = "SCORE" if is_score else _CODES[measured.measure]
    return Anomaly(
        kind=Kind.PREDICTION if is_score else kind,
        code=f"{name}_{kind.value}_HIGH",
        severity=severity,
        short_description=f"High {words} to {reference}",
        description=f"The {words} to the {reference} is {found.value:.4g},"
        f" above the threshold {measured.threshold:g}{where}{guard}.",
        feature=pair.feature,
        slice=pair.slice,
        measure=measured.measure.value,
        value=found.value,
        threshold=measured.threshold,
        reference=reference,
        only_info=why,
        told=True,
    )
