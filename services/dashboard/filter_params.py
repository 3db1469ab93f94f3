"""Filters of requests in a URL: their names and values, and reading them."""

import re
from collections.abc import Collection, Mapping
from decimal import Decimal

from services.dashboard.periods import BadParameter
from shared.events import CLIENT_CLOSED, COMPLETE, INTERRUPTED, TIMEOUT, UPSTREAM_CLOSED, UPSTREAM_ERROR

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
    "endpoint",
    "connection",
    "source",
    "min_cost",
    "min_tokens",
    "min_latency",
)
UNNAMED = (
    "requester",
    "model",
    "token",
    "client",
    "agent",
    "session",
)  # filters that can select rows without a value: without=requester
NAMES = (
    "provider",
    "model",
    "requester",
    "token",
    "outcome",
    "client",
    "agent",
    "session",
    "endpoint",
    "connection",
)  # filters that may have several values, of which a request has one: model=a&model=b
EXCLUDABLE = (*NAMES, "meta")  # filters that can exclude what they name: exclude=model
MOST_VALUES = 50  # of a filter
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
SOURCES = {"gateway": "Through the gateway", "imported": "Imported"}
BILLINGS = {"usage": "Billed by usage", "subscription": "Subscription"}
COSTS = {"unknown": "Cost unknown", "estimated": "Cost estimated"}
MINIMUMS = {  # filters by size → what they mean, in an error message
    "min_cost": "US dollars above 0, such as 0.05",
    "min_tokens": "a whole number above 0, such as 50000",
    "min_latency": "seconds above 0, such as 2.5",
}
ABSENT = "!"  # before a key of metadata: requests without a value of it
_MAX_LENGTH = 600  # characters of a filter: a requester has 256 bytes, a pair of metadata twice that

_WHOLE = re.compile(r"[0-9]{1,12}")
_DECIMAL = re.compile(r"[0-9]{1,6}(\.[0-9]{1,12})?")


def further_values(query: Mapping[str, str], params: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Return all but the first value of each filter; `params` gets the first ones."""
    further = {}
    for name in NAMES:
        values = list(dict.fromkeys(value for given, value in query.items() if given == name and value))
        if len(values) > MOST_VALUES:
            raise BadParameter(f"{name} has more than {MOST_VALUES} values.")
        if len(values) > 1:
            params[name] = values[0]
            further[name] = tuple(values[1:])
    return further


def read(params: Mapping[str, str], further: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return the set filters; "" selects rows without a value. Raises BadParameter."""
    filters = {name: params[name] for name in FILTERS if name in params}
    for name, value in (*filters.items(), *((name, one) for name, values in further.items() for one in values)):
        if len(value) > _MAX_LENGTH:
            raise BadParameter(f"{name} is longer than {_MAX_LENGTH} characters.")
    without = names(params, "without")
    if not set(names(params, "exclude")) <= set(EXCLUDABLE):
        raise BadParameter(f"Invalid exclude. Use one or more of {','.join(EXCLUDABLE)}.")
    if not set(without) <= set(UNNAMED):
        raise BadParameter(f"Invalid without. Use one or more of {','.join(UNNAMED)}.")
    status_range(filters.get("status", ""))
    if not {filters.get("outcome", COMPLETE), *further.get("outcome", ())} <= set(OUTCOMES):
        raise BadParameter(f"Invalid outcome. Use {', '.join(OUTCOMES)}.")
    if filters.get("cache", "yes") not in CACHES:
        raise BadParameter("Invalid cache filter. Use yes or no.")
    if filters.get("cost", "unknown") not in COSTS:
        raise BadParameter("Invalid cost filter. Use unknown or estimated.")
    if filters.get("billing", "usage") not in BILLINGS:
        raise BadParameter("Invalid billing filter. Use usage or subscription.")
    if filters.get("source", "gateway") not in SOURCES:
        raise BadParameter("Invalid source filter. Use gateway or imported.")
    if "meta" in filters and not filters["meta"].removeprefix(ABSENT).partition("=")[0]:
        raise BadParameter("Invalid metadata filter. Use key=value, or !key for requests without it.")
    for name in MINIMUMS:
        minimum(filters, name)
    return filters | dict.fromkeys(without, "")


def names(params: Mapping[str, str], name: str) -> list[str]:
    """Return the names in a parameter that separates them by commas."""
    return [one for one in params.get(name, "").split(",") if one]


def minimum(filters: Mapping[str, str], name: str) -> Decimal:
    """Return the value of a filter by size; 0 if it is not set."""
    text = filters.get(name, "")
    if not text:
        return Decimal(0)
    shape = _WHOLE if name == "min_tokens" else _DECIMAL
    if not shape.fullmatch(text) or not Decimal(text):
        raise BadParameter(f"Invalid {name}. Use {MINIMUMS[name]}.")
    return Decimal(text)


def status_range(text: str) -> tuple[int, int]:
    """Return the range of statuses of a filter; all for ""."""
    if not text:
        return 0, 999
    if text in STATUSES:
        return STATUSES[text]
    if text.isdecimal() and text.isascii() and len(text) == 3:
        return int(text), int(text)
    raise BadParameter("Invalid status. Use failed, ok, 2xx, 4xx, 5xx, interrupted or a number.")
