"""What a feature's values are like, beside their distribution: missing, or one image everywhere."""

import math
from dataclasses import dataclass
from statistics import NormalDist

from beam_jobs.monitoring.anomaly import Anomaly
from beam_jobs.monitoring.policy import Kind, Policy, Severity
from beam_jobs.monitoring.volume import PREVIOUS
from beam_jobs.statistics.distances import CONFIDENCE
from beam_jobs.statistics.files import FeatureStats
from beam_jobs.statistics.histograms import common_stats, missing_share, value_counts

BASELINE, SCHEMA = "baseline", "schema"
_SHOWN = 3


@dataclass(frozen=True, eq=False)
class Pair:
    """A feature in a slice, now and in a reference."""

    slice: str
    feature: str
    current: FeatureStats
    reference: FeatureStats


def reference_of(kind: Kind) -> str:
    """What an anomaly of that kind was compared with."""
    return {Kind.SKEW: BASELINE, Kind.DRIFT: PREVIOUS}.get(kind, SCHEMA)


def missing_values(pair: Pair, kind: Kind, policy: Policy, is_used: bool) -> list[Anomaly]:
    """At most one anomaly: the share of missing values changed by more than the threshold.

    A feature that the model uses and that most rows have lost holds the run.
    """
    now, before = missing_share(pair.current), missing_share(pair.reference)
    gap = abs(now - before)
    rows = [common_stats(s) for s in (pair.current, pair.reference)]
    sizes = [max(c.num_missing + c.num_non_missing, 1) for c in rows]
    # Three standard deviations of a share of a half: what chance alone could make.
    noise = 3 * 0.5 * (1 / sizes[0] + 1 / sizes[1]) ** 0.5
    if gap <= policy.thresholds.missing_share:
        return []
    is_lost = is_used and now - before > policy.thresholds.missing_share_hold
    loud = Severity.HOLD if is_lost else Severity.WARN
    reference = reference_of(kind)
    return [
        Anomaly(
            kind=Kind.QUALITY,
            code=f"MISSING_SHARE_{kind.value}",
            severity=loud if gap > noise else Severity.INFO,
            short_description=f"Share of missing values differs from {reference}",
            description=f"{now:.1%} of the rows have no value, in the {reference} {before:.1%}.",
            feature=pair.feature,
            slice=pair.slice,
            measure="missing_share",
            value=gap,
            threshold=policy.thresholds.missing_share_hold
            if is_lost
            else policy.thresholds.missing_share,
            reference=reference,
            only_info=f"chance alone gives {noise:.2g}",
        )
    ]


def shared_images(pair: Pair, kind: Kind, policy: Policy) -> list[Anomaly]:
    """At most one anomaly: images whose share of the rows with an image rose above the threshold.

    TFDV counts the values of the hash (the thousand most frequent), so images count as one where
    they look alike, whatever their names: a placeholder, a blank banner, one under many keys. The
    noise of a share p is normal with variance p (1 - p) (1/n + 1/m), p the pooled share;
    Bonferroni's bound holds for all hashes together.
    """
    ours, theirs = value_counts(pair.current), value_counts(pair.reference)
    n, m = (common_stats(s).num_non_missing for s in (pair.current, pair.reference))
    if not n or not m:
        return []
    reference = reference_of(kind)
    z = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * len(ours)))
    threshold = policy.thresholds.shared_image
    risen: list[tuple[float, bool, str]] = []
    for value, count in ours.items():
        before = theirs.get(value, 0)
        rise = count / n - before / m
        if rise > threshold:
            pooled = (count + before) / (n + m)
            noise = z * math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
            risen.append((rise, rise > noise, value))
    if not risen:
        return []
    risen.sort(reverse=True)
    texts = [
        f"{value} in {ours[value]:,.0f} rows ({ours[value] / n:.1%}; in the {reference}"
        f" {theirs.get(value, 0) / m:.1%})"
        for _, _, value in risen[:_SHOWN]
    ]
    more = f", and {len(risen) - _SHOWN} more" if len(risen) > _SHOWN else ""
    return [
        Anomaly(
            kind=Kind.QUALITY,
            code="SHARED_IMAGE",
            severity=Severity.WARN if any(sure for _, sure, _ in risen) else Severity.INFO,
            short_description="One image in many rows",
            description=f"Images that look alike are in far more rows than in the"
            f" {reference}: {', '.join(texts)}{more}.",
            feature=pair.feature,
            slice=pair.slice,
            measure="share_rise",
            value=risen[0][0],
            threshold=threshold,
            reference=reference,
            only_info="so few rows may show it by chance",
        )
    ]
