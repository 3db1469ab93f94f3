"""Cost page: cost over time, by model, provider, API token and type."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from aiohttp import web

from services.dashboard import app_context, filter_bar, page_params, render
from services.dashboard.charts import panel_charts, tiles
from services.dashboard.nats_connection import NATS_ERRORS, Unavailable
from services.dashboard.page_params import View
from services.dashboard.queries import panels
from services.dashboard.queries.runner import QueryResult
from shared.limits import usage as limit_usage
from shared.limits import wording
from shared.limits.model import COST, Limit, Scope
from shared.limits.usage import Usage

TILES = (tiles.COST, tiles.EACH, tiles.ESTIMATED, tiles.SAVED)

BUDGETS = 3  # shown above the charts
BUDGET_SECONDS = 1.0  # that the page waits for NATS


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
    budgets = await _budgets(request, view, results["options"])
    classes = results["classes"].row.get("cost_by_class", {})
    return await render.report(
        request,
        "cost.html",
        chart_context,
        results,
        totals=totals,
        budgets=budgets,
        amount=wording.amount,
        limit_text=wording.text,
        classes=sorted(classes.items(), key=lambda item: (-item[1], item[0])),
        tiles=[tiles.tile(chart_context, sums, headline) for headline in TILES],
        charts=[
            panel_charts.cost_by(chart_context, results["by_model"], "Cost by model", total=totals),
            panel_charts.cost_by(
                chart_context, results["by_provider"], "Cost by provider", total=totals, name="cost-by-provider"
            ),
        ],
    )


async def _budgets(request: web.Request, view: View, options: QueryResult) -> list[tuple[Limit, Usage]]:
    """Return the budgets of all that the page shows, the most used first.

    Only of a page that shows the whole present cost of one account; [] while NATS is unreachable.
    """
    names = filter_bar.choices(view, options)["account"]
    account = view.account or (names[0] if len(names) == 1 else "")
    if not account or view.filters or not view.live:
        return []
    try:
        async with asyncio.timeout(BUDGET_SECONDS):
            js = app_context.jetstream(request)
            limits = [
                limit
                for limit in await limit_usage.limits_of(js, account)
                if limit.measure == COST and limit.scope == Scope()
            ]
            usage = await limit_usage.read(js, limits, now=datetime.now(UTC))
    except (Unavailable, *NATS_ERRORS):
        return []
    found = [(limit, usage[f"{account}.{limit.name}"]) for limit in limits]
    computed = [(limit, use) for limit, use in found if use.computed_at]
    return sorted(computed, key=lambda one: (-one[1].most.percent, one[0].name))[:BUDGETS]
