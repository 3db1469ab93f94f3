"""Logs page: the request list, its live tail, one request, and exports."""

import asyncio
import logging
import operator
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from markupsafe import Markup

from services.dashboard import app_context, labels, page_params, render
from services.dashboard.charts import panel_charts, svg
from services.dashboard.charts import series as charts_series
from services.dashboard.charts.figure import Series
from services.dashboard.page_params import View
from services.dashboard.periods import BadParameter
from services.dashboard.queries import export, log_pages, panels
from services.dashboard.queries.log_pages import Key, Page
from services.dashboard.queries.runner import Query, QueryResult

log = logging.getLogger(__name__)

PAGE_SECONDS = 5.0  # time limit of a page; then it says how far it searched
EXPORT_SECONDS = 300.0  # time limit of an export; then it is aborted
EXPORTS = web.AppKey("exports", asyncio.Semaphore)
MAX_EXPORTS = 2  # concurrent
_SKEW = timedelta(seconds=10)  # between this clock and ClickHouse's
_ID_TOLERANCE = timedelta(hours=1)  # between the time in an ID and the start of the request
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
    after = _key(view, "after")
    before = _key(view, "before")
    runner = app_context.runner(request)
    page, (chart_context, results) = await asyncio.gather(
        log_pages.newer(runner, view, before, seconds=PAGE_SECONDS)
        if before
        else log_pages.older(runner, view, after, seconds=PAGE_SECONDS),
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
        tail=view.url("/logs/tail") if first and view.live else "",
        arrived=_arrival(view.period.now - _SKEW),
        newest="" if first else view.url(),
        beside=_pager_links(view, page, after=after, before=before),
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
    result = await _find_request(request, view, request_id)
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
    )


async def export_file(request: web.Request) -> web.StreamResponse:
    """Stream all matching requests; a failure aborts the connection."""
    view = await _parse_view(request)
    gate = request.app[EXPORTS]
    if gate.locked():
        raise web.HTTPTooManyRequests(text="Too many exports. Try again shortly.", headers={"Retry-After": "10"})
    async with gate:
        blocks = _export_pages(request, view)
        page = await anext(blocks)
        if _failure(page):
            raise web.HTTPServiceUnavailable(text=_failure(page))
        as_csv = request.path.endswith(".csv")
        response = _export_response(view, "csv" if as_csv else "jsonl")
        await response.prepare(request)
        if as_csv:
            await response.write(export.csv_head(view.tz.key))
        line = export.csv_line if as_csv else export.json_line
        await response.write(b"".join(line(export.values_of(row, view.tz)) for row in page.rows))
        async for page in blocks:
            if _failure(page):
                log.warning("export aborted: %s", _failure(page))
                if request.transport is not None:
                    request.transport.abort()
                return response
            await response.write(b"".join(line(export.values_of(row, view.tz)) for row in page.rows))
        await response.write_eof()
        return response


def _failure(page: Page) -> str:
    return page.failure or ("Export timed out. Narrow the period." if page.stopped else "")


async def _export_pages(request: web.Request, view: View) -> AsyncIterator[Page]:
    """Yield the list in blocks, newest first; each is queried when the previous one is sent."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + EXPORT_SECONDS
    after = Key(min(view.until, view.period.now), uuid.UUID(int=0))
    while True:
        left = max(0.0, deadline - loop.time())
        page = await log_pages.older(
            app_context.runner(request), view, after, size=export.BLOCK, seconds=left, name=log_pages.EXPORT
        )
        yield page
        if not page.more or not page.rows:
            return
        after = log_pages.key_of(page.rows[-1])


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


async def _find_request(request: web.Request, view: View, request_id: uuid.UUID) -> QueryResult:
    """Find a request by the time in its ID, else by the index of IDs."""
    runner = app_context.runner(request)
    parameters = {"id": str(request_id), "account": view.account}
    if request_id.version == 7:
        milliseconds = request_id.int >> 80
        at = datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds < 1 << 42 else view.since
        spans = {"since": log_pages.timestamp(at - _ID_TOLERANCE), "until": log_pages.timestamp(at + _ID_TOLERANCE)}
        result = await runner.run(Query("dashboard_logs_request", parameters | spans))
        if result.rows or result.failure:
            return result
    when = await runner.run(Query("dashboard_logs_find", parameters))
    if not when.rows:
        return when
    at = when.row["started_at"]
    spans = {"since": log_pages.timestamp(at), "until": log_pages.timestamp(at + timedelta(microseconds=1))}
    return await runner.run(Query("dashboard_logs_request", parameters | spans))


async def _named_request(request: web.Request, view: View) -> str:
    """Return the URL of the request that the search names by its ID; "" if it names none."""
    try:
        request_id = uuid.UUID(log_pages.search(view).strip())
    except ValueError:
        return ""
    result = await _find_request(request, view, request_id)
    return view.url(f"/logs/{request_id}", q="") if result.rows else ""


async def _parse_view(request: web.Request) -> View:
    view = await page_params.parse_params(request)
    try:
        log_pages.search(view)
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
