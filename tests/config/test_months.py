"""Months on the command line and in patterns."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.config.months import expand_month, month_before, parse_month
from beam_jobs.errors import UsageError


@pytest.mark.parametrize(
    ("now", "zone", "month"),
    [
        ("2026-11-01T00:30:00+00:00", "UTC", "2026-10-01"),
        ("2026-11-01T00:30:00+00:00", "America/New_York", "2026-09-01"),
        ("2026-12-31T23:30:00+00:00", "Europe/Berlin", "2026-12-01"),
        ("2026-01-15T12:00:00+00:00", "UTC", "2025-12-01"),
    ],
)
def test_previous_is_the_month_before_now_in_the_time_zone(now: str, zone: str, month: str) -> None:
    at = datetime.datetime.fromisoformat(now)
    assert parse_month("previous", zone, at).isoformat() == month


@pytest.mark.parametrize(
    "text", ["2026-13", "2026-00", "26-10", "2026-10-01", "October", "", "0000-01", "2026-1"]
)
def test_what_is_not_a_month_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a month; expected YYYY-MM"):
        parse_month(text, "UTC")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../../etc/passwd"])
def test_what_is_not_a_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(UsageError, match="is not a time zone"):
        parse_month("2026-10", zone)


def test_months_in_patterns() -> None:
    month = datetime.date(2026, 3, 1)
    assert expand_month("a/{month}/b-{month:%Y/%m}.csv", month) == "a/2026-03/b-2026/03.csv"
    assert expand_month("a/{other}/*.csv", month) == "a/{other}/*.csv"


@given(st.dates())
def test_the_month_before(day: datetime.date) -> None:
    if day < datetime.date(1, 2, 1):
        return
    before = month_before(day)
    assert before.day == 1
    months = day.year * 12 + day.month - (before.year * 12 + before.month)
    assert months == 1
