"""A view goes in; the page that says at a glance what came, what failed and what it cost comes out."""

from collections.abc import Sequence

from aiohttp import web

from services.dashboard import figures, panels, site, tiles

TILES = (tiles.REQUESTS, tiles.COST, tiles.MEAN, tiles.ERRORS, tiles.TOKENS, tiles.HITS, tiles.SAVED)


def routes() -> Sequence[web.RouteDef]:
    """GET /."""
    return [web.get("/", overview)]


async def overview(request: web.Request) -> web.Response:
    """Key figures with their trend and the period before; by model, provider, status and requester."""
    shown, money = site.seen(request), site.money(request)
    asked = await site.books(request).ask_all(
        {
            **panels.compared(shown),
            **panels.trends(shown),
            **panels.callers(shown),
            "cost": panels.series_by(shown, "model", "cost"),
            "models": panels.table(shown, "model", "requests", beside="provider", limit=panels.LISTED),
            "providers": panels.table(shown, "provider", "cost"),
            "statuses": panels.table(shown, "status", "errors", beside="outcome", limit=panels.LISTED),
            "requesters": panels.requesters(shown, measure="cost", limit=panels.LISTED),
        }
    )
    heads = [tiles.tile(shown, asked, measure, money) for measure in TILES]
    heads.insert(2, tiles.tile(shown, asked, tiles.REQUESTERS, money, of="callers_"))
    return await site.page(
        request,
        "overview.html",
        active="/",
        shown=shown,
        asked=asked,
        totals=asked["totals"].row,
        tiles=heads,
        charts=[
            figures.cost_by(shown, asked["cost"], "Cost by model", money, total=asked["totals"]),
            figures.tokens(shown, asked["series"], total=asked["totals"]),
            figures.latency(shown, asked["series"]),
        ],
    )
