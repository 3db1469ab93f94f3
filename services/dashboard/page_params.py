"""A query string goes in: period, zone, filters; links that change one of them, and parameters of questions, come out.

All state of a page lives in its address: reload, Back, a shared link and an export see the same thing.
"""

import functools
import math
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from services.dashboard import periods
from services.dashboard.periods import Bad, Period

COMPARISONS = {"previous": "vs previous", "week": "vs last week", "none": "No comparison"}
FILTERS = ("account", "provider", "model", "requester", "token", "status", "cache", "cost", "meta")
UNNAMED = ("requester", "model", "token")  # filters that can ask for rows without: without=requester
STATUSES = {"ok": (200, 399), "2xx": (200, 299), "4xx": (400, 499), "5xx": (500, 599), "interrupted": (0, 0)}
CACHES = {"yes": "Cached", "no": "Not cached"}
COSTS = {"unknown": "Cost unknown", "estimated": "Cost estimated"}
PLACES = ("after", "before", "page")  # where on a list: never survives a change of what is listed
BETWEEN_SERIES = "\t"  # in the parameter `hide`: the series that charts leave out
_LONGEST = 600  # characters of a filter: a requester has 256 bytes, a pair of metadata twice that


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What a page shows. `query` is what the address says, without defaults."""

    path: str
    query: dict[str, str]
    period: Period
    compare: str
    currency: str
    account: str  # whose rows; "" for all, which only those may see who may see all
    filters: dict[str, str]  # of FILTERS less account, those that are set; "" asks for rows without
    touched: list[datetime] | None = None  # quarters of which requests are to be read; None: no narrower sums

    @property
    def since(self) -> datetime:
        """Start, aware UTC."""
        return self.period.since

    @property
    def until(self) -> datetime:
        """End, excluded, aware UTC."""
        return self.period.until

    @property
    def tz(self) -> ZoneInfo:
        """The viewer's zone."""
        return self.period.tz

    @property
    def step(self) -> int:
        """Seconds of a bucket; whole days are days of the zone, of 23 to 25 hours."""
        return self.period.step

    @property
    def live(self) -> bool:
        """The period reaches the present, so it changes."""
        return self.period.live

    @property
    def span(self) -> tuple[Any, ...]:
        """What tells the period from others, the present aside: its name, or its edges."""
        return (self.period.name,) if self.period.name != "custom" else (self.since, self.until)

    @property
    def hidden_series(self) -> frozenset[str]:
        """Names of series that the reader has switched off in the legends."""
        return frozenset(filter(None, self.query.get("hide", "").split(BETWEEN_SERIES)))

    @property
    def asks_who(self) -> bool:
        """Rows of certain requesters are asked for."""
        return "requester" in self.filters

    def earlier(self, part: Period) -> Period | None:
        """A part of this period, moved into the one to compare with: days by the clock; None for no comparison."""
        length = self.until - self.since
        if self.compare == "none":
            return None
        if self.compare == "week":
            return part.moved(-timedelta(days=7 * max(1, math.ceil(length / timedelta(days=7)))), on_clock=True)
        back = timedelta(days=self.period.days) if self.period.daily else length
        return part.moved(-back, on_clock=self.period.daily)

    def url(self, path: str = "", **changes: str | int | None) -> str:
        """An address that differs in `changes`; None or "" takes a part out. A place on a list never survives."""
        query = {name: value for name, value in self.query.items() if name not in PLACES}
        if "period" in changes:
            query.pop("from", None)
            query.pop("to", None)
        for name, value in changes.items():
            query[name] = str(value or "")
        query = {name: value for name, value in query.items() if value}
        return (path or self.path) + (f"?{urlencode(query)}" if query else "")

    def only(self, name: str, value: str, path: str = "", **more: str) -> str:
        """The address that narrows it to one requester, model, …; the empty name included."""
        without = {one for one in self.query.get("without", "").split(",") if one} - {name}
        if not value and name in UNNAMED:
            without.add(name)
        return self.url(path, **{name: value, "without": ",".join(sorted(without)), **more})

    def cleared(self, path: str = "") -> str:
        """The address without filters, and without what is searched for."""
        return self.url(path, **dict.fromkeys((*FILTERS, "without", "q"), ""))

    def hidden(self, *without: str) -> list[tuple[str, str]]:
        """What a form that sets `without` must carry along."""
        return [(name, value) for name, value in self.query.items() if name not in {*without, *PLACES}]

    def parameters(self) -> dict[str, Any]:
        """What the questions of the dashboard are asked with."""
        low, high = _statuses(self.filters.get("status", ""))
        key, _, value = self.filters.get("meta", "").partition("=")
        return {
            "since": self.since,
            "until": self.until,
            "tz": self.tz.key,
            "step": self.step,
            "account": self.account,
            "provider": self.filters.get("provider", ""),
            **{name: self.filters.get(name, "") for name in UNNAMED},
            **{f"any_{name}": int(name not in self.filters) for name in UNNAMED},
            "status_from": low,
            "status_to": high,
            "cache": self.filters.get("cache", ""),
            "cost": self.filters.get("cost", ""),
            "meta_key": key,
            "meta_value": value,
        }


def parse(
    path: str,
    query: Mapping[str, str],
    *,
    now: datetime,
    account: str = "",
    tz: str = "UTC",
    currency: str = "USD",
    currencies: Collection[str] = ("USD",),
) -> View:
    """The view of an address. `account`: the only one that may be seen, "" for all. Bad says what cannot be meant."""
    asked = {name: value for name, value in query.items() if value}
    zone = _zone(asked.get("tz", tz))
    filters = _filters(asked)
    if account and filters.get("account", account) != account:
        raise Bad("You don't have access to this account.")
    currency = asked.get("currency", currency if currency in currencies else "USD")
    if currency not in currencies:
        raise Bad(f"Unknown currency. Use {' or '.join(currencies)}.")
    compare = asked.get("compare", "previous")
    if compare not in COMPARISONS:
        raise Bad(f"Invalid comparison. Use {', '.join(COMPARISONS)}.")
    return View(
        path=path,
        query=asked,
        period=periods.parse(asked, zone, now=now),
        compare=compare,
        currency=currency,
        account=account or filters.get("account", ""),
        filters={name: value for name, value in filters.items() if name != "account"},
    )


def _filters(asked: Mapping[str, str]) -> dict[str, str]:
    found = {name: asked[name] for name in FILTERS if name in asked}
    for name, value in found.items():
        if len(value) > _LONGEST:
            raise Bad(f"{name} is longer than {_LONGEST} characters.")
    without = [name for name in asked.get("without", "").split(",") if name]
    if not set(without) <= set(UNNAMED):
        raise Bad(f"Invalid without. Use one or more of {','.join(UNNAMED)}.")
    _statuses(found.get("status", ""))
    if found.get("cache", "yes") not in CACHES:
        raise Bad("Invalid cache filter. Use yes or no.")
    if found.get("cost", "unknown") not in COSTS:
        raise Bad("Invalid cost filter. Use unknown or estimated.")
    if "meta" in found and not found["meta"].partition("=")[0]:
        raise Bad("Invalid metadata filter. Use key=value.")
    return found | dict.fromkeys(without, "")


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _zone(name: str) -> ZoneInfo:
    if name not in _zones():
        raise Bad("Unknown time zone. Use e.g. Europe/Zurich.")
    return ZoneInfo(name)


def _statuses(text: str) -> tuple[int, int]:
    """The range of statuses that a filter means; all of them for ""."""
    if not text:
        return 0, 999
    if text in STATUSES:
        return STATUSES[text]
    if text.isdecimal() and text.isascii() and len(text) == 3:
        return int(text), int(text)
    raise Bad("Invalid status. Use ok, 2xx, 4xx, 5xx, interrupted or a number.")
