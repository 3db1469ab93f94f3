"""Latency page: percentiles over time, by model and by provider."""

from collections.abc import Sequence

from aiohttp import web

from services.dashboard import app_context
from services.dashboard.charts import series, tiles
from services.dashboard.queries import panels

LEVELS = ("p50", "p95", "p99")
LATENCY = tuple(tiles.percentile(index, f"{name} latency") for index, name in enumerate(LEVELS))
FIRST_BYTE = tuple(tiles.percentile(index, f"{name} TTFB", first_byte=True) for index, name in enumerate(LEVELS))


def routes() -> Sequence[web.RouteDef]:
    """GET /latency."""
    return [web.get("/latency", latency)]


async def latency(request: web.Request) -> web.Response:
    """Percentiles over time, and by model and provider."""
    shown = await app_context.parse_params(request)
    questions = {
        "sums": panels.sums(shown, *tiles.needed((tiles.MEAN, tiles.FIRST_BYTE))),
        "percentiles": panels.percentiles(shown, "first_byte"),
        "models": panels.table(shown, "model", "requests", "latency_mean", beside="provider", limit=panels.PAGE),
        "models_percentiles": panels.percentiles_by(shown, "model", beside="provider"),
        "providers": panels.table(shown, "provider", "requests", "latency_mean"),
        "providers_percentiles": panels.percentiles_by(shown, "provider"),
    }
    look, asked = await app_context.ask(request, shown, questions)
    asked["models"] = tiles.joined(asked["models"], asked["models_percentiles"])
    asked["providers"] = tiles.joined(asked["providers"], asked["providers_percentiles"])
    percentiles = panels.compared(asked["percentiles"])
    sums = tiles.with_percentiles(panels.compared(asked["sums"]), percentiles)
    totals = tiles.total(sums)
    heads = [
        tiles.tile(look, sums, tiles.MEAN),
        *(tiles.tile(look, percentiles, headline) for headline in LATENCY),
        tiles.tile(look, sums, tiles.FIRST_BYTE),
        *(tiles.tile(look, percentiles, headline) for headline in FIRST_BYTE),
    ]
    return await app_context.report(
        request,
        "latency.html",
        look,
        asked,
        totals=totals,
        tiles=heads,
        charts=[
            series.latency(look, percentiles.buckets()),
            series.latency(look, percentiles.buckets(), first_byte=True),
        ],
    )
