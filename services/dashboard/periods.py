"""What an address says about time goes in; a period of whole buckets by the viewer's clock comes out."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

QUARTER, HOUR, DAY = 900, 3600, 86400  # seconds; the books are summed by quarters of an hour
PERIODS = {  # name → (length, bucket), seconds
    "1h": (HOUR, QUARTER),
    "6h": (6 * HOUR, QUARTER),
    "24h": (DAY, HOUR),
    "7d": (7 * DAY, DAY),
    "30d": (30 * DAY, DAY),
    "90d": (90 * DAY, DAY),
}
DEFAULT = "24h"
_MOST_BUCKETS = 110  # all that a plot can show
_MOST_DAYS = 1200


class Bad(ValueError):
    """An address that cannot be meant; the message says what is wrong with it."""


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """From `since` to `until` (excluded), aware UTC, both on the edge of a bucket."""

    name: str  # of PERIODS, or "custom"
    since: datetime
    until: datetime
    now: datetime
    step: int  # seconds of a bucket; whole days are days of the zone, of 23 to 25 hours
    tz: ZoneInfo

    @property
    def live(self) -> bool:
        """It reaches the present, so it changes."""
        return self.until >= self.now

    @property
    def daily(self) -> bool:
        """Its buckets are days."""
        return self.step >= DAY

    @property
    def days(self) -> int:
        """Days of the zone that it has, where it begins and ends with one."""
        return (self.until.astimezone(self.tz).date() - self.since.astimezone(self.tz).date()).days

    def buckets(self) -> list[datetime]:
        """The start of each bucket, in order; days by the clock of the zone."""
        found = []
        at = self.since
        while at < self.until:
            found.append(at)
            step = timedelta(seconds=self.step)
            at = _on_clock(at, step, self.tz) if self.daily else at + step
        return found

    def complete(self) -> "Period":
        """Its part of which every quarter of an hour has passed: what can be compared with the period before."""
        passed = datetime.fromtimestamp(self.now.timestamp() // QUARTER * QUARTER, UTC)
        return msgspec.structs.replace(self, until=max(self.since, min(self.until, passed)))

    def moved(self, by: timedelta, *, on_clock: bool) -> "Period":
        """As long a period, that much later: on the clock of the zone, or as time passes."""
        if not on_clock:
            return msgspec.structs.replace(self, since=self.since + by, until=self.until + by)
        return msgspec.structs.replace(
            self, since=_on_clock(self.since, by, self.tz), until=_on_clock(self.until, by, self.tz)
        )


def _on_clock(at: datetime, by: timedelta, zone: ZoneInfo) -> datetime:
    """The moment at which the clock of the zone shows that much more."""
    return (at.astimezone(zone).replace(tzinfo=None) + by).replace(tzinfo=zone).astimezone(UTC)


def parse(asked: Mapping[str, str], zone: ZoneInfo, *, now: datetime) -> Period:
    """The period of `period`, or of `from` and `to`; Bad says what cannot be meant."""
    if "from" in asked:
        return _custom(asked, zone, now)
    name = asked.get("period", DEFAULT)
    if name not in PERIODS:
        raise Bad(f"Invalid period. Use {', '.join(PERIODS)}.")
    length, step = PERIODS[name]
    until = _edge(now, step, zone, up=True)
    period = Period(name=name, since=until - timedelta(seconds=length), until=until, now=now, step=step, tz=zone)
    if step < DAY:
        return period
    return msgspec.structs.replace(period, since=_on_clock(until, -timedelta(seconds=length), zone))


def _custom(asked: Mapping[str, str], zone: ZoneInfo, now: datetime) -> Period:
    since = _moment(asked["from"], zone)
    until = _moment(asked["to"], zone) if "to" in asked else now
    if since >= until:
        raise Bad("Start must be before end.")
    if until - since > timedelta(days=_MOST_DAYS):
        raise Bad(f"A period has at most {_MOST_DAYS} days.")
    seconds = (until - since).total_seconds()
    step = QUARTER if seconds <= 6 * HOUR else HOUR if seconds <= DAY else DAY
    while seconds / step > _MOST_BUCKETS:
        step += DAY
    since, until = _edge(since, step, zone, up=False), _edge(until, step, zone, up=True)
    return Period(name="custom", since=since, until=until, now=now, step=step, tz=zone)


def _edge(at: datetime, step: int, zone: ZoneInfo, *, up: bool) -> datetime:
    """The edge of a bucket before or after a moment, itself where it is one."""
    local = at.astimezone(zone)
    if step >= DAY:
        day = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        if up and day != local.replace(tzinfo=None):
            day += timedelta(days=1)
        return day.replace(tzinfo=zone).astimezone(UTC)
    offset = (local.utcoffset() or timedelta()).total_seconds() % step // QUARTER * QUARTER
    rounded = (math.ceil if up else math.floor)((at.timestamp() + offset) / step) * step
    return datetime.fromtimestamp(rounded - offset, UTC)


def _moment(text: str, zone: ZoneInfo) -> datetime:
    try:
        if text.isdecimal():
            found = datetime.fromtimestamp(int(text), UTC)
        else:
            found = datetime.fromisoformat(text)
            found = (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise Bad("Invalid date. Use e.g. 2026-11-24T08:00.") from None
    if not 1990 <= found.year <= 2200:
        raise Bad("Dates must be between 1990 and 2200.")
    return found
