"""Periods of budgets: days, weeks and months of a time zone, and rolling days."""

import functools
import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

DAY, WEEK, MONTH = "day", "week", "month"
_ROLLING = re.compile(r"([1-9][0-9]{0,2})d")
_MOST_DAYS = 366
_NO_ZONES = frozenset({"localtime", "Factory"})  # another zone on each machine, and none
_QUARTER = timedelta(minutes=15)  # the finest bucket of the usage tables


class Span(NamedTuple):
    """A period in UTC; a rolling one has no end."""

    start: datetime
    end: datetime | None


def zone(name: str) -> ZoneInfo:
    """Return the time zone of a name; ValueError if it is unknown."""
    if name not in zone_names():
        raise ValueError(f"unknown time zone {name!r}; use a name such as Europe/Vienna")
    return ZoneInfo(name)


@functools.cache
def zone_names() -> frozenset[str]:
    """Return the names of all time zones, without those that name no certain one."""
    return frozenset(available_timezones()) - _NO_ZONES


def rolling_days(period: str) -> int:
    """Return the days of a rolling period such as 30d; 0 for all other periods."""
    match = _ROLLING.fullmatch(period)
    return int(match[1]) if match and int(match[1]) <= _MOST_DAYS else 0


def check(period: str) -> None:
    """Raise ValueError for a period that does not exist."""
    if period not in (DAY, WEEK, MONTH) and not rolling_days(period):
        raise ValueError(f"unknown period {period!r}; use day, week, month, or rolling days such as 30d (1d to 366d)")


def span(period: str, timezone: str, now: datetime) -> Span:
    """Return the period that contains `now`, an aware datetime.

    Raises ValueError for an unknown period or zone. Weeks begin on Monday.
    Rolling days begin at a quarter of an hour, as the usage tables do.
    """
    if days := rolling_days(period):
        start = now.astimezone(UTC) - timedelta(days=days)
        return Span(start - (start - datetime.min.replace(tzinfo=UTC)) % _QUARTER, None)
    check(period)
    local_zone = zone(timezone)
    # fold: of two midnights, where clocks are set back to one, the first begins the day
    first = now.astimezone(local_zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0)
    if period == WEEK:
        first -= timedelta(days=first.weekday())
    elif period == MONTH:
        first = first.replace(day=1)
    if period == MONTH:
        following = (first + timedelta(days=32)).replace(day=1)
    else:
        following = first + timedelta(days=7 if period == WEEK else 1)
    return Span(_utc(first, local_zone), _utc(following, local_zone))


def _utc(local: datetime, local_zone: ZoneInfo) -> datetime:
    return local.replace(tzinfo=local_zone).astimezone(UTC)
