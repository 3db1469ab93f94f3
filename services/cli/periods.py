"""Times as people type them come in (7d, 24h, 2026-11-01), aware moments in UTC go out."""

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_SPAN = re.compile(r"(\d{1,6})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class BadTime(ValueError):
    """A text that is no time; the message says what would be one."""


def zone(name: str) -> ZoneInfo:
    """An IANA time zone; BadTime when there is none of that name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadTime(f"{name!r} is no time zone; write one like Europe/Zurich or UTC") from None


def since(text: str, *, tz: ZoneInfo, now: datetime) -> datetime:
    """The first moment meant: so long before `now`, or the start of a day of the zone, or a time."""
    return _ago(text, now=now) or _moment(text, tz=tz, days=0)


def until(text: str, *, tz: ZoneInfo, now: datetime) -> datetime:
    """The first moment no longer meant: a day is meant whole, so it is the start of the next."""
    return _ago(text, now=now) or _moment(text, tz=tz, days=1)


def span(first: str, last: str, *, tz: ZoneInfo, now: datetime) -> tuple[datetime, datetime]:
    """From `since` to `until` (excluded), up to now and what comes in while the question is asked when that is ""."""
    start, end = since(first, tz=tz, now=now), until(last, tz=tz, now=now) if last else now + timedelta(minutes=1)
    if start >= end:
        raise BadTime("the period is empty: --since is not before --until")
    return start, end


def month(text: str, *, tz: ZoneInfo) -> tuple[datetime, datetime]:
    """The first moment of a month of the zone, and that of the next."""
    try:
        first = date.fromisoformat(f"{text}-01")
        following = (first + timedelta(days=31)).replace(day=1)
    except (ValueError, OverflowError):
        raise BadTime(f"{text!r} is no month; write one like 2026-11") from None
    start, end = (datetime.combine(day, time(), tzinfo=tz).astimezone(UTC) for day in (first, following))
    return start, end


def printed(first: datetime, last: datetime, *, tz: ZoneInfo) -> str:
    """A period as a title says it."""
    return f"{first.astimezone(tz):%Y-%m-%d %H:%M} to {last.astimezone(tz):%Y-%m-%d %H:%M}, {tz.key}"


def expiry(text: str, *, now: datetime) -> datetime | None:
    """When a token ends: so long after `now`, or with the start of a day in UTC, or at a time; None for never."""
    if text == "never":
        return None
    span = _span(text)
    try:
        return now + span if span is not None else _moment(text, tz=ZoneInfo("UTC"), days=0)
    except OverflowError:
        raise _bad(text) from None


def _ago(text: str, *, now: datetime) -> datetime | None:
    span = _span(text)
    try:
        return None if span is None else now - span
    except OverflowError:
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
    return BadTime(f"{text!r} is no time; write 24h, 7d, 2w, 2026-11-01 or 2026-11-01T08:00+01:00")
