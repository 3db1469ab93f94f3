"""Logs page: the request list, its live tail, one request, and exports."""

import asyncio
import logging
import operator
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from markupsafe import Markup

from services.dashboard import (
    app_context,
    export_stream,
    filter_params,
    labels,
    log_columns,
    page_params,
    paging,
    render,
)
from services.dashboard.charts import panel_charts, svg
from services.dashboard.charts import series as charts_series
from services.dashboard.charts.figure import Series
from services.dashboard.page_params import View
from services.dashboard.periods import BadParameter
from services.dashboard.queries import export, log_pages, panels, request_lookup, sorted_logs
from services.dashboard.queries.log_pages import Key, Page
from services.dashboard.queries.runner import Query, QueryResult, QueryRunner

log = logging.getLogger(__name__)

PAGE_SECONDS = 5.0  # time limit of a page; then it says how far it searched
EXPORT_SECONDS = 300.0  # time limit of an export; then it is aborted
EXPORTS = web.AppKey("exports", list[web.Request])  # those in progress
_CONNECTION = timedelta(days=1)  # more than any WebSocket connection lasts
_SKEW = timedelta(seconds=10)  # between this clock and ClickHouse's
_OUTCOMES: Sequence[tuple[str, str, str]] = (  # name, colour, column of the histogram
    ("OK", "var(--okbar)", "ok"),
    ("Cached", "var(--cache)", "hits"),
    ("4xx", "var(--warn)", "refused"),
    ("5xx", "var(--bad)", "failed"),
    ("Broken", "var(--s7)", "broken"),
    ("Interrupted", "var(--sx)", "interrupted"),
)


def routes() -> Sequence[web.RouteDef]:
    """GET /logs, its tail and exports, and a request by its ID."""
    return [
        web.get("/logs", logs),
        web.get("/logs/tail", tail),
        web.get("/logs.csv", export_file),
        web.get("/logs.jsonl", export_file),
        web.get("/logs/{id}", show_request),
    ]


async def logs(request: web.Request) -> web.Response:
    """Show a page of the list below its histogram."""
    view = await _parse_view(request)
    if found := await _named_request(request, view):
        raise web.HTTPSeeOther(found)
    sort = sorted_logs.sort(view)
    number = min(paging.number(request), sorted_logs.PAGES)
    after = _key(view, "after")
    before = _key(view, "before")
    page, (chart_context, results) = await asyncio.gather(
        _page(app_context.runner(request), view, after=after, before=before, number=number),
        render.run_queries(request, view, {"histogram": _histogram(view)}),
    )
    first = not after and not before
    return await render.report(
        request,
        "logs.html",
        chart_context,
        results,
        active="/logs",
        page=page,
        totals=next((row for row in results["histogram"].rows if row["whole"]), {}),
        histogram=_histogram_chart(view, results["histogram"]),
        accounts=_has_account_column(request, view),
        columns=log_columns.chosen(view),
        column_choices=[(one, log_columns.toggled(view, one)) for one in log_columns.COLUMNS],
        sort=sort,
        most=sorted_logs.MOST,
        tail=view.url("/logs/tail") if first and view.live and not sort else "",
        arrived=_arrival(view.period.now - _SKEW),
        newest="" if first or sort else view.url(),
        beside=_numbered_links(view, page, number) if sort else _pager_links(view, page, after=after, before=before),
    )


async def tail(request: web.Request) -> web.Response:
    """Return the rows stored since `arrived`, as in the list, and the next `arrived`."""
    view = await _parse_view(request)
    arrived_text = request.query.get("arrived", "")
    try:
        arrived = datetime.fromisoformat(arrived_text).replace(tzinfo=UTC)
    except ValueError:
        raise web.HTTPBadRequest(text="Invalid time in arrived. Use e.g. 2026-11-24 08:00:00.000.") from None
    parameters = view.parameters() | {
        "arrived": _arrival(arrived),
        "search": log_pages.search(view),
        "limit": log_pages.SIZE,
    }
    chart_context, results = await render.run_queries(request, view, {"tail": Query("dashboard_logs_tail", parameters)})
    if results["tail"].failure:
        return web.Response(status=503, text=results["tail"].failure)
    newest = max((row["arrived"] for row in results["tail"].rows), default=_arrival(arrived))
    return await render.report(
        request,
        "logs_tail.html",
        chart_context,
        results,
        active="/logs",
        columns=log_columns.chosen(view),
        rows=results["tail"].rows,
        accounts=_has_account_column(request, view),
        arrived=max(_arrival(arrived), min(newest, _arrival(view.period.now - _SKEW))),
    )


async def show_request(request: web.Request) -> web.Response:
    """Show a request; 404 if it is unknown or of another account."""
    view = await _parse_view(request)
    try:
        request_id = uuid.UUID(request.match_info["id"])
    except ValueError:
        raise web.HTTPNotFound(text="Request not found.") from None
    result = await request_lookup.find(app_context.runner(request), request_id, account=view.account)
    if result.failure:
        raise web.HTTPServiceUnavailable(text=result.failure)
    if not result.rows:
        raise web.HTTPNotFound(text="Request not found.")
    row = result.row
    partial = "X-Partial" in request.headers
    hit = row["is_cache_hit"]
    output = row["saved_output_tokens"] if hit else row["output_tokens"]
    return await render.page(
        request,
        "_request.html" if partial else "request.html",
        active="/logs",
        view=view,
        money=app_context.chosen_currency(request),
        r=row,
        partial=partial,
        hit=hit,
        input=row["saved_input_tokens"] if hit else row["input_tokens"],
        output=output,
        speed=_tokens_per_second(row, output),
        first=round(min(100.0, (row["ttfb_ms"] or 0) / max(row["latency_ms"], 1) * 100), 1),
        usage=labels.USAGE.get(row["usage_source"], row["usage_source"]),
        unit=labels.unit,
        connection_logs=_connection_url(view, row["connection"]),
    )


def _connection_url(view: View, connection: str) -> str:
    """Return the URL of a WebSocket connection's requests: its ID has the time at which it began. "" without one."""
    others = dict.fromkeys((*filter_params.FILTERS, "without", "q"), "")
    try:
        began = datetime.fromtimestamp((uuid.UUID(connection).int >> 80) / 1000, UTC)
        bounds = {"period": "", "from": began.isoformat(), "to": (began + _CONNECTION).isoformat()}
    except (ValueError, OverflowError):
        bounds = {}
    return view.url("/logs", **others | {"connection": connection} | bounds) if connection else ""


async def export_file(request: web.Request) -> web.StreamResponse:
    """Stream all matching requests; a failure aborts the connection."""
    view = await _parse_view(request)
    as_csv = request.path.endswith(".csv")
    with export_stream.place(request.app[EXPORTS], request):
        blocks = export.lines(app_context.runner(request), view, None, as_csv=as_csv, seconds=EXPORT_SECONDS)
        return await export_stream.send(request, _export_response(view, "csv" if as_csv else "jsonl"), blocks)


def _export_response(view: View, extension: str) -> web.StreamResponse:
    zone = view.tz.key.replace("/", "-")
    name = f"metrion-requests-{view.period.now.astimezone(view.tz):%Y%m%d-%H%M%S}-{zone}.{extension}"
    return web.StreamResponse(
        headers={
            "Content-Type": "text/csv; charset=utf-8" if extension == "csv" else "application/jsonl; charset=utf-8",
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Vary": "Cookie",
        }
    )


async def _named_request(request: web.Request, view: View) -> str:
    """Return the URL of the request that the search names by its ID; "" if it names none."""
    try:
        request_id = uuid.UUID(log_pages.search(view).strip())
    except ValueError:
        return ""
    result = await request_lookup.find(app_context.runner(request), request_id, account=view.account)
    return view.url(f"/logs/{request_id}", q="") if result.rows else ""


async def _parse_view(request: web.Request) -> View:
    view = await page_params.parse_params(request)
    try:
        log_pages.search(view)
        sorted_logs.sort(view)
    except BadParameter as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    return view


def _key(view: View, name: str) -> Key | None:
    try:
        return log_pages.parse_key(view.query[name]) if name in view.query else None
    except BadParameter as error:
        raise web.HTTPBadRequest(text=str(error)) from None


def _histogram(view: View) -> Query:
    """Query the histogram from the rollup, or from requests when searching text."""
    if not log_pages.search(view):
        return panels.histogram(view)
    return Query("dashboard_logs_histogram_search", view.parameters() | {"search": log_pages.search(view)})


def _histogram_chart(view: View, result: QueryResult) -> Markup:
    slots = result._replace(rows=[row for row in result.rows if not row["whole"]])
    shown = [
        outcome for outcome in _OUTCOMES if outcome[2] in ("ok", "hits") or any(row[outcome[2]] for row in slots.rows)
    ]
    series = [
        Series(name, colour, charts_series.per_bucket(slots, view.period, operator.itemgetter(column)))
        for name, colour, column in shown
    ]
    plot = charts_series.plot(view, "histogram", "Requests by outcome", result=result, height=84)
    return panel_charts.markup(svg.stacked(plot, series))


def _has_account_column(request: web.Request, view: View) -> bool:
    """Whether the list shows accounts: when it may contain several."""
    return not app_context.user(request).account and not view.account


async def _page(runner: QueryRunner, view: View, *, after: Key | None, before: Key | None, number: int) -> Page:
    """Read the page: by its number in a sorted list, else by its position."""
    if sorted_logs.sort(view):
        return await sorted_logs.page(runner, view, number)
    if before:
        return await log_pages.newer(runner, view, before, seconds=PAGE_SECONDS)
    return await log_pages.older(runner, view, after, seconds=PAGE_SECONDS)


def _numbered_links(view: View, page: Page, number: int) -> dict[str, str]:
    """Return the URLs of the next and previous page of a sorted list; "" if there is none."""
    return {
        "after": view.url(page=number + 1) if page.more else "",
        "before": view.url(page=number - 1) if number > 1 else "",
    }


def _pager_links(view: View, page: Page, *, after: Key | None, before: Key | None) -> dict[str, str]:
    """Return the URLs of the older and newer page; "" if there is none."""
    rows = page.rows
    is_unfinished = bool(page.more or page.stopped)
    if before:
        has_older = bool(rows)
        has_newer = is_unfinished
    else:
        has_older = is_unfinished
        has_newer = after is not None and bool(rows)
    oldest = log_pages.key_of(rows[-1]) if rows else None
    newest = log_pages.key_of(rows[0]) if rows else None
    if page.stopped and before:
        newest = page.stopped
    elif page.stopped:
        oldest = page.stopped
    return {
        "after": view.url(after=str(oldest)) if has_older and oldest else "",
        "before": view.url(before=str(newest)) if has_newer and newest else "",
    }


def _tokens_per_second(row: dict[str, Any], output: int | None) -> str:
    """Return tokens per second after the first byte, for streams from a provider."""
    span = row["latency_ms"] - (row["ttfb_ms"] or 0)
    if not output or not row["stream"] or row["is_cache_hit"] or row["ttfb_ms"] is None or span < 1:
        return ""
    return f"{output / span * 1000:,.0f} tok/s"


def _arrival(at: datetime) -> str:
    """Format a storing time, to the millisecond."""
    return log_pages.timestamp(at)[:-3]
