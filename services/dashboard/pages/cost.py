"""Cost page: cost over time, by model, provider, API token and type."""

from collections.abc import Sequence

from aiohttp import web

from services.dashboard import page_params, render
from services.dashboard.charts import panel_charts, tiles
from services.dashboard.queries import panels

TILES = (tiles.COST, tiles.EACH, tiles.ESTIMATED, tiles.SAVED)


def routes() -> Sequence[web.RouteDef]:
    """GET /cost."""
    return [web.get("/cost", cost)]


async def cost(request: web.Request) -> web.Response:
    """Show cost over time and by cause."""
    view = await page_params.parse_params(request)
    queries = {
        "sums": panels.sums(view, *tiles.needed(TILES)),
        "classes": panels.classes(view),
        "by_model": panels.series_by(view, "model", "cost"),
        "by_provider": panels.series_by(view, "provider", "cost"),
        "models": panels.models(view),
        "providers": panels.providers(view),
        "tokens": panels.tokens(view),
        "unpriced": panels.unpriced(view),
    }
    chart_context, results = await render.run_queries(request, view, queries)
    sums = panels.compared(results["sums"])
    totals = tiles.total(sums)
    classes = results["classes"].row.get("cost_by_class", {})
    return await render.report(
        request,
        "cost.html",
        chart_context,
        results,
        totals=totals,
        classes=sorted(classes.items(), key=lambda item: (-item[1], item[0])),
        tiles=[tiles.tile(chart_context, sums, headline) for headline in TILES],
        charts=[
            panel_charts.cost_by(chart_context, results["by_model"], "Cost by model", total=totals),
            panel_charts.cost_by(
                chart_context, results["by_provider"], "Cost by provider", total=totals, name="cost-by-provider"
            ),
        ],
    )
