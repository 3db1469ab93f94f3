"""A view goes in; the page that says how long answers take, and their first bytes, comes out."""

from collections.abc import Sequence

from aiohttp import web

from services.dashboard import figures, panels, site, tiles

TILES = (
    tiles.MEAN,
    *(tiles.percentile(index, f"{name} latency") for index, name in enumerate(("p50", "p95", "p99"))),
    tiles.FIRST_BYTE,
    *(
        tiles.percentile(index, f"{name} first byte", first_byte=True)
        for index, name in enumerate(("p50", "p95", "p99"))
    ),
)


def routes() -> Sequence[web.RouteDef]:
    """GET /latency."""
    return [web.get("/latency", latency)]


async def latency(request: web.Request) -> web.Response:
    """Percentiles over time, and by model and provider."""
    shown = site.seen(request)
    questions = {
        **panels.sums(shown),
        "models": panels.table(shown, "model", "requests", beside="provider", limit=panels.PAGE),
        "providers": panels.table(shown, "provider", "requests"),
    }
    look, asked = await site.ask(request, shown, questions)
    totals = tiles.total(asked["totals"])
    return await site.report(
        request,
        "latency.html",
        look,
        asked,
        totals=totals,
        tiles=[tiles.tile(look, asked, measure) for measure in TILES],
        charts=[
            figures.latency(look, asked["series"].part("period")),
            figures.latency(look, asked["series"].part("period"), first_byte=True),
        ],
    )
