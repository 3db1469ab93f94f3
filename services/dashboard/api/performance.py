"""Errors by type, and percentiles of latency: as on the pages Errors and Latency."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

from services.dashboard import app_context
from services.dashboard.api import formats, params
from services.dashboard.api.operation import Operation, Parameter, of_view
from services.dashboard.charts import tiles
from services.dashboard.queries import panels

LATENCY_BY = ("provider", "model", "token", "account", "requester")
_LEVELS = ("p50", "p95", "p99")


class ErrorRow(msgspec.Struct, kw_only=True):
    """Errors of one type."""

    provider: str
    status: int
    outcome: str
    error_type: str
    errors: int
    requesters: int
    last_seen: datetime


class Errors(msgspec.Struct, kw_only=True):
    """Errors of a period: the 50 most frequent types, and totals over all."""

    since: datetime
    until: datetime
    tz: str
    requests: int
    errors: int
    rows: list[ErrorRow]


class LatencyRow(msgspec.Struct, kw_only=True):
    """Milliseconds of successful, uncached responses; null where there are none.

    `requests`: their number, failed and cached ones included.
    """

    group: dict[str, str]
    requests: int
    latency_mean: float | None
    latency_p50: float | None
    latency_p95: float | None
    latency_p99: float | None
    first_byte_mean: float | None
    first_byte_p50: float | None
    first_byte_p95: float | None
    first_byte_p99: float | None


class Latency(msgspec.Struct, kw_only=True):
    """Latency of a period by group."""

    since: datetime
    until: datetime
    tz: str
    group_by: list[str]
    rows: list[LatencyRow]


async def errors(request: web.Request) -> web.Response:
    """Return errors by provider, status and type."""
    view = await params.view(request)
    queries = {"sums": panels.sums(view, "errors"), "types": panels.error_types(view)}
    results = await app_context.runner(request).run_all(queries)
    if reason := next((result.failure for result in results.values() if result.failure), ""):
        raise params.failed(reason)
    total = panels.compared(results["sums"]).total() or {"requests": 0, "errors": 0}
    rows = [ErrorRow(**{**row, "last_seen": row["last_seen"].astimezone(view.tz)}) for row in results["types"].rows]
    document = Errors(
        since=view.since.astimezone(view.tz),
        until=view.until.astimezone(view.tz),
        tz=view.tz.key,
        requests=total["requests"],
        errors=total["errors"],
        rows=rows,
    )
    return formats.respond(request, document, rows)


async def latency(request: web.Request) -> web.Response:
    """Return percentiles of latency, in total or by up to two dimensions."""
    view = await params.view(request)
    names = [name for name in request.query.get("group_by", "").split(",") if name]
    if len(names) > 2 or len(set(names)) != len(names) or not set(names) <= set(LATENCY_BY):
        raise web.HTTPBadRequest(text=f"group_by is one or two different ones of {', '.join(LATENCY_BY)}.")
    rows = await (_by_group(request, view, names) if names else _in_total(request, view))
    document = Latency(
        since=view.since.astimezone(view.tz),
        until=view.until.astimezone(view.tz),
        tz=view.tz.key,
        group_by=names,
        rows=rows,
    )
    return formats.respond(request, document, rows)


async def _by_group(request: web.Request, view: Any, names: list[str]) -> list[LatencyRow]:
    by, beside = names[0], names[-1]
    queries = {
        "means": panels.table(view, by, "requests", "latency_mean", "first_byte_mean", beside=beside),
        "percentiles": panels.percentiles_by(view, by, beside=beside),
    }
    results = await app_context.runner(request).run_all(queries)
    joined = tiles.join_percentiles(results["means"], results["percentiles"])
    if joined.failure:
        raise params.failed(joined.failure)
    return [_row(dict(zip(names, (row["name"], row["beside"]), strict=False)), row) for row in joined.rows]


async def _in_total(request: web.Request, view: Any) -> list[LatencyRow]:
    queries = {
        "sums": panels.sums(view, "latency_mean", "first_byte_mean"),
        "percentiles": panels.percentiles(view, "first_byte"),
    }
    results = await app_context.runner(request).run_all(queries)
    compared = tiles.with_percentiles(
        panels.compared(results["sums"]), percentiles := panels.compared(results["percentiles"])
    )
    if reason := compared.failure or percentiles.failure:
        raise params.failed(reason)
    return [_row({}, tiles.total(compared))]


def _row(group: dict[str, str], row: Mapping[str, Any]) -> LatencyRow:
    levels = {
        f"{name}_{level}": formats.known(row[name][index])
        for name in ("latency", "first_byte")
        for index, level in enumerate(_LEVELS)
    }
    means = {name: formats.known(row[name]) for name in ("latency_mean", "first_byte_mean")}
    return LatencyRow(group=group, requests=row["requests"], **means, **levels)


OPERATIONS = (
    Operation(
        method="GET",
        path="/errors",
        handler=errors,
        summary="Count errors by type",
        description="The failed requests themselves: /requests?status=failed.",
        response=Errors,
        row=ErrorRow,
        parameters=of_view(),
    ),
    Operation(
        method="GET",
        path="/latency",
        handler=latency,
        summary="Return percentiles of latency and of the time to first byte",
        response=Latency,
        row=LatencyRow,
        parameters=of_view(
            Parameter("group_by", f"One or two of {', '.join(LATENCY_BY)}, comma-separated."),
        ),
    ),
)
