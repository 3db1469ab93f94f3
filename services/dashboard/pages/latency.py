"""Latency page: percentiles over time, by model and by provider."""

from collections.abc import Sequence

from aiohttp import web

from services.dashboard import listing, page_params, render
from services.dashboard.charts import panel_charts, tiles
from services.dashboard.queries import panels

LEVELS = ("p50", "p95", "p99")
LATENCY = tuple(tiles.percentile(index, f"{name} latency") for index, name in enumerate(LEVELS))
FIRST_BYTE = tuple(tiles.percentile(index, f"{name} TTFB", first_byte=True) for index, name in enumerate(LEVELS))


def routes() -> Sequence[web.RouteDef]:
    """GET /latency."""
    return [web.get("/latency", latency)]


async def latency(request: web.Request) -> web.Response:
    """Show percentiles over time, by model and by provider."""
    view = await page_params.parse_params(request)
    queries = {
        "sums": panels.sums(view, *tiles.needed((tiles.MEAN, tiles.FIRST_BYTE))),
        "percentiles": panels.percentiles(view, "first_byte"),
        "tables": panels.models_and_providers(view, "requests", "latency_mean"),
        "percentiles_of_models": panels.percentiles_of_models(view),
        "by_model": panels.percentiles_over_time(view, "model"),
    }
    chart_context, results = await render.run_queries(request, view, queries)
    for name in ("models", "providers"):
        results[name] = tiles.join_percentiles(results[name], results[f"{name}_percentiles"])
    listings = {
        name: listing.arranged(view, results, name, listing.LATENCY, "requests") for name in ("models", "providers")
    }
    percentiles = panels.compared(results["percentiles"])
    sums = tiles.with_percentiles(panels.compared(results["sums"]), percentiles)
    totals = tiles.total(sums)
    heads = [
        tiles.tile(chart_context, sums, tiles.MEAN),
        *(tiles.tile(chart_context, percentiles, headline) for headline in LATENCY),
        tiles.tile(chart_context, sums, tiles.FIRST_BYTE),
        *(tiles.tile(chart_context, percentiles, headline) for headline in FIRST_BYTE),
    ]
    return await render.report(
        request,
        "latency.html",
        chart_context,
        results,
        totals=totals,
        is_empty=totals.get("requests") == 0,
        tiles=heads,
        listings=listings,
        charts=[
            panel_charts.latency(chart_context, percentiles.buckets()),
            panel_charts.latency(chart_context, percentiles.buckets(), first_byte=True),
            panel_charts.p95_by(chart_context, results["by_model"], "p95 latency by model"),
        ],
    )
