"""An anomaly, and all that a run found."""

import dataclasses
from dataclasses import dataclass

import pyarrow as pa
from tensorflow_metadata.proto.v0 import anomalies_pb2

from beam_jobs.monitoring.policy import Kind, Severity
from beam_jobs.statistics.slices import ALL


@dataclass(frozen=True)
class Anomaly:
    """A line of the table `anomalies`; the fields up to `reference` are its columns.

    Attributes:
        code: TFDV's anomaly type where TFDV found it.
        value, threshold: None where nothing was measured.
        reference: what it was compared with: schema, baseline, previous or replaced.
        only_info: why its severity is INFO, where it is.
        told: whether the description says why already.
    """

    kind: Kind
    code: str
    severity: Severity
    short_description: str
    description: str
    feature: str = ""
    slice: str = ALL
    measure: str = ""
    value: float | None = None
    threshold: float | None = None
    reference: str = ""
    only_info: str = ""
    told: bool = False

    def informing(self, why: str) -> "Anomaly":
        """The line as INFO, for that reason."""
        return dataclasses.replace(self, severity=Severity.INFO, only_info=why, told=False)

    def explained(self) -> "Anomaly":
        """A line of severity INFO with the reason in its texts; any other as it is."""
        if self.severity is not Severity.INFO:
            return self
        told = "" if self.told else f" Only INFO: {self.only_info}."
        return dataclasses.replace(
            self,
            short_description=f"{self.short_description}; only INFO: {self.only_info}",
            description=self.description + told,
        )


@dataclass(frozen=True)
class AnomalyReport:
    """What `find_anomalies` found.

    Attributes:
        proto: TFDV's own, drift and skew included.
        anomalies: the worst first.
        feature_statistics: rows of that table.
        score: mean, min and max of the score; None where no row was scored.
    """

    proto: anomalies_pb2.Anomalies
    anomalies: tuple[Anomaly, ...]
    feature_statistics: pa.Table
    score: dict[str, float] | None
