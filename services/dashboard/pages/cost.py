"""Cost page: cost over time, by model, provider, token and class."""

from collections.abc import Sequence

from aiohttp import web

from services.dashboard import app_context
from services.dashboard.charts import series, tiles
from services.dashboard.queries import panels

TILES = (tiles.COST, tiles.EACH, tiles.ESTIMATED, tiles.SAVED)


def routes() -> Sequence[web.RouteDef]:
    """GET /cost."""
    return [web.get("/cost", cost)]


async def cost(request: web.Request) -> web.Response:
    """Cost over time and by whatever causes it."""
    shown = await app_context.parse_params(request)
    questions = {
        "sums": panels.sums(shown, *tiles.needed(TILES)),
        "classes": panels.classes(shown),
        "by_model": panels.series_by(shown, "model", "cost"),
        "by_provider": panels.series_by(shown, "provider", "cost"),
        "models": panels.models(shown),
        "providers": panels.providers(shown),
        "tokens": panels.tokens(shown),
        "unpriced": panels.unpriced(shown),
    }
    look, asked = await app_context.ask(request, shown, questions)
    sums = panels.compared(asked["sums"])
    totals = tiles.total(sums)
    classes = asked["classes"].row.get("cost_by_class", {})
    return await app_context.report(
        request,
        "cost.html",
        look,
        asked,
        totals=totals,
        classes=sorted(classes.items(), key=lambda one: (-one[1], one[0])),
        tiles=[tiles.tile(look, sums, headline) for headline in TILES],
        charts=[
            series.cost_by(look, asked["by_model"], "Cost by model", total=totals),
            series.cost_by(look, asked["by_provider"], "Cost by provider", total=totals, name="cost-by-provider"),
        ],
    )
