"""Errors page: what failed, when, where and why."""

import asyncio
from collections.abc import Sequence

from aiohttp import web

from services.dashboard import app_context
from services.dashboard.charts import series, tiles
from services.dashboard.queries import log_pages, panels
from services.dashboard.queries.runner import TIMED_OUT, QueryResult

TILES = (tiles.FAILED, tiles.ERRORS, tiles.REQUESTS)
LATEST = 50
LATEST_SECONDS = 5.0  # how long to look for so many


def routes() -> Sequence[web.RouteDef]:
    """GET /errors."""
    return [web.get("/errors", errors)]


async def errors(request: web.Request) -> web.Response:
    """Errors over time, by status, kind, model, and the latest ones."""
    shown = await app_context.parse_params(request)
    questions = {
        "sums": panels.sums(shown, "hits", *tiles.needed(TILES)),
        "by_status": panels.series_by(shown, "status", "errors"),
        "statuses": panels.table(shown, "status", "errors", beside="outcome", limit=panels.LISTED),
        "models": panels.table(shown, "model", "errors", beside="provider", limit=panels.LISTED),
        "kinds": panels.error_kinds(shown),
    }
    latest, (look, asked) = await asyncio.gather(
        log_pages.older(
            app_context.books(request),
            shown,
            None,
            size=LATEST,
            seconds=LATEST_SECONDS,
            name="dashboard_errors_latest",
            measure="errors",
        ),
        app_context.ask(request, shown, questions),
    )
    asked["latest"] = QueryResult(
        latest.rows, latest.failure or (TIMED_OUT if latest.stopped and not latest.rows else "")
    )
    sums = panels.compared(asked["sums"])
    totals = tiles.total(sums)
    return await app_context.report(
        request,
        "errors.html",
        look,
        asked,
        totals=totals,
        tiles=[tiles.tile(look, sums, headline) for headline in TILES],
        charts=[series.by_status(look, asked["by_status"]), series.requests(look, sums.buckets())],
    )
