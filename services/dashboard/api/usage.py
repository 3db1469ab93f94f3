"""Usage: requests, tokens and cost by up to three dimensions; and over time."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

from services.dashboard import app_context
from services.dashboard.api import formats, params
from services.dashboard.api.formats import Amount
from services.dashboard.api.operation import Operation, Parameter, choice, integer, of_view
from services.dashboard.currency import Currency
from services.dashboard.page_params import View
from services.dashboard.periods import BadParameter
from services.dashboard.queries import groups, joint_source, panels
from services.dashboard.queries.runner import QueryResult

MOST_ROWS = 10_000
SORTS = ("cost", "requests", "errors", "tokens", "input_tokens", "output_tokens", "hits", "unpriced", "saved")
FIGURES = (*SORTS, "estimated", "latency_mean")
SERIES_BY = ("provider", "model", "token", "account", "requester", "status", "outcome")
SERIES_MEASURES = ("cost", "requests", "errors", "tokens", "input_tokens", "output_tokens", "hits", "unpriced", "saved")
_MONEY = ("cost", "saved")


class Figures(msgspec.Struct, kw_only=True):
    """Sums over requests; amounts are null if no request has a known one."""

    requests: int
    errors: int
    hits: int
    input_tokens: int | None
    output_tokens: int | None
    tokens: int
    cost: Amount | None
    unpriced: int
    estimated: int
    saved: Amount | None
    latency_mean: float | None


class UsageRow(Figures, kw_only=True):
    """The figures of a group. `group`: the value of each dimension, "" for none."""

    group: dict[str, str]


class Usage(msgspec.Struct, kw_only=True):
    """Usage of a period.

    `groups`: their number, on all pages. `total`: over all of them.
    """

    since: datetime
    until: datetime
    tz: str
    currency: str
    group_by: list[str]
    groups: int
    rows: list[UsageRow]
    total: Figures


class Series(msgspec.Struct, kw_only=True):
    """A value per bucket. `is_rest`: all names beyond the eight largest."""

    name: str
    is_rest: bool
    values: list[Amount | float | None]


class SeriesRow(msgspec.Struct, kw_only=True):
    """The value of a bucket."""

    bucket: datetime
    name: str
    is_rest: bool
    value: Amount | float | None


class SeriesDocument(msgspec.Struct, kw_only=True):
    """A measure over time.

    `step`: seconds of a bucket; local days have 23 to 25 hours.
    """

    since: datetime
    until: datetime
    tz: str
    currency: str
    measure: str
    by: str
    step: int
    buckets: list[datetime]
    series: list[Series]


async def usage(request: web.Request) -> web.Response:
    """Return usage by group, and in total."""
    view = await params.view(request)
    of_explore = ",".join(request.query.get(name, "") for name in ("rows", "columns"))
    names = [name for name in (request.query.get("group_by") or of_explore).split(",") if name]
    try:
        chosen = groups.dimensions(names, view)
    except BadParameter as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    limit = params.number(request, "limit", 1000)
    offset = (params.number(request, "page", 1) - 1) * limit
    runner = app_context.runner(request)
    days = await joint_source.summed_days(runner) if groups.need_days(chosen, view) else None
    grouped = groups.query(
        view, days, chosen, FIGURES, ordered=request.query.get("sort") or "cost", limit=limit, offset=offset
    )
    queries = {"sums": panels.sums(view, *FIGURES)} | ({"groups": grouped} if chosen else {})
    results = await runner.run_all(queries)
    if reason := next((result.failure for result in results.values() if result.failure), ""):
        raise params.failed(reason)
    money = app_context.chosen_currency(request)
    total = _figures(panels.compared(results["sums"]).total() or _NOTHING, money)
    rows = [
        UsageRow(group=groups.values(row, chosen, view), **_figures(row, money))
        for row in (results["groups"].rows if chosen else [])
    ]
    if not chosen:
        rows = [UsageRow(group={}, **total)]
    document = Usage(
        **_head(view, money),
        group_by=names,
        groups=results["groups"].row.get("groups", 0) if chosen else 1,
        rows=rows,
        total=Figures(**total),
    )
    return formats.respond(request, document, rows)


async def series(request: web.Request) -> web.Response:
    """Return a measure over time, in total or by the eight largest names."""
    view = await params.view(request)
    by = request.query.get("by", "")
    measure = request.query.get("measure") or "cost"
    runner = app_context.runner(request)
    query = panels.series_by(view, by, measure) if by else panels.sums(view, measure)
    result = await runner.run(query)
    if result.failure:
        raise params.failed(result.failure)
    money = app_context.chosen_currency(request)
    buckets = [at.astimezone(view.tz) for at in view.period.buckets()]
    lines = _by_name(result, measure, money) if by else {("", False): _in_total(result, measure, money)}
    found = [
        Series(name=name, is_rest=is_rest, values=[values.get(slot) for slot in range(len(buckets))])
        for (name, is_rest), values in lines.items()
    ]
    rows = [
        SeriesRow(bucket=bucket, name=one.name, is_rest=one.is_rest, value=value)
        for one in found
        for bucket, value in zip(buckets, one.values, strict=True)
    ]
    head = _head(view, money)
    document = SeriesDocument(**head, measure=measure, by=by, step=view.step, buckets=buckets, series=found)
    return formats.respond(request, document, rows)


def _by_name(result: QueryResult, measure: str, money: Currency) -> dict[tuple[str, bool], dict[int, Any]]:
    lines: dict[tuple[str, bool], dict[int, Any]] = {}
    for row in result.rows:
        lines.setdefault((row["key"], bool(row["rest"])), {})[row["slot"]] = _value(measure, row["amounts"], money)
    return lines


def _in_total(result: QueryResult, measure: str, money: Currency) -> dict[int, Any]:
    return {row["slot"]: _value(measure, row[measure], money) for row in panels.compared(result).buckets().rows}


def _head(view: View, money: Currency) -> dict[str, Any]:
    return {
        "since": view.since.astimezone(view.tz),
        "until": view.until.astimezone(view.tz),
        "tz": view.tz.key,
        "currency": money.code,
    }


def _figures(row: Mapping[str, Any], money: Currency) -> dict[str, Any]:
    return {name: _value(name, row[name], money) for name in Figures.__struct_fields__}


def _value(name: str, value: Any, money: Currency) -> Any:
    """Return a figure as in JSON: amounts in the currency, as text; means rounded; null for unknown."""
    if name in _MONEY:
        return formats.amount(money.amount(value))
    return formats.known(value)


_NOTHING: Mapping[str, Any] = dict.fromkeys(Figures.__struct_fields__) | dict.fromkeys(
    ("requests", "errors", "hits", "tokens", "unpriced", "estimated"), 0
)
_DIMENSIONS = f"{', '.join(groups.DIMENSIONS)} or {groups.METADATA}KEY"
OPERATIONS = (
    Operation(
        method="GET",
        path="/usage",
        handler=usage,
        summary="Sum up requests, tokens and cost",
        description="Groups are in order of time, if it is a dimension, then the largest first.",
        response=Usage,
        row=UsageRow,
        parameters=of_view(
            Parameter("group_by", f"Up to three dimensions, comma-separated: {_DIMENSIONS}."),
            Parameter("rows", "A dimension, as in the URL of the page Explore; if group_by is not stated."),
            Parameter("columns", "A second dimension, likewise."),
            choice("sort", "Measure that the groups are sorted by, largest first.", SORTS, default="cost"),
            integer("limit", "Groups per page.", low=1, high=MOST_ROWS, default=1000),
            integer("page", "Number of the page.", low=1, high=100_000, default=1),
        ),
    ),
    Operation(
        method="GET",
        path="/series",
        handler=series,
        summary="Return a measure over time",
        description="Buckets are those of the pages: quarters of an hour, hours or local days.",
        response=SeriesDocument,
        row=SeriesRow,
        parameters=of_view(
            choice("by", "One series for each of the eight largest of these, and one for the others.", SERIES_BY),
            choice("measure", "What to sum up.", SERIES_MEASURES, default="cost"),
        ),
    ),
)
