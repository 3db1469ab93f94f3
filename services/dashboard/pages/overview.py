"""Overview page: requests, errors and cost at a glance."""

from collections.abc import Sequence

from aiohttp import web

from services.dashboard import app_context
from services.dashboard.charts import series, tiles
from services.dashboard.queries import panels

TILES = (tiles.REQUESTS, tiles.COST, tiles.MEAN, tiles.ERRORS, tiles.TOKENS, tiles.HITS, tiles.SAVED)


def routes() -> Sequence[web.RouteDef]:
    """GET /."""
    return [web.get("/", overview)]


async def overview(request: web.Request) -> web.Response:
    """Key figures with their trend and the period before; by model, provider, status and requester."""
    shown = await app_context.parse_params(request)
    questions = {
        "sums": panels.sums(shown, *tiles.needed(TILES)),
        "callers": panels.callers(shown),
        "percentiles": panels.percentiles(shown),
        "cost": panels.series_by(shown, "model", "cost"),
        "models": panels.table(shown, "model", "requests", beside="provider", limit=panels.LISTED),
        "providers": panels.providers(shown),
        "statuses": panels.table(shown, "status", "errors", beside="outcome", limit=panels.LISTED),
        "requesters": panels.requesters(
            shown, "errors", "hits", "tokens", *panels.COST, measure="cost", limit=panels.LISTED
        ),
    }
    look, asked = await app_context.ask(request, shown, questions)
    percentiles = panels.compared(asked["percentiles"])
    sums = tiles.with_percentiles(panels.compared(asked["sums"]), percentiles)
    totals = tiles.total(sums)
    heads = [tiles.tile(look, sums, headline) for headline in TILES]
    heads.insert(2, tiles.tile(look, panels.compared(asked["callers"]), tiles.REQUESTERS))
    return await app_context.report(
        request,
        "overview.html",
        look,
        asked,
        totals=totals,
        tiles=heads,
        charts=[
            series.cost_by(look, asked["cost"], "Cost by model", total=totals),
            series.tokens(look, sums.buckets(), total=totals),
            series.latency(look, percentiles.buckets()),
        ],
    )
