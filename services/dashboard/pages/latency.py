"""A view goes in; the page that says how long answers take, and their first bytes, comes out."""

from collections.abc import Sequence

from aiohttp import web

from services.dashboard import app_context
from services.dashboard.charts import series, tiles
from services.dashboard.queries import panels

LEVELS = ("p50", "p95", "p99")
TILES = (  # and which answers they show: see panels.PARTED
    (tiles.MEAN, ""),
    *((tiles.percentile(index, f"{name} latency"), "long_") for index, name in enumerate(LEVELS)),
    (tiles.FIRST_BYTE, ""),
    *((tiles.percentile(index, f"{name} first byte", first_byte=True), "long_") for index, name in enumerate(LEVELS)),
)


def routes() -> Sequence[web.RouteDef]:
    """GET /latency."""
    return [web.get("/latency", latency)]


async def latency(request: web.Request) -> web.Response:
    """Percentiles over time, and by model and provider."""
    shown = await app_context.parse_params(request)
    questions = {
        "sums": panels.sums(shown, *tiles.needed(measure for measure, _ in TILES)),
        "percentiles": panels.percentiles(shown, "first_byte"),
        "models": panels.table(shown, "model", "requests", "latency_mean", beside="provider", limit=panels.PAGE),
        "long_models": panels.percentiles_by(shown, "model", beside="provider"),
        "providers": panels.table(shown, "provider", "requests", "latency_mean"),
        "long_providers": panels.percentiles_by(shown, "provider"),
    }
    look, asked = await app_context.ask(request, shown, questions)
    for name in ("models", "providers"):
        asked[name] = tiles.joined(asked[name], asked[f"long_{name}"], "name", "beside", needed=True)
    asked["totals"] = tiles.joined(asked["totals"], asked["long_totals"], "part")
    totals = tiles.total(asked["totals"])
    return await app_context.report(
        request,
        "latency.html",
        look,
        asked,
        totals=totals,
        tiles=[tiles.tile(look, asked, measure, of=of) for measure, of in TILES],
        charts=[
            series.latency(look, asked["long_series"].part("period")),
            series.latency(look, asked["long_series"].part("period"), first_byte=True),
        ],
    )
