"""Periods of whole quarter hours in the user's time zone, from URL parameters."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from shared import recent
from shared.recent import DAY, HOUR, QUARTER

PERIODS = {  # name → (number of hours or days, bucket in seconds)
    "1h": (1, QUARTER),
    "6h": (6, QUARTER),
    "24h": (24, HOUR),
    "7d": (7, DAY),
    "30d": (30, DAY),
    "90d": (90, DAY),
}
CALENDAR = {  # name → (label, bucket)
    "today": ("Today", HOUR),
    "yesterday": ("Yesterday", HOUR),
    "week": ("This week", DAY),
    "month": ("This month", DAY),
    "last-month": ("Last month", DAY),
}
DEFAULT = "24h"
_MAX_BUCKETS = 110  # that fit into a chart
_MAX_DAYS = 1200


class BadParameter(ValueError):
    """An invalid URL parameter; the message tells the user what to correct."""


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """From `since` to `until` (excluded), aware UTC, both on quarter hours.

    The first and the last bucket of a custom period may be parts of a day.
    """

    name: str  # of PERIODS or CALENDAR, or "custom"
    since: datetime
    until: datetime
    now: datetime
    step: int  # length of a bucket in seconds; days are days of the time zone, of 23 to 25 hours
    tz: ZoneInfo

    @property
    def live(self) -> bool:
        """Whether it reaches the present, so that its data change."""
        return self.until >= self.now

    @property
    def daily(self) -> bool:
        """Whether its buckets are days."""
        return self.step >= DAY

    @property
    def days(self) -> int:
        """Number of days in the time zone; 0 if it does not consist of whole days."""
        edges = [edge.astimezone(self.tz) for edge in (self.since, self.until)]
        if any((edge.hour, edge.minute) != (0, 0) for edge in edges):
            return 0
        return (edges[1].date() - edges[0].date()).days

    def buckets(self) -> list[datetime]:
        """Return the start of each bucket, in order."""
        starts = []
        step = timedelta(seconds=self.step)
        at = recent.edge(self.since, DAY, self.tz, up=False) if self.daily else self.since
        while at < self.until:
            starts.append(max(at, self.since))
            at = recent.on_clock(at, step, self.tz) if self.daily else at + step
        return starts

    def passed(self) -> "Period":
        """Return the part that has passed, to the second, for comparisons."""
        now = self.now.replace(microsecond=0)
        return msgspec.structs.replace(self, until=max(self.since, min(self.until, now)))

    def moved(self, by: timedelta, *, on_clock: bool) -> "Period":
        """Return the period moved by local time (`on_clock`) or by elapsed time."""
        if not on_clock:
            return msgspec.structs.replace(self, since=self.since + by, until=self.until + by)
        return msgspec.structs.replace(
            self, since=recent.on_clock(self.since, by, self.tz), until=recent.on_clock(self.until, by, self.tz)
        )

    def calendar_before(self, part: "Period") -> "Period":
        """Return a part of this calendar period moved to the day, week or month before."""
        if self.name in ("today", "yesterday", "week"):
            return part.moved(-timedelta(days=7 if self.name == "week" else 1), on_clock=True)
        first = self.since.astimezone(self.tz)
        since = _midnight((first.replace(tzinfo=None) - timedelta(days=1)).replace(day=1), self.tz)
        following = _midnight((first.replace(tzinfo=None) + timedelta(days=32)).replace(day=1), self.tz)
        passed = part.until.astimezone(self.tz).replace(tzinfo=None) - first.replace(tzinfo=None)
        until = recent.on_clock(since, passed, self.tz) if part.until < following else self.since
        return msgspec.structs.replace(part, since=since, until=min(until, self.since))


def _midnight(local: datetime, zone: ZoneInfo) -> datetime:
    return local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=zone).astimezone(UTC)


def parse(params: Mapping[str, str], zone: ZoneInfo, *, now: datetime) -> Period:
    """Parse `period`, or `from` and `to`; raises BadParameter."""
    if "from" in params:
        return _custom(params, zone, now)
    name = params.get("period", DEFAULT)
    if name in CALENDAR:
        return _calendar(name, zone, now)
    if name not in PERIODS:
        raise BadParameter(f"Invalid period. Use {', '.join((*PERIODS, *CALENDAR))}.")
    count, step = PERIODS[name]
    since, until = (recent.last_days if step == DAY else recent.last_hours)(count, zone, now=now)
    return Period(name=name, since=since, until=until, now=now, step=step, tz=zone)


def _calendar(name: str, zone: ZoneInfo, now: datetime) -> Period:
    """Return a period of the calendar; one that is not over ends with its present bucket."""
    today = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    step = CALENDAR[name][1]
    since = today
    until = recent.edge(now, step, zone, up=True)
    if name == "yesterday":
        since = today - timedelta(days=1)
        until = _midnight(today, zone)
    elif name == "week":
        since = today - timedelta(days=today.weekday())
    elif name == "month":
        since = today.replace(day=1)
    elif name == "last-month":
        since = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
        until = _midnight(today.replace(day=1), zone)
    start = _midnight(since, zone)
    if until <= start:  # the very first instant
        until = start + timedelta(seconds=step)
    return Period(name=name, since=start, until=until, now=now, step=step, tz=zone)


def _custom(params: Mapping[str, str], zone: ZoneInfo, now: datetime) -> Period:
    since = _moment(params["from"], zone)
    until = _moment(params["to"], zone) if "to" in params else now
    if since >= until:
        raise BadParameter("Start must be before end.")
    if until - since > timedelta(days=_MAX_DAYS):
        raise BadParameter(f"A period has at most {_MAX_DAYS} days.")
    since = recent.edge(since, QUARTER, zone, up=False)
    until = recent.edge(until, QUARTER, zone, up=True)
    seconds = (until - since).total_seconds()
    step = DAY
    if seconds <= 6 * HOUR:
        step = QUARTER
    elif seconds <= DAY:
        step = HOUR if all(recent.edge(edge, HOUR, zone, up=False) == edge for edge in (since, until)) else QUARTER
    while seconds / step > _MAX_BUCKETS:
        step += DAY
    return Period(name="custom", since=since, until=until, now=now, step=step, tz=zone)


def _moment(text: str, zone: ZoneInfo) -> datetime:
    try:
        if text.isdecimal():
            at = datetime.fromtimestamp(int(text), UTC)
        else:
            at = datetime.fromisoformat(text)
            at = (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise BadParameter("Invalid date. Use e.g. 2026-11-24T08:00.") from None
    if not 1990 <= at.year <= 2200:
        raise BadParameter("Dates must be between 1990 and 2200.")
    return at
