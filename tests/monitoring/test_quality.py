"""One image in many rows: what is said of it, and what is not."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from beam_jobs.monitoring.anomaly import Anomaly
from beam_jobs.monitoring.policy import Kind, Policy, Severity
from beam_jobs.monitoring.quality import Pair, shared_images
from support.tfdv_statistics import reference

HASHES = [f"{number:016x}" for number in range(400)]
BLANK = "8000000000000000"


def pair(now: Sequence[str | None], before: Sequence[str | None]) -> Pair:
    sides = [
        reference({"image_hash": pa.array(values, pa.string())}).datasets[0].features[0]
        for values in (now, before)
    ]
    return Pair("all", "image_hash", *sides)


def found(now: Sequence[str | None], before: Sequence[str | None]) -> list[Anomaly]:
    return shared_images(pair(now, before), Kind.SKEW, Policy())


def shown(rows: int, blank: int = 0) -> list[str | None]:
    return [*[BLANK] * blank, *(HASHES[row % len(HASHES)] for row in range(rows - blank))]


def test_a_placeholder_in_many_rows_is_named_with_its_rows() -> None:
    (anomaly,) = found(shown(20_000, blank=1_000), shown(20_000))
    assert (anomaly.kind, anomaly.code) == (Kind.QUALITY, "SHARED_IMAGE")
    assert anomaly.severity is Severity.WARN
    assert anomaly.value == 0.05
    assert anomaly.threshold == 0.01
    assert f"{BLANK} in 1,000 rows (5.0%; in the baseline 0.0%)" in anomaly.description


def test_an_image_that_was_shared_before_is_no_news() -> None:
    assert found(shown(20_000, blank=1_000), shown(10_000, blank=450)) == []


def test_few_rows_prove_nothing() -> None:
    (anomaly,) = found(shown(100, blank=3), shown(100, blank=0))
    assert anomaly.severity is Severity.INFO


def test_samples_of_one_month_raise_no_alarm() -> None:
    """Shares as skewed as those of campaigns; 99.9 % of all such pairs must be silent."""
    random = np.random.default_rng(3)
    for rows in (300, 3_000):
        for _ in range(20):
            now, before = (
                [HASHES[int(len(HASHES) * u * u)] for u in random.random(rows)] for _ in range(2)
            )
            assert all(a.severity is Severity.INFO for a in found(now, before))


def test_rows_without_an_image_are_not_counted() -> None:
    assert found([*[None] * 5_000, *shown(5_000, blank=20)], shown(5_000)) == []
    assert found([None] * 10, shown(10)) == []


def test_the_three_most_risen_are_named() -> None:
    now = shown(10_000) + [value for value in HASHES[:5] for _ in range(1_000)]
    (anomaly,) = found(now, shown(10_000))
    assert anomaly.description.count(" rows (") == 3
    assert anomaly.description.endswith("and 2 more.")
