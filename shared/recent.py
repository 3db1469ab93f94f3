"""Periods up to now: the last 7 days, the last 24 hours.

Pages, the API and the CLI mean the same by them.
"""

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

QUARTER = 900  # seconds; the rollup has sums by quarter hour
HOUR = 3600
DAY = 86400


def last_days(count: int, zone: ZoneInfo, *, now: datetime) -> tuple[datetime, datetime]:
    """Return the bounds of the last days of the zone, today included.

    Raises OverflowError for more days than a calendar has.
    """
    until = edge(now, DAY, zone, up=True)
    return on_clock(until, -timedelta(days=count), zone), until


def last_hours(count: int, zone: ZoneInfo, *, now: datetime) -> tuple[datetime, datetime]:
    """Return the bounds of the last hours, up to the end of this hour.

    Fewer than 24 end with this quarter hour.
    """
    until = edge(now, QUARTER if count < 24 else HOUR, zone, up=True)
    return until - timedelta(hours=count), until


def edge(at: datetime, step: int, zone: ZoneInfo, *, up: bool) -> datetime:
    """Round a time down or `up` to a whole step of seconds, or a day, of the zone."""
    local = at.astimezone(zone)
    if step >= DAY:
        day = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        if up and day != local.replace(tzinfo=None):
            day += timedelta(days=1)
        return day.replace(tzinfo=zone).astimezone(UTC)
    offset = (local.utcoffset() or timedelta()).total_seconds() % step // QUARTER * QUARTER
    rounded = (math.ceil if up else math.floor)((at.timestamp() + offset) / step) * step
    return datetime.fromtimestamp(rounded - offset, UTC)


def on_clock(at: datetime, by: timedelta, zone: ZoneInfo) -> datetime:
    """Add to the local time: a day may have 23 to 25 hours."""
    return (at.astimezone(zone).replace(tzinfo=None) + by).replace(tzinfo=zone).astimezone(UTC)
