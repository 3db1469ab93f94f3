"""Operations of the API: their routes, checks and description are built from them."""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from aiohttp import web

from services.dashboard import filter_params, periods

ROOT = "/api/v1"
_SUFFIX = r"{suffix:(?:\.json|\.ndjson|\.csv)?}"  # of operations whose rows have several formats
_NAMED = re.compile(r"\{(\w+)[:}]")

# Parameters of a page's address that do not concern the API: the address of a page works all the same.
OF_PAGES = (
    "hide", "sort", "page", "q", "after", "before", "request", "arrived", "of", "edit", "compare", "rows", "columns",
    "top", "by", "measure", "next", "show",
)  # fmt: skip


class Parameter(msgspec.Struct, frozen=True):
    """A parameter in the query, in the path, or a header. `schema`: JSON Schema."""

    name: str
    description: str
    schema: Mapping[str, Any] = MappingProxyType({"type": "string"})
    place: str = "query"
    is_documented: bool = True


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A route with its handler; `auth.routes.API_ROUTES` says who may use it."""

    method: str
    path: str  # behind ROOT
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    summary: str
    response: Any = None  # type of the JSON response; None: it has no body
    row: Any = None  # type of the lines in NDJSON and CSV; None: JSON only
    body: Any = None  # type of the JSON request body
    files: tuple[str, ...] = ()  # media types of a response that is a file
    status: int = 200
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[int, ...] = ()  # statuses, beside those that every operation may have
    tag: str = "Usage"

    @property
    def route(self) -> str:
        """The path as aiohttp matches it."""
        return ROOT + self.path + (_SUFFIX if self.row is not None else "")

    @property
    def name(self) -> str:
        """The route as in the table of permissions."""
        return f"{self.method} {ROOT}{self.path}{'{suffix}' if self.row is not None else ''}"

    @property
    def names_in_path(self) -> tuple[str, ...]:
        """Names of the parameters in the path."""
        return tuple(_NAMED.findall(self.path))


def integer(name: str, description: str, *, low: int, high: int, default: int) -> Parameter:
    """Declare a whole number."""
    return Parameter(name, description, {"type": "integer", "minimum": low, "maximum": high, "default": default})


def choice(name: str, description: str, choices: Collection[str], *, default: str = "") -> Parameter:
    """Declare a choice."""
    schema: dict[str, Any] = {"type": "string", "enum": list(choices)}
    return Parameter(name, description, schema | ({"default": default} if default else {}))


def several(name: str, description: str, choices: Collection[str] = ()) -> Parameter:
    """Declare a filter that may have several values: model=a&model=b."""
    items: dict[str, Any] = {"type": "string"} | ({"enum": list(choices)} if choices else {})
    schema = {"type": "array", "items": items, "maxItems": filter_params.MOST_VALUES}
    return Parameter(name, f"{description} Several values select requests with any of them.", schema)


_PERIOD = {"type": "string", "default": periods.DEFAULT}
_ZONE = {"type": "string", "examples": ["Europe/Zurich"]}
_MOMENT = {"type": "string", "examples": ["2026-11-24T08:00", "2026-11-24"]}
VIEW = (
    Parameter("period", f"{', '.join((*periods.PERIODS, *periods.CALENDAR))}; or `from` and `to`.", _PERIOD),
    Parameter(
        "from",
        "Start of the period: a date or time in `tz`, or seconds since 1970. It and `to` are widened to quarter hours.",
        _MOMENT,
    ),
    Parameter("to", "End of the period (excluded). Default: now.", _MOMENT),
    Parameter("tz", "Time zone of days and of times without an offset. Default: UTC.", _ZONE),
    Parameter("currency", "Currency of amounts, one with a rate in METRION_CURRENCY_RATES. Default: USD."),
    Parameter("without", f"Only requests without a value of: {', '.join(filter_params.UNNAMED)} (comma-separated)."),
    Parameter(
        "exclude",
        f"Filters that exclude what they name: {', '.join(filter_params.EXCLUDABLE)} (comma-separated). "
        "`model=a&exclude=model` is all but model a.",
    ),
    Parameter("account", "Only this account."),
    several("provider", "Only this provider."),
    several("model", "Only this model: the one that responded, else the one requested."),
    several("requester", "Only this requester (x-metrion-user)."),
    several("token", "Only the API token of this name."),
    Parameter("status", f"Only these statuses: {', '.join(filter_params.STATUSES)}, or a number such as 429."),
    several("outcome", "Only requests with this outcome.", filter_params.OUTCOMES),
    choice("cache", "Only cached responses, or only others.", filter_params.CACHES),
    choice("cost", "Only requests whose cost is unknown, or estimated.", filter_params.COSTS),
    Parameter("meta", "Only requests with this metadata: key=value; or without it: !key."),
    several("endpoint", "Only this endpoint, such as POST /v1/responses."),
    several("connection", "Only responses over the WebSocket connection of this ID."),
    several("client", "Only this client, such as claude-cli."),
    several("agent", "Only this agent."),
    several("session", "Only this session."),
    choice("billing", "Only requests billed by usage, or of a subscription.", filter_params.BILLINGS),
    choice("source", "Only requests through the gateway, or only imported ones.", filter_params.SOURCES),
    Parameter("min_cost", f"Only requests that cost at least this much: {filter_params.MINIMUMS['min_cost']}."),
    Parameter(
        "min_tokens",
        f"Only requests of at least this many tokens: {filter_params.MINIMUMS['min_tokens']}. "
        "A response from the cache has those that it saved.",
    ),
    Parameter("min_latency", f"Only requests that took at least this long: {filter_params.MINIMUMS['min_latency']}."),
)
IGNORED = tuple(Parameter(name, "Accepted from a page's URL and ignored.", is_documented=False) for name in OF_PAGES)


def of_view(*own: Parameter) -> tuple[Parameter, ...]:
    """Return the parameters of an operation over a page's view, `own` first."""
    names = {parameter.name for parameter in own}
    return (*own, *VIEW, *(one for one in IGNORED if one.name not in names))
