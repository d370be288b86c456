"""The gate: may this run be published without anybody looking at it?"""

from collections.abc import Sequence
from dataclasses import dataclass

from beam_jobs.check.policy import Severity
from beam_jobs.check.report import Anomaly


@dataclass(frozen=True)
class Decision:
    """What the gate decided.

    Attributes:
        hold_reasons: one readable line each, with figures; none lets the run pass.
    """

    hold_reasons: tuple[str, ...]

    @property
    def held(self) -> bool:
        return bool(self.hold_reasons)


def decide(anomalies: Sequence[Anomaly]) -> Decision:
    """Holds a run that has an anomaly of severity HOLD."""
    return Decision(tuple(_line(a) for a in anomalies if a.severity is Severity.HOLD))


def _line(anomaly: Anomaly) -> str:
    what = anomaly.feature or "the run"
    where = "" if anomaly.slice == "all" else f" ({anomaly.slice})"
    return f"{anomaly.kind.value} {what}{where}: {anomaly.description}"
