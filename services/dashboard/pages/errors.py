"""Errors page: errors over time, by status, model and type, and the latest ones."""

import asyncio
from collections.abc import Mapping, Sequence

from aiohttp import web

from services.dashboard import app_context, listing, page_params, render
from services.dashboard.charts import panel_charts, tiles
from services.dashboard.queries import log_pages, panels
from services.dashboard.queries.runner import TIMED_OUT, QueryResult

TILES = (tiles.FAILED, tiles.ERRORS, tiles.REQUESTS)
MODELS: Mapping[str, listing.Value] = {"requests": lambda row: row["requests"], "rate": listing.error_rate}
KINDS: Mapping[str, listing.Value] = {
    "requesters": lambda row: row["requesters"],
    "last": lambda row: row["last_seen"],
}
LATEST = 50
LATEST_SECONDS = 5.0  # time limit of their query


def routes() -> Sequence[web.RouteDef]:
    """GET /errors."""
    return [web.get("/errors", errors)]


async def errors(request: web.Request) -> web.Response:
    """Show errors over time, by status, type and model, and the latest ones."""
    view = await page_params.parse_params(request)
    queries = {
        "sums": panels.sums(view, "hits", *tiles.needed(TILES)),
        "by_status": panels.series_by(view, "status", "errors"),
        "statuses": panels.table(view, "status", "errors", beside="outcome", limit=panels.LISTED),
        "models": panels.table(view, "model", "errors", beside="provider"),
        "kinds": panels.error_types(view),
    }
    latest, (chart_context, results) = await asyncio.gather(
        log_pages.older(
            app_context.runner(request),
            view,
            None,
            size=LATEST,
            seconds=LATEST_SECONDS,
            name="dashboard_errors_latest",
            measure="errors",
        ),
        render.run_queries(request, view, queries),
    )
    results["latest"] = QueryResult(
        latest.rows, latest.failure or (TIMED_OUT if latest.stopped and not latest.rows else "")
    )
    listings = {
        "models": listing.arranged(view, results, "models", MODELS, "errors", size=panels.LISTED),
        "kinds": listing.arranged(view, results, "kinds", KINDS, "errors"),
    }
    sums = panels.compared(results["sums"])
    totals = tiles.total(sums)
    return await render.report(
        request,
        "errors.html",
        chart_context,
        results,
        totals=totals,
        listings=listings,
        is_empty=totals.get("requests") == 0,
        tiles=[tiles.tile(chart_context, sums, headline) for headline in TILES],
        charts=[
            panel_charts.by_status(chart_context, results["by_status"]),
            panel_charts.requests(chart_context, sums.buckets()),
        ],
    )
