"""Parses times of options (7d, 24h, 2026-11-01) into aware datetimes in UTC.

Days and hours back from now are those of the dashboard and the API: see shared/recent.py.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.cli.errors import CommandError
from shared import months, recent

_SPAN = re.compile(r"(\d{1,6})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class BadTime(CommandError, ValueError):
    """An invalid time; the message gives valid examples."""

    status = 2


def zone(name: str) -> ZoneInfo:
    """Return an IANA time zone; BadTime for an unknown name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadTime(f"unknown time zone {name!r}; use one like Europe/Zurich or UTC") from None


def since(text: str, *, tz: ZoneInfo, now: datetime) -> datetime:
    """Parse the start of a period: a time, a date in the zone, or 7d: the last 7 days."""
    return _ago(text, tz=tz, now=now) or _moment(text, tz=tz, days=0)


def until(text: str, *, tz: ZoneInfo, now: datetime) -> datetime:
    """Parse the end of a period (excluded); a date ends with its day.

    7d is the end of what was before the last 7 days.
    """
    return _ago(text, tz=tz, now=now) or _moment(text, tz=tz, days=1)


def span(first: str, last: str, *, month: str = "", tz: ZoneInfo, now: datetime) -> tuple[datetime, datetime]:
    """Parse --month, or --since and --until; the default end is a minute from now."""
    if month:
        return of_month(month, tz=tz)
    start = since(first, tz=tz, now=now)
    end = until(last, tz=tz, now=now) if last else now + timedelta(minutes=1)
    if start >= end:
        raise BadTime("the period is empty: --since must be before --until")
    return start, end


def of_month(text: str, *, tz: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the start of a month in the zone, and of the next month."""
    try:
        return months.bounds(text, tz)
    except ValueError:
        raise BadTime(f"invalid month {text!r}; use 2026-11") from None


def printed(first: datetime, last: datetime, *, tz: ZoneInfo) -> str:
    """Format a period for a title."""
    return f"{first.astimezone(tz):%Y-%m-%d %H:%M} to {last.astimezone(tz):%Y-%m-%d %H:%M}, {tz.key}"


def expiry(text: str, *, now: datetime) -> datetime | None:
    """Parse an expiry: a time, a date (UTC), 30d from `now`; None for never."""
    if text == "never":
        return None
    span = _span(text)
    try:
        return now + span if span is not None else _moment(text, tz=ZoneInfo("UTC"), days=0)
    except OverflowError:
        raise _bad(text) from None


def _ago(text: str, *, tz: ZoneInfo, now: datetime) -> datetime | None:
    """Return the start of the last minutes, hours, days or weeks; None for another text."""
    match = _SPAN.fullmatch(text)
    if match is None:
        return None
    count, unit = int(match[1]), match[2]
    try:
        if unit == "m":
            return now - timedelta(minutes=count)
        if unit == "h":
            return recent.last_hours(count, tz, now=now)[0]
        return recent.last_days(count * (7 if unit == "w" else 1), tz, now=now)[0]
    except (OverflowError, ValueError):
        raise _bad(text) from None


def _span(text: str) -> timedelta | None:
    match = _SPAN.fullmatch(text)
    return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None


def _moment(text: str, *, tz: ZoneInfo, days: int) -> datetime:
    try:
        if len(text) <= 10:
            day = date.fromisoformat(text) + timedelta(days=days)
            return datetime.combine(day, time(), tzinfo=tz).astimezone(UTC)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=tz)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _bad(text) from None


def _bad(text: str) -> BadTime:
    return BadTime(f"invalid time {text!r}; use 24h, 7d, 2w, 2026-11-01 or 2026-11-01T08:00+01:00")
