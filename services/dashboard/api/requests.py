"""Requests: a page of the list, all of them as a stream, and one by its ID."""

import asyncio
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

from services.dashboard import app_context, export_stream
from services.dashboard.api import formats, params
from services.dashboard.api.formats import Amount, Format
from services.dashboard.api.operation import Operation, Parameter, integer, of_view
from services.dashboard.app_context import User
from services.dashboard.page_params import View
from services.dashboard.periods import BadParameter
from services.dashboard.queries import export, log_pages, request_lookup
from services.dashboard.queries.log_pages import Key, Page
from services.dashboard.queries.runner import QueryResult

PAGE_SECONDS = 5.0  # time limit of a page; then `next` is where the search stopped
EXPORT_SECONDS = 1800.0  # time limit of a stream; then the connection is broken off
MAX_WAITING = 200  # requests to the API that wait for a row
MAX_WAITING_EACH = 50  # of one key, token or user
LONGEST_WAIT = 30  # seconds
EXPORTS = web.AppKey("api_exports", list[web.Request])  # those in progress
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0  # seconds between two looks for a row
_waiting = web.AppKey("api_waiting", list)


class RequestRow(msgspec.Struct, kw_only=True):
    """A request. Unknown figures are null; amounts are in US dollars."""

    id: str
    started_at: datetime
    account: str
    token: str
    requester: str
    provider: str
    endpoint: str
    model_requested: str
    model: str
    stream: bool
    status: int
    outcome: str
    error_type: str
    error_message: str
    cache: str
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_write_1h_tokens: int | None
    reasoning_tokens: int | None
    service_tier: str
    usage_source: str
    cost_usd: Amount | None
    cost_source: str
    cost_reason: str
    cost_saved_usd: Amount | None
    latency_ms: int | None
    ttfb_ms: int | None
    provider_request_id: str
    metadata: dict[str, str]
    model_name: str
    is_error: bool
    is_cache_hit: bool
    is_estimated: bool
    is_answered: bool
    client: str
    client_version: str
    agent: str
    session: str
    billing: str
    cost_equivalent_usd: Amount | None
    source: str
    connection: str
    turn: str


class RequestDetail(RequestRow, kw_only=True):
    """A request with its cost by class, its prices and what the provider reported."""

    gateway: str
    request_bytes: int
    response_bytes: int | None
    audio_tokens: int | None
    image_tokens: int | None
    cost_by_class_usd: dict[str, Amount]
    unit_prices_usd: dict[str, Amount]
    price_version: str
    saved_input_tokens: int | None
    saved_output_tokens: int | None
    usage_raw: str
    version: int
    note: str


class RequestPage(msgspec.Struct, kw_only=True):
    """A page of requests, newest first."""

    rows: list[RequestRow]
    next: str | None  # `after` of the next page; null at the end. A page may have few rows and still a next one.


def prepare(app: web.Application) -> None:
    """Set the limits that all requests to the API share."""
    app[EXPORTS] = []
    app[_waiting] = []


async def listing(request: web.Request) -> web.StreamResponse:
    """Return a page, or stream all requests."""
    view = await params.view(request)
    chosen = formats.wanted(request)
    after = _key(view, "after")
    before = _key(view, "before")
    try:
        log_pages.search(view)
    except BadParameter as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    if after and before:
        raise web.HTTPBadRequest(text="after and before cannot be combined.")
    if chosen is not Format.JSON and not before and not request.query.get("limit"):
        return await _stream(request, view, after, chosen)
    page = await _page(request, view, after=after, before=before)
    if page.failure:
        raise params.failed(page.failure)
    rows = [_row(row, view) for row in page.rows]
    following = page.stopped or (log_pages.key_of(page.rows[-1]) if page.more and page.rows else None)
    if before and page.rows:
        following = log_pages.key_of(page.rows[-1])
    return formats.respond(request, RequestPage(rows=rows, next=str(following) if following else None), rows)


async def _page(request: web.Request, view: View, *, after: Key | None, before: Key | None) -> Page:
    runner = app_context.runner(request)
    size = params.number(request, "limit", log_pages.SIZE)
    if before:
        return await log_pages.newer(runner, view, before, size=size, seconds=PAGE_SECONDS, name=log_pages.EXPORT)
    return await log_pages.older(runner, view, after, size=size, seconds=PAGE_SECONDS, name=log_pages.EXPORT)


async def _stream(request: web.Request, view: View, after: Key | None, chosen: Format) -> web.StreamResponse:
    """Stream all requests, however many."""
    headers = {"Content-Type": f"{chosen.value}; charset=utf-8", "Cache-Control": "no-store"}
    with export_stream.place(request.app[EXPORTS], request):
        as_csv = chosen is Format.CSV
        blocks = export.lines(app_context.runner(request), view, after, as_csv=as_csv, seconds=EXPORT_SECONDS)
        return await export_stream.send(request, web.StreamResponse(headers=headers), blocks)


async def one(request: web.Request) -> web.Response:
    """Return a request by its ID; waits for it if asked to."""
    view = params.view_without_rollup(request)
    try:
        request_id = uuid.UUID(request.match_info["id"])
    except ValueError:
        raise web.HTTPNotFound(text="Request not found: its ID is not a UUID.") from None
    row = await _awaited(request, request_id, account=view.account, seconds=params.number(request, "wait", 0))
    return formats.respond(request, _detail(row, view))


async def _awaited(request: web.Request, request_id: uuid.UUID, *, account: str, seconds: int) -> dict[str, Any]:
    """Look for a request until it is there, at most for `seconds`; then 404.

    One that the caller may not read is not there.
    """
    loop = asyncio.get_running_loop()
    runner = app_context.runner(request)
    user = app_context.user(request)
    waiting = request.app[_waiting]
    deadline = loop.time() + seconds
    result = _readable(user, await request_lookup.find(runner, request_id, account=account))
    pause = _FIRST_PAUSE
    caller = user.api_key or user.name
    is_crowded = len(waiting) >= MAX_WAITING or waiting.count(caller) >= MAX_WAITING_EACH
    if not result.rows and seconds and is_crowded:
        raise web.HTTPTooManyRequests(text="Too many requests wait at once.", headers={"Retry-After": "1"})
    waiting.append(caller)
    try:
        while not result.rows and not result.failure and loop.time() < deadline:
            await asyncio.sleep(min(pause, max(0.0, deadline - loop.time())))
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            result = _readable(user, await request_lookup.find_by_time(runner, request_id, account=account))
    finally:
        waiting.remove(caller)
    if result.failure:
        raise params.failed(result.failure)
    if not result.rows:
        raise web.HTTPNotFound(text="Request not found. A row is stored a moment after its response has ended.")
    return result.row


def _readable(user: User, result: QueryResult) -> QueryResult:
    return result._replace(rows=[row for row in result.rows if user.may_read(row["token"], row["started_at"])])


def _row(row: Mapping[str, Any], view: View) -> RequestRow:
    return msgspec.convert(export.with_exact_amounts(export.values_of(row, view.tz)), RequestRow, strict=False)


def _detail(row: Mapping[str, Any], view: View) -> RequestDetail:
    values = export.with_exact_amounts(export.values_of(row, view.tz))
    amounts = {
        f"{name}_usd": {key: formats.amount(value) for key, value in row[name].items()}
        for name in ("cost_by_class", "unit_prices")
    }
    return msgspec.convert({**row, **values, **amounts}, RequestDetail, strict=False)


def _key(view: View, name: str) -> Key | None:
    try:
        return log_pages.parse_key(view.query[name]) if name in view.query else None
    except BadParameter as error:
        raise web.HTTPBadRequest(text=f"{name}: {error}") from None


_LIST = (
    integer("limit", "Requests per page.", low=1, high=1000, default=log_pages.SIZE),
    Parameter("after", "Only requests older than this position: the `next` of a page."),
    Parameter("before", "Only requests newer than this position."),
    Parameter(log_pages.SEARCH, "Text in model, requester or error, or the provider's own request ID."),
)
OPERATIONS = (
    Operation(
        method="GET",
        path="/requests",
        handler=listing,
        summary="List requests, newest first",
        description="NDJSON and CSV without `limit` stream all requests of the period.",
        response=RequestPage,
        row=RequestRow,
        parameters=of_view(*_LIST),
        tag="Requests",
    ),
    Operation(
        method="GET",
        path="/requests/{id}",
        handler=one,
        summary="Return a request",
        description="Its ID is in the response header x-metrion-request-id. "
        "The Metrion token that made the request may be sent in place of an API key.",
        response=RequestDetail,
        parameters=of_view(
            Parameter("id", "The request's ID.", {"type": "string", "format": "uuid"}, place="path"),
            integer("wait", "Seconds to wait until its row is stored.", low=0, high=LONGEST_WAIT, default=0),
        ),
        problems=(404,),
        tag="Requests",
    ),
)
