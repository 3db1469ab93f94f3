"""A view goes in; its requests come out: a page of the list, what has come since, one of them, or all as a file."""

import asyncio
import logging
import operator
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from markupsafe import Markup

from services.dashboard import app_context, labels
from services.dashboard.charts import series as charts_series
from services.dashboard.charts import svg
from services.dashboard.charts.figure import Series
from services.dashboard.page_params import View
from services.dashboard.periods import Bad
from services.dashboard.queries import export, log_pages, panels
from services.dashboard.queries.log_pages import Key, Page
from services.dashboard.queries.runner import Query, QueryResult

log = logging.getLogger(__name__)

PAGE_SECONDS = 5.0  # how long a page looks for rows; then it says how far it came
EXPORT_SECONDS = 300.0  # how long an export may take; then it breaks off
EXPORTS = web.AppKey("exports", asyncio.Semaphore)
MOST_EXPORTS = 2  # at once
_SKEW = timedelta(seconds=10)  # between this clock and ClickHouse's
_NEAR = timedelta(hours=1)  # between the time in an id and the request's
_KINDS: Sequence[tuple[str, str, str]] = (  # name, colour, column of the histogram
    ("OK", "var(--okbar)", "ok"),
    ("Cached", "var(--cache)", "hits"),
    ("4xx", "var(--warn)", "refused"),
    ("5xx", "var(--bad)", "failed"),
    ("Broken", "var(--s7)", "broken"),
    ("Interrupted", "var(--sx)", "interrupted"),
)


def routes() -> Sequence[web.RouteDef]:
    """GET /logs, its tail and its files, and a request by its id."""
    return [
        web.get("/logs", logs),
        web.get("/logs/tail", tail),
        web.get("/logs.csv", exported),
        web.get("/logs.jsonl", exported),
        web.get("/logs/{id}", one),
    ]


async def logs(request: web.Request) -> web.Response:
    """A page of the list below its histogram."""
    shown = await _seen(request)
    after, before = _key(shown, "after"), _key(shown, "before")
    books = app_context.books(request)
    page, (look, asked) = await asyncio.gather(
        log_pages.newer(books, shown, before, seconds=PAGE_SECONDS)
        if before
        else log_pages.older(books, shown, after, seconds=PAGE_SECONDS),
        app_context.ask(request, shown, {"histogram": _histogram(shown)}),
    )
    first = not after and not before
    return await app_context.report(
        request,
        "logs.html",
        look,
        asked,
        active="/logs",
        page=page,
        totals=next((row for row in asked["histogram"].rows if row["whole"]), {}),
        histogram=_drawn(shown, asked["histogram"]),
        accounts=_accounts(request, shown),
        tail=shown.url("/logs/tail") if first and shown.live else "",
        arrived=_moment(shown.period.now - _SKEW),
        newest="" if first else shown.url(),
        beside=_links(shown, page, after=after, before=before),
    )


async def tail(request: web.Request) -> web.Response:
    """The rows that were booked since `arrived`, as the list shows them, and where to go on."""
    shown, asked_from = await _seen(request), request.query.get("arrived", "")
    try:
        arrived = datetime.fromisoformat(asked_from).replace(tzinfo=UTC)
    except ValueError:
        raise web.HTTPBadRequest(text="Invalid time in arrived. Use e.g. 2026-11-24 08:00:00.000.") from None
    parameters = shown.parameters() | {
        "arrived": _moment(arrived),
        "search": log_pages.search(shown),
        "limit": log_pages.SIZE,
    }
    look, asked = await app_context.ask(request, shown, {"tail": Query("dashboard_logs_tail", parameters)})
    if asked["tail"].failure:
        return web.Response(status=503, text=asked["tail"].failure)
    newest = max((row["arrived"] for row in asked["tail"].rows), default=_moment(arrived))
    return await app_context.report(
        request,
        "logs_tail.html",
        look,
        asked,
        active="/logs",
        rows=asked["tail"].rows,
        accounts=_accounts(request, shown),
        arrived=max(_moment(arrived), min(newest, _moment(shown.period.now - _SKEW))),
    )


async def one(request: web.Request) -> web.Response:
    """A request; 404 when it is not there, or not the viewer's to see."""
    shown = await _seen(request)
    try:
        name = uuid.UUID(request.match_info["id"])
    except ValueError:
        raise web.HTTPNotFound(text="Request not found.") from None
    asked = await _found(request, shown, name)
    if asked.failure:
        raise web.HTTPServiceUnavailable(text=asked.failure)
    if not asked.rows:
        raise web.HTTPNotFound(text="Request not found.")
    row = asked.row
    partial = "X-Partial" in request.headers
    hit = row["is_cache_hit"]
    output = row["saved_output_tokens"] if hit else row["output_tokens"]
    return await app_context.page(
        request,
        "_request.html" if partial else "request.html",
        active="/logs",
        view=shown,
        money=app_context.money(request),
        r=row,
        partial=partial,
        hit=hit,
        input=row["saved_input_tokens"] if hit else row["input_tokens"],
        output=output,
        speed=_speed(row, output),
        first=round(min(100.0, (row["ttfb_ms"] or 0) / max(row["latency_ms"], 1) * 100), 1),
        usage=labels.USAGE.get(row["usage_source"], row["usage_source"]),
        unit=labels.unit,
    )


async def exported(request: web.Request) -> web.StreamResponse:
    """Exactly what is filtered, streamed. What cannot go on breaks off: nobody shall take a part for the whole."""
    shown, gate = await _seen(request), request.app[EXPORTS]
    if gate.locked():
        raise web.HTTPTooManyRequests(text="Too many exports. Try again shortly.", headers={"Retry-After": "10"})
    async with gate:
        blocks = _blocks(request, shown)
        page = await anext(blocks)
        if _why_not(page):
            raise web.HTTPServiceUnavailable(text=_why_not(page))
        as_csv = request.path.endswith(".csv")
        response = _file(shown, "csv" if as_csv else "jsonl")
        await response.prepare(request)
        if as_csv:
            await response.write(export.csv_head(shown.tz.key))
        line = export.csv_line if as_csv else export.json_line
        await response.write(b"".join(line(export.told(row, shown.tz)) for row in page.rows))
        async for page in blocks:
            if _why_not(page):
                log.warning("export aborted: %s", _why_not(page))
                if request.transport is not None:
                    request.transport.abort()
                return response
            await response.write(b"".join(line(export.told(row, shown.tz)) for row in page.rows))
        await response.write_eof()
        return response


def _why_not(page: Page) -> str:
    return page.failure or ("Export timed out. Narrow the period." if page.stopped else "")


async def _blocks(request: web.Request, shown: View) -> AsyncIterator[Page]:
    """The list from its newest request on, block by block: the next is asked for when the one before is sent."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + EXPORT_SECONDS
    after = Key(min(shown.until, shown.period.now), uuid.UUID(int=0))
    while True:
        left = max(0.0, deadline - loop.time())
        page = await log_pages.older(
            app_context.books(request), shown, after, size=export.BLOCK, seconds=left, name=log_pages.EXPORT
        )
        yield page
        if not page.more or not page.rows:
            return
        after = log_pages.key_of(page.rows[-1])


def _file(shown: View, kind: str) -> web.StreamResponse:
    zone = shown.tz.key.replace("/", "-")
    name = f"metrion-requests-{shown.period.now.astimezone(shown.tz):%Y%m%d-%H%M%S}-{zone}.{kind}"
    return web.StreamResponse(
        headers={
            "Content-Type": "text/csv; charset=utf-8" if kind == "csv" else "application/jsonl; charset=utf-8",
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Vary": "Cookie",
        }
    )


async def _found(request: web.Request, shown: View, name: uuid.UUID) -> QueryResult:
    """By the time that its id bears; else the index of ids says when it was."""
    books = app_context.books(request)
    known = {"id": str(name), "account": shown.account}
    if name.version == 7:
        at = datetime.fromtimestamp((name.int >> 80) / 1000, UTC) if name.int >> 80 < 1 << 42 else shown.since
        spans = {"since": log_pages.stamp(at - _NEAR), "until": log_pages.stamp(at + _NEAR)}
        asked = await books.ask(Query("dashboard_logs_request", known | spans))
        if asked.rows or asked.failure:
            return asked
    when = await books.ask(Query("dashboard_logs_find", known))
    if not when.rows:
        return when
    at = when.row["started_at"]
    spans = {"since": log_pages.stamp(at), "until": log_pages.stamp(at + timedelta(microseconds=1))}
    return await books.ask(Query("dashboard_logs_request", known | spans))


async def _seen(request: web.Request) -> View:
    shown = await app_context.parse_params(request)
    try:
        log_pages.search(shown)
    except Bad as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    return shown


def _key(shown: View, name: str) -> Key | None:
    try:
        return log_pages.key(shown.query[name]) if name in shown.query else None
    except Bad as error:
        raise web.HTTPBadRequest(text=str(error)) from None


def _histogram(shown: View) -> Query:
    """From sums where they can answer: they keep no text to search in."""
    if not log_pages.search(shown):
        return panels.histogram(shown)
    return Query("dashboard_logs_histogram_search", shown.parameters() | {"search": log_pages.search(shown)})


def _drawn(shown: View, asked: QueryResult) -> Markup:
    slots = asked._replace(rows=[row for row in asked.rows if not row["whole"]])
    used = [kind for kind in _KINDS if kind[2] in ("ok", "hits") or any(row[kind[2]] for row in slots.rows)]
    series = [
        Series(name, colour, charts_series.filled(slots, shown.period, operator.itemgetter(column)))
        for name, colour, column in used
    ]
    plot = charts_series.plot(shown, "histogram", "Requests by outcome", asked=asked, height=84)
    return charts_series.drawn(svg.stacked(plot, series))


def _accounts(request: web.Request, shown: View) -> bool:
    """Whether the list names accounts: where it may hold those of several."""
    return not app_context.user(request).account and not shown.account


def _links(shown: View, page: Page, *, after: Key | None, before: Key | None) -> dict[str, str]:
    """Addresses of the pages beside this one; "" where there is none."""
    rows = page.rows
    back = page.more or page.stopped if not before else bool(rows)
    forth = (page.more or page.stopped) if before else after is not None and bool(rows)
    oldest = page.stopped if page.stopped and not before else log_pages.key_of(rows[-1]) if rows else None
    newest = page.stopped if page.stopped and before else log_pages.key_of(rows[0]) if rows else None
    return {
        "after": shown.url(after=str(oldest)) if back and oldest else "",
        "before": shown.url(before=str(newest)) if forth and newest else "",
    }


def _speed(row: dict[str, Any], output: int | None) -> str:
    """Tokens a second after the first byte, of streams from a provider."""
    span = row["latency_ms"] - (row["ttfb_ms"] or 0)
    if not output or not row["stream"] or row["is_cache_hit"] or row["ttfb_ms"] is None or span < 1:
        return ""
    return f"{output / span * 1000:,.0f} tok/s"


def _moment(at: datetime) -> str:
    """A time of storing, to the millisecond."""
    return log_pages.stamp(at)[:-3]
