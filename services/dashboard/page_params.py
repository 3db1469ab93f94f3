"""Parameters of a page's URL: period, time zone, currency and filters.

All state of a page is in its URL: reload, Back, shared links and exports see the same.
"""

import math
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web

from services.dashboard import app_context, filter_params, periods
from services.dashboard.app_context import APP_CONTEXT
from services.dashboard.filter_params import ABSENT, EXCLUDABLE, FAILURES, FILTERS, NAMES, UNNAMED
from services.dashboard.periods import BadParameter, Period
from services.dashboard.queries.runner import Query
from shared.limits import periods as limit_periods

COMPARISONS = {"previous": "vs previous", "week": "vs last week", "none": "No comparison"}
# In a list, and the request that is open; dropped from links that change the list.
POSITIONS = ("after", "before", "page", "request", "arrived")
SORT = "sort"  # how the tables of a page are sorted; other pages have other columns
ALL = "all"  # the table of a page that lists all of its rows
BETWEEN_SERIES = "\t"  # separates the names of hidden series in the parameter `hide`


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What a page shows. `query`: the parameters of the URL, without defaults.

    Of a filter with several values, `query` and `filters` have the first one, `further` the others.
    """

    path: str
    query: dict[str, str]
    period: Period
    compare: str
    currency: str
    account: str  # "" for all, if the user may see all
    filters: dict[str, str]  # set filters but account; "" selects rows without a value
    further: dict[str, tuple[str, ...]] = {}
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
    def excluded(self) -> frozenset[str]:
        """Names of the filters that exclude what they name."""
        return frozenset(name for name in filter_params.names(self.query, "exclude") if name in self.filters)

    @property
    def has_requester(self) -> bool:
        """Whether the view is filtered by one requester."""
        return "requester" in self.filters and not {"requester"} & (self.excluded | self.further.keys())

    def values(self, name: str) -> tuple[str, ...]:
        """Return all values of a filter; () if it is not set."""
        return (self.filters[name], *self.further.get(name, ())) if name in self.filters else ()

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
        """Return the URL with `changes` ("" or None removes one), without positions.

        Another page does not get the sort order of this one.
        """
        query = {name: value for name, value in self.query.items() if name not in POSITIONS}
        if path and _section(path) != _section(self.path):
            query.pop(SORT, None)
            query.pop(ALL, None)
        if "exclude" not in changes:  # a value that is set anew is selected
            query["exclude"] = ",".join(sorted(self.excluded - changes.keys()))
        if "period" in changes:
            query.pop("from", None)
            query.pop("to", None)
        for name, value in changes.items():
            query[name] = str(value or "")
        query = {name: value for name, value in query.items() if value}
        pairs = [*query.items(), *self._further_pairs(changes)]
        return (path or self.path) + (f"?{urlencode(pairs)}" if pairs else "")

    def without_value(self, name: str, value: str) -> str:
        """Return the URL without one of several values of a filter."""
        left = [one for one in self.values(name) if one != value]
        others = msgspec.structs.replace(self, further=self.further | {name: tuple(left[1:])})
        others = msgspec.structs.replace(others, query=self.query | {name: left[0] if left else ""})
        return others.url()

    def excluding(self, name: str) -> str:
        """Return the URL where a filter excludes what it selects, or the other way round."""
        return self.url(exclude=",".join(sorted(self.excluded ^ {name})))

    def only(self, name: str, value: str, path: str = "", **more: str) -> str:
        """Return the URL filtered by one value; by rows without one for ""."""
        without = set(filter_params.names(self.query, "without")) - {name}
        if not value and name in UNNAMED:
            without.add(name)
        return self.url(path, **{name: value, "without": ",".join(sorted(without)), **more})

    def cleared(self, path: str = "") -> str:
        """Return the URL without filters and search."""
        return self.url(path, **dict.fromkeys((*FILTERS, "without", "exclude", "q"), ""))

    def hidden(self, *without: str) -> list[tuple[str, str]]:
        """Return the parameters to keep in a form that sets those of `without`."""
        kept = [(name, value) for name, value in self.query.items() if name not in {*without, *POSITIONS}]
        return kept + self._further_pairs(without)

    def _further_pairs(self, without: Collection[str]) -> list[tuple[str, str]]:
        return [(name, value) for name, values in self.further.items() if name not in without for value in values]

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the view's queries."""
        low, high = filter_params.status_range(self.filters.get("status", ""))
        key, _, value = self.filters.get("meta", "").partition("=")
        if key.startswith(ABSENT):
            key, value = self.filters["meta"], ""
        return {
            "since": self.since,
            "until": self.until,
            "tz": self.tz.key,
            "step": self.step,
            "account": self.account,
            **{name: list(self.values(name)) or [""] for name in NAMES},
            **{f"any_{name}": int(name not in self.filters) for name in NAMES},
            **{f"not_{name}": int(name in self.excluded) for name in EXCLUDABLE},
            "status_from": low,
            "status_to": high,
            "failed": int(FAILURES.get(self.filters.get("status", ""), False)),
            "any_failed": int(self.filters.get("status") not in FAILURES),
            "cache": self.filters.get("cache", ""),
            "cost": self.filters.get("cost", ""),
            "meta_key": key.removeprefix(ABSENT),
            "meta_value": value,
            "meta_absent": int(key.startswith(ABSENT)),
            **{name: self.filters.get(name, "") for name in ("billing", "source")},
            "min_cost": f"{filter_params.minimum(self.filters, 'min_cost'):f}",
            "min_tokens": int(filter_params.minimum(self.filters, "min_tokens")),
            "min_latency_ms": math.ceil(filter_params.minimum(self.filters, "min_latency") * 1000),
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
    """Parse a URL's query, a MultiDict if a name may come twice. Raises BadParameter.

    `account`: the only visible one, or "".
    """
    params = {name: value for name, value in query.items() if value}
    further = filter_params.further_values(query, params)
    zone = _zone(params.get("tz", tz))
    filters = filter_params.read(params, further)
    params["exclude"] = ",".join(
        name for name in EXCLUDABLE if name in filter_params.names(params, "exclude") and name in filters
    )
    params = {name: value for name, value in params.items() if value}
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
        further={name: values for name, values in further.items() if filters[name]},
    )


def parse_request(request: web.Request, query: Mapping[str, str] | None = None) -> View:
    """Parse a request's URL, or its path with these parameters; 400 if it is invalid."""
    context = request.app[APP_CONTEXT]
    user = app_context.user(request)
    try:
        return parse(
            request.path,
            request.query if query is None else query,
            now=context.clock(),
            account=user.account,
            tz=user.tz,
            currency=user.currency,
            currencies=context.currencies,
        )
    except BadParameter as error:
        raise web.HTTPBadRequest(text=str(error)) from None


async def parse_params(request: web.Request, query: Mapping[str, str] | None = None) -> View:
    """Parse likewise, and read the rollup's state."""
    view = parse_request(request, query)
    rollup = (await app_context.runner(request).run(Query("dashboard_settled", {}))).row
    return msgspec.structs.replace(view, touched=rollup["touched"]) if rollup.get("narrow") else view


def _section(path: str) -> str:
    """Return the first segment of a path: a page and what belongs to it."""
    return path.strip("/").partition("/")[0]


def _zone(name: str) -> ZoneInfo:
    try:
        return limit_periods.zone(name)
    except ValueError:
        raise BadParameter("Unknown time zone. Use e.g. Europe/Zurich.") from None
