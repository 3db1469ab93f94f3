"""Overview page: requests, errors and cost at a glance."""

from collections.abc import Sequence

from aiohttp import web

from services.dashboard import listing, page_params, render
from services.dashboard.charts import cost_marks, panel_charts, tiles
from services.dashboard.queries import panels

TILES = (tiles.REQUESTS, tiles.COST, tiles.MEAN, tiles.ERRORS, tiles.TOKENS, tiles.HITS, tiles.SAVED)


def routes() -> Sequence[web.RouteDef]:
    """GET /."""
    return [web.get("/", overview)]


async def overview(request: web.Request) -> web.Response:
    """Show key figures, and requests, cost and errors by their causes."""
    view = await page_params.parse_params(request)
    queries = {
        "sums": panels.sums(view, *tiles.needed(TILES)),
        "percentiles": panels.percentiles(view),
        "cost": panels.series_by(view, "model", "cost"),
        "tables": panels.models_and_providers(view, "requests", *panels.COST, order="cost"),
        "statuses": panels.table(view, "status", "errors", beside="outcome", limit=panels.LISTED),
        "requesters": panels.requesters(
            view, "errors", "hits", "tokens", *panels.COST, measure="cost", limit=panels.LISTED
        ),
        "equivalent": panels.equivalent(view),
    }
    chart_context, results = await render.run_queries(request, view, queries)
    listing.arranged(view, results, "models", {}, "requests", size=panels.LISTED)
    percentiles = panels.compared(results["percentiles"])
    sums = tiles.with_percentiles(panels.compared(results["sums"]), percentiles)
    totals = tiles.total(sums)
    heads = [tiles.tile(chart_context, sums, headline) for headline in TILES]
    heads.insert(2, tiles.tile(chart_context, panels.compared(results["callers"]), tiles.REQUESTERS))
    heads += tiles.equivalent(results["equivalent"], chart_context.money)
    return await render.report(
        request,
        "overview.html",
        chart_context,
        results,
        totals=totals,
        is_empty=totals.get("requests") == 0,
        forecast=cost_marks.forecast(view, sums),
        tiles=heads,
        listings={},
        charts=[
            panel_charts.cost_by(chart_context, results["cost"], "Cost by model", total=totals),
            panel_charts.tokens(chart_context, sums.buckets(), total=totals),
            panel_charts.latency(chart_context, percentiles.buckets()),
        ],
    )
