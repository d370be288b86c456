"""The gate: may this run be published without anybody looking at it?"""

from collections.abc import Sequence
from dataclasses import dataclass

from beam_jobs.config.verbs import Gate
from beam_jobs.monitoring.anomaly import Anomaly
from beam_jobs.monitoring.policy import Severity

ALWAYS = "GATE the run: every run waits for approval (--gate HOLD_ALWAYS)"


@dataclass(frozen=True)
class Decision:
    """What the gate decided.

    Attributes:
        held: whether the run waits for approval.
        hold_reasons: one readable line each, with figures; also those of a run that is published
            in spite of them.
    """

    held: bool
    hold_reasons: tuple[str, ...]


def decide(anomalies: Sequence[Anomaly], gate: Gate = Gate.HOLD) -> Decision:
    """Holds a run that has an anomaly of severity HOLD, unless the gate says otherwise."""
    reasons = tuple(_line(a) for a in anomalies if a.severity is Severity.HOLD)
    if gate is Gate.HOLD_ALWAYS:
        reasons = reasons or (ALWAYS,)
    return Decision(bool(reasons) and gate is not Gate.PUBLISH, reasons)


def _line(anomaly: Anomaly) -> str:
    what = anomaly.feature or "the run"
    where = "" if anomaly.slice == "all" else f" ({anomaly.slice})"
    return f"{anomaly.kind.value} {what}{where}: {anomaly.description}"
