"""The policy: which findings quarantine, what is an anomaly, and what holds a run."""

import dataclasses
import enum
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2

from beam_jobs.batch import ALWAYS_QUARANTINED, DEFAULT_ACTIONS, Action, Actions, Reason
from beam_jobs.config.flags import nearest
from beam_jobs.errors import UsageError


class Kind(str, enum.Enum):
    """What an anomaly is about; the column `kind`."""

    SCHEMA = "SCHEMA"
    SKEW = "SKEW"
    DRIFT = "DRIFT"
    PREDICTION = "PREDICTION"
    VOLUME = "VOLUME"
    QUALITY = "QUALITY"
    DECAY = "DECAY"


class Severity(str, enum.Enum):
    """How much an anomaly matters; HOLD keeps a run from being published until it is approved."""

    INFO = "INFO"
    WARN = "WARN"
    HOLD = "HOLD"


@dataclass(frozen=True)
class Thresholds:
    """Where a figure becomes an anomaly; shares and distances are between 0 and 1.

    Attributes:
        categorical: L-infinity distance of a category, where the schema has no comparator.
        numeric: Jensen-Shannon divergence of a number, where the schema has no comparator.
        prediction: Jensen-Shannon divergence of the score.
        missing_share: change of the share of rows without a value.
        missing_share_hold: rise of that share, of a feature that the model uses, that holds the
            run; also how much of what the schema requires of such a feature may be missing.
        shared_image: rise of the share of rows whose images look alike.
        hold_factor: a distance of this many times its threshold, of a feature that the model uses,
            holds the run.
        quarantined_share: share of rows in quarantine.
        quarantined_share_hold: the same, holds the run.
        rows_low, rows_high: rows as a multiple of the previous run's.
        rows_low_replaced: rows as a multiple of those of the published run that this one would
            replace; fewer hold the run. More than half, because half a file has about half the
            rows.
    """

    categorical: float = 0.1
    numeric: float = 0.03
    prediction: float = 0.05
    missing_share: float = 0.1
    missing_share_hold: float = 0.5
    shared_image: float = 0.01
    hold_factor: float = 2.0
    quarantined_share: float = 0.01
    quarantined_share_hold: float = 0.05
    rows_low: float = 0.5
    rows_high: float = 2.0
    rows_low_replaced: float = 0.6


@dataclass(frozen=True)
class Policy:
    """What a run does with what it finds.

    Attributes:
        actions: what a finding does to its row.
        thresholds: for every feature.
        features: {feature: threshold of its distances}, above the schema's and the general one.
        severities: {anomaly kind, code or `feature:NAME`: severity}, instead of the built-in one.
    """

    actions: Actions = field(default_factory=lambda: dict(DEFAULT_ACTIONS))
    thresholds: Thresholds = field(default_factory=Thresholds)
    features: Mapping[str, float] = field(default_factory=dict)
    severities: Mapping[str, Severity] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits; equal for policies that decide alike."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def severity(self, built_in: Severity, kind: Kind, code: str, feature: str) -> Severity:
        """The most particular severity that the policy gives: feature, code, kind, built-in."""
        for name in (f"{_FEATURE}{feature}", code, kind.value):
            if name in self.severities:
                return self.severities[name]
        return built_in


OWN_CODES: Mapping[Kind, tuple[str, ...]] = {
    Kind.SKEW: (
        "L_INFTY_SKEW_HIGH",
        "JENSEN_SHANNON_SKEW_HIGH",
        "ABS_DIFFERENCE_SKEW_HIGH",
        "NOT_COMPARED",
    ),
    Kind.DRIFT: (
        "L_INFTY_DRIFT_HIGH",
        "JENSEN_SHANNON_DRIFT_HIGH",
        "ABS_DIFFERENCE_DRIFT_HIGH",
        "NOT_COMPARED",
    ),
    Kind.PREDICTION: ("SCORE_SKEW_HIGH", "SCORE_DRIFT_HIGH"),
    Kind.VOLUME: ("NO_ROWS", "ROWS_LOW", "ROWS_HIGH", "ROWS_LOW_REPLACED", "FILE_EMPTY"),
    Kind.QUALITY: (
        "QUARANTINED_SHARE_HIGH",
        "MISSING_SHARE_SKEW",
        "MISSING_SHARE_DRIFT",
        "SHARED_IMAGE",
        "KEY_NOT_UNIQUE",
        "UNREADABLE_FILES",
        "FILE_FOREIGN",
        "FILE_WITHOUT_COLUMNS",
        "FILE_CUT",
        "FILE_WITHOUT_LAST_NEWLINE",
    ),
}
"""Codes of anomalies that TFDV does not have."""

_FEATURE = "feature:"
_TABLES = ("actions", "thresholds", "features", "severities")


def parse_policy(text: bytes, where: str) -> Policy:
    """A policy from TOML (docs/policy.md).

    Args:
        text: the file's content.
        where: flag and file, for messages.

    Raises:
        UsageError: it is no TOML, or has an unknown key or a wrong value; with the nearest known
            name.
    """
    try:
        tables = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{where}: is not TOML: {error}") from error
    for name, table in tables.items():
        if name not in _TABLES:
            raise UsageError(f"{where}: unknown key {name!r}{nearest(name, _TABLES)}")
        if not isinstance(table, dict):
            raise UsageError(f"{where}: [{name}] must be a table")
    return Policy(
        actions=_actions(tables.get("actions", {}), where),
        thresholds=_thresholds(tables.get("thresholds", {}), where),
        features={
            name: _number(value, 0, f"{where}: [features] {name}")
            for name, value in tables.get("features", {}).items()
        },
        severities=_severities(tables.get("severities", {}), where),
    )


def _actions(table: Mapping[str, Any], where: str) -> Actions:
    actions = dict(DEFAULT_ACTIONS)
    for name, value in table.items():
        reasons = [reason.value for reason in Reason]
        if name not in reasons:
            raise UsageError(f"{where}: [actions] unknown reason {name!r}{nearest(name, reasons)}")
        action = _member(Action, value, f"{where}: [actions] {name}")
        if Reason(name) in ALWAYS_QUARANTINED and action is not Action.QUARANTINE:
            raise UsageError(f"{where}: [actions] {name}: has no score, so it must be QUARANTINE")
        actions[Reason(name)] = action
    return actions


def _thresholds(table: Mapping[str, Any], where: str) -> Thresholds:
    known = [f.name for f in dataclasses.fields(Thresholds)]
    for name in table:
        if name not in known:
            raise UsageError(f"{where}: [thresholds] unknown key {name!r}{nearest(name, known)}")
    return Thresholds(
        **{
            name: _number(value, 0, f"{where}: [thresholds] {name}")
            for name, value in table.items()
        }
    )


def _severities(table: Mapping[str, Any], where: str) -> dict[str, Severity]:
    known = [kind.value for kind in Kind]
    known += [code for codes in OWN_CODES.values() for code in codes]
    known += anomalies_pb2.AnomalyInfo.Type.keys()
    for name in table:
        if name not in known and not name.startswith(_FEATURE):
            raise UsageError(f"{where}: [severities] unknown key {name!r}{nearest(name, known)}")
    return {
        name: _member(Severity, value, f"{where}: [severities] {name}")
        for name, value in table.items()
    }


def _member(kind: type[enum.Enum], value: Any, where: str) -> Any:
    names = [member.value for member in kind]
    if value not in names:
        raise UsageError(f"{where}: {value!r} is none of {', '.join(names)}")
    return kind(value)


def _number(value: Any, lowest: float, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= lowest:
        raise UsageError(f"{where}: {value!r} is not a number of at least {lowest}")
    return float(value)
