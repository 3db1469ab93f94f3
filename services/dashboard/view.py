"""A query string goes in: period, zone, filters; links that change one of them, and parameters of questions, come out.

All state of a page lives in its address: reload, Back, a shared link and an export see the same thing.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, available_timezones

import msgspec

PERIODS = {  # name → (length, bucket), seconds
    "1h": (3600, 900),
    "6h": (6 * 3600, 900),
    "24h": (86400, 3600),
    "7d": (7 * 86400, 86400),
    "30d": (30 * 86400, 86400),
    "90d": (90 * 86400, 86400),
}
DEFAULT_PERIOD = "24h"
HOURLY_UP_TO = 86400  # seconds of a period; daily buckets beyond
COMPARISONS = {"previous": "vs previous", "week": "vs last week", "none": "No comparison"}
FILTERS = ("account", "provider", "model", "requester", "token", "status", "cache", "meta")
STATUSES = {"ok": (200, 399), "2xx": (200, 299), "4xx": (400, 499), "5xx": (500, 599), "interrupted": (0, 0)}
CACHES = {"yes": "Cached", "no": "Not cached"}
_LONGEST = 256  # characters of a filter
_MOST_DAYS = 1200


class Bad(ValueError):
    """An address that cannot be meant; the message says what is wrong with it."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What a page shows. Times are aware UTC, `until` excluded. `query` is what the address says, without defaults."""

    path: str
    query: dict[str, str]
    since: datetime
    until: datetime
    now: datetime
    step: int  # seconds of a bucket; 86400 means days of the zone, of 23 to 25 hours
    period: str  # a name of PERIODS, or "custom"
    tz: ZoneInfo
    compare: str
    currency: str
    account: str  # whose rows; "" for all, which only those may see who may see all
    filters: dict[str, str]  # of FILTERS less account, those that are set

    @property
    def live(self) -> bool:
        """The period goes up to now, so that it changes."""
        return self.until >= self.now - timedelta(seconds=self.step)

    @property
    def before(self) -> tuple[datetime, datetime] | None:
        """The period to compare with: as long as what has passed of this one; None for no comparison."""
        if self.compare == "none":
            return None
        length = self.until - self.since
        weeks = timedelta(days=7 * max(1, math.ceil(length / timedelta(days=7))))
        back = length if self.compare == "previous" else weeks
        return self.since - back, min(self.until, self.now) - back

    def url(self, path: str = "", **changes: str | None) -> str:
        """An address that differs in `changes`; None or "" takes a part out. A page number never survives."""
        query = {name: value for name, value in self.query.items() if name not in ("after", "before")}
        if "period" in changes:
            query.pop("from", None)
            query.pop("to", None)
        for name, value in changes.items():
            query[name] = value or ""
        query = {name: value for name, value in query.items() if value}
        return (path or self.path) + (f"?{urlencode(query)}" if query else "")

    def cleared(self) -> str:
        """The address without filters."""
        return self.url(**dict.fromkeys(FILTERS, ""))

    def buckets(self) -> list[datetime]:
        """The start of each bucket, in order: by the clock of the zone, so days of a change of clocks are whole."""
        found: list[datetime] = []
        at = self.since.astimezone(self.tz)
        while at.astimezone(UTC) < self.until:
            found.append(at.astimezone(UTC))
            if self.step >= 86400:
                at = (at.replace(tzinfo=None) + timedelta(days=self.step // 86400)).replace(tzinfo=self.tz)
            else:
                at = (at.astimezone(UTC) + timedelta(seconds=self.step)).astimezone(self.tz)
        return found

    def parameters(self, *, since: datetime | None = None, until: datetime | None = None) -> dict[str, Any]:
        """What the questions of the dashboard are asked with."""
        low, high = _statuses(self.filters.get("status", ""))
        key, _, value = self.filters.get("meta", "").partition("=")
        return {
            "since": since or self.since,
            "until": until or self.until,
            "tz": self.tz.key,
            "step": self.step,
            "account": self.account,
            "provider": self.filters.get("provider", ""),
            "model": self.filters.get("model", ""),
            "requester": self.filters.get("requester", ""),
            "token": self.filters.get("token", ""),
            "status_from": low,
            "status_to": high,
            "cache": self.filters.get("cache", ""),
            "meta_key": key,
            "meta_value": value,
        }


def parse(path: str, query: Mapping[str, str], *, now: datetime, account: str = "", tz: str = "UTC") -> View:
    """The view of an address. `account`: the only one that may be seen, "" for all. Bad says what cannot be meant."""
    asked = {name: value for name, value in query.items() if value}
    zone = _zone(asked.get("tz", tz))
    filters = {name: asked[name] for name in FILTERS if name in asked}
    for name, value in filters.items():
        if len(value) > _LONGEST:
            raise Bad(f"{name} is longer than {_LONGEST} characters")
    if account and filters.get("account", account) != account:
        raise Bad("this account is not yours to see")
    _statuses(filters.get("status", ""))
    if filters.get("cache", "yes") not in CACHES or ("meta" in filters and "=" not in filters["meta"]):
        raise Bad("cache is yes or no, meta is key=value")
    since, until, step, period = _span(asked, zone, now)
    return View(
        path=path,
        query=asked,
        since=since,
        until=until,
        now=now,
        step=step,
        period=period,
        tz=zone,
        compare=asked.get("compare", "previous") if asked.get("compare", "previous") in COMPARISONS else "previous",
        currency=asked.get("currency", "USD"),
        account=account or filters.pop("account", ""),
        filters={name: value for name, value in filters.items() if name != "account"},
    )


def _span(asked: Mapping[str, str], zone: ZoneInfo, now: datetime) -> tuple[datetime, datetime, int, str]:
    """(since, until, step, name of the period), both ends on the edge of a bucket."""
    if "from" not in asked:
        period = asked.get("period", DEFAULT_PERIOD)
        if period not in PERIODS:
            raise Bad(f"period is one of {', '.join(PERIODS)}")
        length, step = PERIODS[period]
        until = _edge(now, step, zone, up=True)
        if step >= 86400:
            local = until.astimezone(zone).replace(tzinfo=None) - timedelta(seconds=length)
            return local.replace(tzinfo=zone).astimezone(UTC), until, step, period
        return until - timedelta(seconds=length), until, step, period
    since, until = _moment(asked["from"], zone), _moment(asked.get("to") or now.isoformat(), zone)
    if since >= until:
        raise Bad("the period ends before it begins")
    if until - since > timedelta(days=_MOST_DAYS):
        raise Bad(f"a period has at most {_MOST_DAYS} days")
    seconds = (until - since).total_seconds()
    step = 900 if seconds <= 6 * 3600 else 3600 if seconds <= HOURLY_UP_TO else 86400
    while seconds / step > 110:  # all that a plot can show
        step += 86400
    return _edge(since, step, zone, up=False), _edge(until, step, zone, up=True), step, "custom"


def _edge(at: datetime, step: int, zone: ZoneInfo, *, up: bool) -> datetime:
    if step >= 86400:
        local = at.astimezone(zone)
        day = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        if up and day != local.replace(tzinfo=None):
            day += timedelta(days=1)
        return day.replace(tzinfo=zone).astimezone(UTC)
    offset = at.astimezone(zone).utcoffset() or timedelta()
    seconds = at.timestamp() + offset.total_seconds()
    rounded = (math.ceil if up else math.floor)(seconds / step) * step
    return datetime.fromtimestamp(rounded - offset.total_seconds(), UTC)


def _moment(text: str, zone: ZoneInfo) -> datetime:
    try:
        if text.isdecimal():
            return datetime.fromtimestamp(int(text), UTC)
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise Bad("from and to are times, as 2026-11-24T08:00") from None


def _zone(name: str) -> ZoneInfo:
    if name not in available_timezones():
        raise Bad("tz is no time zone, as Europe/Zurich")
    return ZoneInfo(name)


def _statuses(text: str) -> tuple[int, int]:
    """The range of statuses that a filter means; all of them for ""."""
    if not text:
        return 0, 999
    if text in STATUSES:
        return STATUSES[text]
    if text.isdecimal() and len(text) == 3:
        return int(text), int(text)
    raise Bad("status is ok, 2xx, 4xx, 5xx, interrupted or a number")
