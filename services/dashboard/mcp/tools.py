"""Tools for assistants: reading operations of the API, described for them.

Arguments are the parameters of the operation, which checks them; so a tool needs no code of its own.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from services.dashboard.api import table
from services.dashboard.api.operation import ROOT, Operation

MOST_ROWS = 200  # of an answer: an assistant has to read them all
_MOST_CHARACTERS = 1000  # of an argument
INSTRUCTIONS = """Metrion records every request that applications make to LLM providers: who made it, tokens, cost, \
latency, errors. All tools only read.
To answer "who spent most last week, and why": top_spenders for that week, then cost_changes for the same period, \
whose parts say whether volume, mix of models, tokens per request or price moved the cost; then usage with \
group_by=model or list_requests, filtered by that requester.
State the period as `period`, or exactly as `from` and `to` (dates in `tz`). Amounts are exact decimals as text. \
An unknown cost is null, and counted as `unpriced`: it is not zero. "" in a group means that requests name none."""


class BadArguments(ValueError):
    """Arguments that no request can be made of; the message says what to correct."""


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool over an operation. `defaults`: its arguments, where they differ."""

    name: str
    path: str
    description: str
    defaults: Mapping[str, str] = MappingProxyType({})
    hidden: tuple[str, ...] = ()  # parameters that assistants have no use for

    @property
    def operation(self) -> Operation:
        """The operation that answers."""
        return _OPERATIONS[self.path]

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments."""
        properties = {}
        for parameter in self.operation.parameters:
            if parameter.is_documented and parameter.name not in self.hidden:
                found = {**parameter.schema, "description": parameter.description}
                if parameter.name in self.defaults:
                    default = self.defaults[parameter.name]
                    found["default"] = int(default) if found["type"] == "integer" else default
                if parameter.name == "limit":
                    found["maximum"] = min(found["maximum"], MOST_ROWS)
                properties[parameter.name] = found
        required = list(self.operation.names_in_path)
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    def url(self, arguments: Mapping[str, Any]) -> str:
        """Return path and query of the request; may raise BadArguments."""
        known = self.schema["properties"]
        several = [name for name in arguments if known.get(name, {}).get("type") == "array"]
        given: dict[str, Any] = {
            name: _texts(name, value) if name in several else _text(name, value)
            for name, value in arguments.items()
            if value is not None
        }
        if unknown := sorted(given.keys() - known.keys()):
            raise BadArguments(f"Unknown argument {unknown[0]!r}. Valid are: {', '.join(known)}.")
        if given.get("limit", "").isdecimal() and int(given["limit"][:9]) > MOST_ROWS:
            raise BadArguments(f"limit is at most {MOST_ROWS} here. Narrow the period or filter instead.")
        path = ROOT + self.path
        for name in self.operation.names_in_path:
            if not given.get(name):
                raise BadArguments(f"The argument {name} is missing.")
            if given[name] in (".", ".."):  # clients would resolve it
                raise BadArguments(f"{name} {given[name]!r} not found.")
            path = path.replace(f"{{{name}}}", quote(given.pop(name), safe=""))
        return f"{path}?{urlencode({**self.defaults, **given}, doseq=True)}"


def _texts(name: str, value: Any) -> list[str]:
    """Return an argument of several values, or of one."""
    return [_text(name, one) for one in (value if isinstance(value, list) else [value])]


def _text(name: str, value: Any) -> str:
    """Return an argument as in a query."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadArguments(f"{name} is a text or a number, not {value!r:.80}.")
    text = str(value)
    if len(text) > _MOST_CHARACTERS:
        raise BadArguments(f"{name} is longer than {_MOST_CHARACTERS} characters.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadArguments(f"{name} is not valid Unicode.") from None
    return text


_OPERATIONS = {one.path: one for one in table.OPERATIONS if one.method == "GET"}
_LIST = {"limit": "50"}
TOOLS = {
    one.name: one
    for one in (
        Tool(
            name="top_spenders",
            path="/usage",
            description="Who spent most: requests, tokens and cost of the requesters (users, bots, workflows) with the "
            "largest cost, and the total. Set group_by for other spenders: account, token, agent, client, or "
            "meta:KEY such as meta:team.",
            defaults={"group_by": "requester", "limit": "20"},
            hidden=("rows", "columns", "page", "sort"),
        ),
        Tool(
            name="usage",
            path="/usage",
            description="Sums of requests, errors, cache hits, tokens and cost, in total and by up to three dimensions "
            "such as model, provider, requester, day.",
            defaults=_LIST,
            hidden=("rows", "columns"),
        ),
        Tool(
            name="cost_changes",
            path="/changes",
            description="Why the cost changed from the previous period: the change split into volume, mix of models, "
            "tokens per request and price, and the requesters and models that moved it most, up or down.",
        ),
        Tool(
            name="usage_over_time",
            path="/series",
            description="Cost, requests, errors or tokens per hour or day, in total or for the eight largest models, "
            "requesters and so on: trends, peaks, when something began.",
        ),
        Tool(
            name="list_requests",
            path="/requests",
            description="Single requests, newest first, with requester, model, status, tokens, cost and latency; for "
            "the most expensive ones set min_cost. Never contains prompts or responses.",
            defaults={"limit": "20"},
        ),
        Tool(
            name="get_request",
            path="/requests/{id}",
            description="One request by its ID (response header x-metrion-request-id) with its cost by class of token, "
            "the unit prices, and what the provider reported.",
            hidden=("wait",),
        ),
        Tool(
            name="errors",
            path="/errors",
            description="Failed requests by provider, status and type of error: how many, of how many requesters, and "
            "when last.",
        ),
        Tool(
            name="latency",
            path="/latency",
            description="Mean and percentiles (p50, p95, p99) of latency and of the time to first byte, in "
            "milliseconds, in total or by provider, model, token, account or requester.",
        ),
        Tool(
            name="prices",
            path="/prices",
            description="The unit prices in US dollars by which requests were billed, and the models whose price is "
            "unknown.",
        ),
        Tool(
            name="completeness",
            path="/completeness",
            description="Whether every request that gateways have handled is stored, so that figures are complete.",
        ),
    )
}
