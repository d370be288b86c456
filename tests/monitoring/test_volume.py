"""What a run as a whole is told of: a key that is none, request files that cannot be read."""

from collections.abc import Mapping

import pytest

from beam_jobs.batch import Reason
from beam_jobs.monitoring.gate import decide
from beam_jobs.monitoring.policy import Policy
from beam_jobs.monitoring.volume import RunCounts, of_run


def counts(
    *,
    repeated: int = 0,
    flagged: int = 0,
    queue: bool = False,
    key: str | None = "campaign_id",
    unreadable: tuple[str, ...] = (),
) -> RunCounts:
    """Of 1,000 rows."""

    def of(rows: int) -> Mapping[Reason, int]:
        return {Reason.DUPLICATE_KEY: rows} if rows else {}

    return RunCounts(
        1_000,
        1_000 - repeated,
        repeated,
        of(repeated),
        is_queue=queue,
        key=key,
        flagged=of(flagged),
        unreadable=unreadable,
    )


def test_the_gate_names_a_key_that_is_none_in_one_line() -> None:
    decision = decide(of_run(counts(repeated=970), Policy()))
    assert decision.held
    assert decision.hold_reasons[0] == (
        "QUALITY campaign_id: --key campaign_id: 97.0% of the rows repeat a key seen before; is it"
        " the key?"
    )


@pytest.mark.parametrize(
    ("some", "severity"),
    [
        (counts(repeated=501), "HOLD"),
        (counts(repeated=500), None),
        (counts(repeated=300, flagged=300), "HOLD"),
        (counts(flagged=999), "WARN"),
        (counts(repeated=999, key=None), None),
        (counts(repeated=999, queue=True, key="id"), "WARN"),
        (RunCounts(0, 0, 0, {}, key="id"), None),
    ],
)
def test_more_than_half_of_the_rows_make_it_none(some: RunCounts, severity: str | None) -> None:
    found = [a for a in of_run(some, Policy()) if a.code == "KEY_NOT_UNIQUE"]
    assert [a.severity.value for a in found] == ([severity] if severity else [])
    assert all(a.feature == some.key for a in found)


def test_files_that_were_set_aside_hold_nothing_and_are_named() -> None:
    files = tuple(f"/q/{n}.jsonl.gz: is truncated" for n in range(5))
    (anomaly,) = of_run(counts(queue=True, unreadable=files), Policy())
    assert (anomaly.code, anomaly.severity.value, anomaly.value) == ("UNREADABLE_FILES", "WARN", 5)
    assert "; ".join(files[:3]) + "; and 2 more" in anomaly.description
    assert not decide([anomaly]).held
