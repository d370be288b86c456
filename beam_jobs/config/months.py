"""Months as people write them, and in the names of files."""

import datetime
import re
import zoneinfo

from beam_jobs.errors import UsageError

MONTH = "previous|[1-9][0-9]{3}-(0[1-9]|1[0-2])"
EXPECTED_MONTH = "a month; expected YYYY-MM such as 2026-10, or 'previous'"


def parse_month(text: str, timezone: str, now: datetime.datetime | None = None) -> datetime.date:
    """The first day of a month given as YYYY-MM or `previous`.

    Raises:
        UsageError: not a month, or not a time zone.
    """
    today = day_in(timezone, now or datetime.datetime.now(datetime.UTC))
    if text == "previous":
        return month_before(today)
    if not re.fullmatch(MONTH, text):
        raise UsageError(f"--month {text}: is not {EXPECTED_MONTH}")
    return datetime.date(int(text[:4]), int(text[5:]), 1)


def day_in(timezone: str, when: datetime.datetime) -> datetime.date:
    """The day of a moment in a time zone.

    Raises:
        UsageError: not a time zone.
    """
    try:
        return when.astimezone(zoneinfo.ZoneInfo(timezone)).date()
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"--timezone {timezone}: is not a time zone; expected a name such as Europe/Berlin"
        ) from error


def month_before(day: datetime.date) -> datetime.date:
    """The first day of the month before the month of `day`."""
    return (day.replace(day=1) - datetime.timedelta(days=1)).replace(day=1)


def expand_month(pattern: str, month: datetime.date) -> str:
    """Replaces {month} and {month:FORMAT} in a pattern."""

    def text(found: re.Match[str]) -> str:
        return month.strftime(found.group(1) or "%Y-%m")

    return re.sub(r"\{month(?::([^}]*))?\}", text, pattern)
