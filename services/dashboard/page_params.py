"""Parameters of a page's URL: period, time zone, currency and filters.

All state of a page is in its URL: reload, Back, shared links and exports see the same.
"""

import functools
import math
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from aiohttp import web

from services.dashboard import app_context, periods
from services.dashboard.app_context import APP_CONTEXT
from services.dashboard.periods import BadParameter, Period
from services.dashboard.queries.runner import Query
from shared.events import CLIENT_CLOSED, COMPLETE, INTERRUPTED, TIMEOUT, UPSTREAM_CLOSED, UPSTREAM_ERROR

COMPARISONS = {"previous": "vs previous", "week": "vs last week", "none": "No comparison"}
FILTERS = (
    "account",
    "provider",
    "model",
    "requester",
    "token",
    "status",
    "outcome",
    "cache",
    "cost",
    "meta",
    "client",
    "agent",
    "session",
    "billing",
)
UNNAMED = ("requester", "model", "token")  # filters that can select rows without a value: without=requester
STATUSES = {
    "failed": (0, 999),
    "ok": (200, 399),
    "2xx": (200, 299),
    "4xx": (400, 499),
    "5xx": (500, 599),
    "interrupted": (0, 0),
}
FAILURES = {"failed": True, "ok": False}  # statuses that say whether a request failed: a 200 may break off
OUTCOMES = (COMPLETE, CLIENT_CLOSED, UPSTREAM_CLOSED, UPSTREAM_ERROR, TIMEOUT, INTERRUPTED)
CACHES = {"yes": "Cached", "no": "Not cached"}
BILLINGS = {"usage": "Billed by usage", "subscription": "Subscription"}
COSTS = {"unknown": "Cost unknown", "estimated": "Cost estimated"}
# In a list, and the request that is open; dropped from links that change the list.
POSITIONS = ("after", "before", "page", "request", "arrived")
BETWEEN_SERIES = "\t"  # separates the names of hidden series in the parameter `hide`
_MAX_LENGTH = 600  # characters of a filter: a requester has 256 bytes, a pair of metadata twice that


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What a page shows. `query`: the parameters of the URL, without defaults."""

    path: str
    query: dict[str, str]
    period: Period
    compare: str
    currency: str
    account: str  # "" for all, if the user may see all
    filters: dict[str, str]  # set filters but account; "" selects rows without a value
    touched: list[datetime] | None = None  # quarter hours to read from requests; None: narrow sums cannot be used

    @property
    def since(self) -> datetime:
        """Start of the period, aware UTC."""
        return self.period.since

    @property
    def until(self) -> datetime:
        """End of the period (excluded), aware UTC."""
        return self.period.until

    @property
    def tz(self) -> ZoneInfo:
        """Time zone of the user."""
        return self.period.tz

    @property
    def step(self) -> int:
        """Length of a bucket in seconds; local days may have 23 to 25 hours."""
        return self.period.step

    @property
    def live(self) -> bool:
        """Whether the period reaches the present, so that its data change."""
        return self.period.live

    @property
    def span(self) -> tuple[Any, ...]:
        """A cache key of the period: its name, or its start and end."""
        return (self.period.name,) if self.period.name in periods.PERIODS else (self.since, self.until)

    @property
    def hidden_series(self) -> frozenset[str]:
        """Names of the series hidden by a click on the legend."""
        return frozenset(filter(None, self.query.get("hide", "").split(BETWEEN_SERIES)))

    @property
    def conditions(self) -> frozenset[str]:
        """Names of the conditions on requests: the set filters but account.

        `failed`: whether a request failed counts, too.
        """
        return frozenset(self.filters) | ({"failed"} if self.filters.get("status") in FAILURES else set())

    @property
    def has_requester(self) -> bool:
        """Whether the view is filtered by requester."""
        return "requester" in self.filters

    def earlier(self, part: Period) -> Period | None:
        """Return a part of this period moved to the compared one; None without one."""
        length = self.until - self.since
        if self.compare == "none":
            return None
        if self.compare == "week":
            return part.moved(-timedelta(days=7 * max(1, math.ceil(length / timedelta(days=7)))), on_clock=True)
        if self.period.name in periods.CALENDAR:
            return self.period.calendar_before(part)
        days = self.period.days if self.period.daily else 0
        return part.moved(-timedelta(days=days) if days else -length, on_clock=bool(days))

    def url(self, path: str = "", **changes: str | int | None) -> str:
        """Return the URL with `changes` ("" or None removes one), without positions."""
        query = {name: value for name, value in self.query.items() if name not in POSITIONS}
        if "period" in changes:
            query.pop("from", None)
            query.pop("to", None)
        for name, value in changes.items():
            query[name] = str(value or "")
        query = {name: value for name, value in query.items() if value}
        return (path or self.path) + (f"?{urlencode(query)}" if query else "")

    def only(self, name: str, value: str, path: str = "", **more: str) -> str:
        """Return the URL filtered by one value; by rows without one for ""."""
        without = {one for one in self.query.get("without", "").split(",") if one} - {name}
        if not value and name in UNNAMED:
            without.add(name)
        return self.url(path, **{name: value, "without": ",".join(sorted(without)), **more})

    def cleared(self, path: str = "") -> str:
        """Return the URL without filters and search."""
        return self.url(path, **dict.fromkeys((*FILTERS, "without", "q"), ""))

    def hidden(self, *without: str) -> list[tuple[str, str]]:
        """Return the parameters to keep in a form that sets those of `without`."""
        return [(name, value) for name, value in self.query.items() if name not in {*without, *POSITIONS}]

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the view's queries."""
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
            "failed": int(FAILURES.get(self.filters.get("status", ""), False)),
            "any_failed": int(self.filters.get("status") not in FAILURES),
            "outcome": self.filters.get("outcome", ""),
            "cache": self.filters.get("cache", ""),
            "cost": self.filters.get("cost", ""),
            "meta_key": key,
            "meta_value": value,
            **{name: self.filters.get(name, "") for name in ("client", "agent", "session", "billing")},
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
    """Parse a URL; `account`: the only visible one, or "". Raises BadParameter."""
    params = {name: value for name, value in query.items() if value}
    zone = _zone(params.get("tz", tz))
    filters = _filters(params)
    if account and filters.get("account", account) != account:
        raise BadParameter("You don't have access to this account.")
    currency = params.get("currency", currency if currency in currencies else "USD")
    if currency not in currencies:
        raise BadParameter(f"Unknown currency. Use {' or '.join(currencies)}.")
    compare = params.get("compare", "previous")
    if compare not in COMPARISONS:
        raise BadParameter(f"Invalid comparison. Use {', '.join(COMPARISONS)}.")
    return View(
        path=path,
        query=params,
        period=periods.parse(params, zone, now=now),
        compare=compare,
        currency=currency,
        account=account or filters.get("account", ""),
        filters={name: value for name, value in filters.items() if name != "account"},
    )


async def parse_params(request: web.Request) -> View:
    """Parse a request's URL and read the rollup's state; 400 if it is invalid."""
    context = request.app[APP_CONTEXT]
    user = app_context.user(request)
    try:
        view = parse(
            request.path,
            request.query,
            now=context.clock(),
            account=user.account,
            tz=user.tz,
            currency=user.currency,
            currencies=context.currencies,
        )
    except BadParameter as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    rollup = (await context.runner.run(Query("dashboard_settled", {}))).row
    return msgspec.structs.replace(view, touched=rollup["touched"]) if rollup.get("narrow") else view


def _filters(params: Mapping[str, str]) -> dict[str, str]:
    filters = {name: params[name] for name in FILTERS if name in params}
    for name, value in filters.items():
        if len(value) > _MAX_LENGTH:
            raise BadParameter(f"{name} is longer than {_MAX_LENGTH} characters.")
    without = [name for name in params.get("without", "").split(",") if name]
    if not set(without) <= set(UNNAMED):
        raise BadParameter(f"Invalid without. Use one or more of {','.join(UNNAMED)}.")
    _statuses(filters.get("status", ""))
    if filters.get("outcome", COMPLETE) not in OUTCOMES:
        raise BadParameter(f"Invalid outcome. Use {', '.join(OUTCOMES)}.")
    if filters.get("cache", "yes") not in CACHES:
        raise BadParameter("Invalid cache filter. Use yes or no.")
    if filters.get("cost", "unknown") not in COSTS:
        raise BadParameter("Invalid cost filter. Use unknown or estimated.")
    if filters.get("billing", "usage") not in BILLINGS:
        raise BadParameter("Invalid billing filter. Use usage or subscription.")
    if "meta" in filters and not filters["meta"].partition("=")[0]:
        raise BadParameter("Invalid metadata filter. Use key=value.")
    return filters | dict.fromkeys(without, "")


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _zone(name: str) -> ZoneInfo:
    if name not in _zones():
        raise BadParameter("Unknown time zone. Use e.g. Europe/Zurich.")
    return ZoneInfo(name)


def _statuses(text: str) -> tuple[int, int]:
    """Return the range of statuses of a filter; all for ""."""
    if not text:
        return 0, 999
    if text in STATUSES:
        return STATUSES[text]
    if text.isdecimal() and text.isascii() and len(text) == 3:
        return int(text), int(text)
    raise BadParameter("Invalid status. Use failed, ok, 2xx, 4xx, 5xx, interrupted or a number.")
