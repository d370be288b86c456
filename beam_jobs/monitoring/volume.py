"""Anomalies of a run as a whole: how many rows it read, and how many it could not score."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from beam_jobs.batch import Reason
from beam_jobs.monitoring.anomaly import Anomaly
from beam_jobs.monitoring.files import FileRead
from beam_jobs.monitoring.policy import Kind, Policy, Severity

PREVIOUS = "previous"
REPLACED = "replaced"

MOSTLY = 0.5
"""Of the rows: where more repeat a key, it is none."""

_FILES_NAMED = 3

UNLIKELY = 0.001
"""What happens by chance less often than this is no chance."""


@dataclass(frozen=True)
class RunCounts:
    """Rows of a run.

    Attributes:
        read, scored, quarantined: rows.
        reasons: quarantined rows a reason.
        previous_read: rows that the previous run read, None where they are not to be compared.
        replaced_read: rows that the period's published run read, which this run would replace;
            None where there is none.
        replaced_run: the id of that run.
        is_queue: whether runs of few rows, or of none, are nothing odd.
        key: the column that identifies a row, None where there is none.
        flagged: scored rows a reason that the policy only flags.
        unreadable: a sentence for each request file that was set aside.
        files: what was read of each input, where one that is odd is an anomaly.
    """

    read: int
    scored: int
    quarantined: int
    reasons: Mapping[Reason, int]
    previous_read: int | None = None
    replaced_read: int | None = None
    replaced_run: str = ""
    is_queue: bool = False
    key: str | None = None
    flagged: Mapping[Reason, int] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    files: tuple[FileRead, ...] = ()


def volume(counts: RunCounts, policy: Policy) -> list[Anomaly]:
    """No rows at all, or far fewer or more than the previous run's or the replaced run's."""
    if not counts.read:
        text = "The inputs hold no rows."
        severity = Severity.INFO if counts.is_queue else Severity.HOLD
        return [Anomaly(Kind.VOLUME, "NO_ROWS", severity, "No rows", text, measure="rows",
                        value=0.0, only_info="an empty queue is no fault")]  # fmt: skip
    return [*_against_previous(counts, policy), *_against_replaced(counts, policy)]


def _against_replaced(counts: RunCounts, policy: Policy) -> list[Anomaly]:
    """A month that would be replaced by a far smaller one: half a file has about half the rows."""
    if not counts.replaced_read:
        return []
    ratio = counts.read / counts.replaced_read
    limit = policy.thresholds.rows_low_replaced
    if ratio >= limit:
        return []
    return [
        Anomaly(
            kind=Kind.VOLUME,
            code="ROWS_LOW_REPLACED",
            severity=Severity.HOLD,
            short_description="Far fewer rows than the run that is published",
            description=f"{counts.read:,} rows, {ratio:.2g} times the {counts.replaced_read:,} of"
            f" run {counts.replaced_run}, which is published and would be replaced.",
            measure="rows_ratio",
            value=ratio,
            threshold=limit,
            reference=REPLACED,
        )
    ]


def _against_previous(counts: RunCounts, policy: Policy) -> list[Anomaly]:
    if not counts.previous_read:
        return []
    ratio = counts.read / counts.previous_read
    limits = policy.thresholds
    if limits.rows_low <= ratio <= limits.rows_high:
        return []
    low = ratio < limits.rows_low
    return [
        Anomaly(
            kind=Kind.VOLUME,
            code="ROWS_LOW" if low else "ROWS_HIGH",
            severity=Severity.WARN,
            short_description="Far fewer rows" if low else "Far more rows",
            description=f"{counts.read:,} rows, {ratio:.2g} times the {counts.previous_read:,} of"
            " the previous run.",
            measure="rows_ratio",
            value=ratio,
            threshold=limits.rows_low if low else limits.rows_high,
            reference=PREVIOUS,
        )
    ]


def key(counts: RunCounts) -> list[Anomaly]:
    """A key that most rows repeat: probably the wrong column, and in any case no key."""
    quarantined = counts.reasons.get(Reason.DUPLICATE_KEY, 0)
    repeated = quarantined + counts.flagged.get(Reason.DUPLICATE_KEY, 0)
    if counts.key is None or repeated <= MOSTLY * counts.read:
        return []
    share = repeated / counts.read
    text = (
        f"{counts.key}: {share:.1%} of the requests repeat an id of this run."
        if counts.is_queue
        else f"--key {counts.key}: {share:.1%} of the rows repeat a key seen before; is it the key?"
    )
    return [
        Anomaly(
            kind=Kind.QUALITY,
            code="KEY_NOT_UNIQUE",
            severity=Severity.HOLD if quarantined and not counts.is_queue else Severity.WARN,
            short_description="Most rows repeat a key",
            description=text,
            feature=counts.key,
            measure="duplicate_share",
            value=share,
            threshold=MOSTLY,
        )
    ]


def unreadable(counts: RunCounts) -> list[Anomaly]:
    """Request files that were set aside; the others are answered."""
    files = len(counts.unreadable)
    if not files:
        return []
    named = "; ".join(counts.unreadable[:_FILES_NAMED])
    more = f"; and {files - _FILES_NAMED} more" if files > _FILES_NAMED else ""
    return [
        Anomaly(
            kind=Kind.QUALITY,
            code="UNREADABLE_FILES",
            severity=Severity.WARN,
            short_description="Request files cannot be read",
            description=f"{files} request files were set aside, unanswered, until they are"
            f" replaced: {named}{more}.",
            measure="files",
            value=float(files),
        )
    ]


def chance_of(count: int, rows: int, share: float) -> float:
    """The most likely it can be that so many of the rows fail where each does with this share.

    Chernoff's bound exp(-n KL(k/n || p)); source: Hoeffding, Probability Inequalities for Sums of
    Bounded Random Variables, 1963, theorem 1.
    """
    found = count / rows
    if found <= share:
        return 1.0
    if not share:
        return 0.0
    divergence = found * math.log(found / share)
    if found < 1:
        divergence += (1 - found) * math.log((1 - found) / (1 - share))
    return math.exp(-rows * divergence)


def quarantine(counts: RunCounts, policy: Policy) -> list[Anomaly]:
    """Too large a share of the rows in quarantine.

    Of a queue's few rows a few that fail say little: what chance alone could make only informs.
    """
    if not counts.read:
        return []
    share = counts.quarantined / counts.read
    limits = policy.thresholds
    if share <= limits.quarantined_share:
        return []

    def is_beyond(limit: float) -> bool:
        likely = chance_of(counts.quarantined, counts.read, limit)
        return share > limit and (not counts.is_queue or likely < UNLIKELY)

    # Requests that a broken model refuses would be answered for ever: somebody has to look.
    model_fails = not counts.scored and Reason.MODEL_ERROR in counts.reasons
    held = model_fails or is_beyond(limits.quarantined_share_hold)
    warned = held or is_beyond(limits.quarantined_share)
    why = "; the model gave no row a score" if model_fails else ""
    why = why if warned else "; of so few rows, that may be chance"
    reasons = sorted(counts.reasons.items(), key=lambda item: -item[1])
    most = ", ".join(f"{reason.value} {rows:,}" for reason, rows in reasons[:3])
    return [
        Anomaly(
            kind=Kind.QUALITY,
            code="QUARANTINED_SHARE_HIGH",
            severity=Severity.HOLD if held else Severity.WARN if warned else Severity.INFO,
            short_description="Many rows in quarantine",
            description=f"{share:.1%} of the rows ({counts.quarantined:,}) are in quarantine:"
            f" {most}{why}.",
            measure="quarantined_share",
            value=share,
            threshold=limits.quarantined_share_hold if held else limits.quarantined_share,
            only_info="of so few rows, that may be chance",
            told=True,
        )
    ]


def of_run(counts: RunCounts, policy: Policy) -> list[Anomaly]:
    """All anomalies of a run as a whole, causes first."""
    return [
        *volume(counts, policy),
        *key(counts),
        *quarantine(counts, policy),
        *unreadable(counts),
    ]
