"""Cost page: cost over time, by model, provider, API token and type."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from aiohttp import web

from services.dashboard import app_context, cost_outlook, filter_bar, listing, page_params, render
from services.dashboard.charts import cost_marks, panel_charts, tiles
from services.dashboard.charts.figure import Line
from services.dashboard.charts.series import ChartContext
from services.dashboard.nats_connection import NATS_ERRORS, Unavailable
from services.dashboard.page_params import View
from services.dashboard.queries import panels
from services.dashboard.queries.runner import QueryResult
from shared.limits import periods, wording
from shared.limits import usage as limit_usage
from shared.limits.model import COST, Limit, Scope
from shared.limits.usage import Usage
from shared.pricing import versions

TILES = (tiles.COST, tiles.EACH, tiles.ESTIMATED, tiles.SAVED)

REQUESTS: Mapping[str, listing.Value] = {"requests": lambda row: row["requests"]}
MODEL_COLUMNS = {**REQUESTS, **listing.TOKENS, "saved": lambda row: row["saved"]}

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
        "tables": panels.models_and_providers(view, "requests", *panels.OF_MODELS, order="cost"),
        "tokens": panels.tokens(view),
        "unpriced": panels.unpriced(view),
        "annotations": panels.annotations(view),
        "equivalent": panels.equivalent(view),
    }
    daily = panels.daily_cost(view, history=cost_outlook.HISTORY)
    if daily:
        queries["daily"] = daily
    chart_context, results = await render.run_queries(request, view, queries)
    sums = panels.compared(results["sums"])
    totals = tiles.total(sums)
    budgets, prices = await asyncio.gather(_budgets(request, view, results["options"]), _price_changes(request))
    marks = cost_marks.marks(chart_context, results.get("daily"), results["annotations"], prices)
    line = _pace(chart_context, budgets[0]) if budgets else None
    listings = {
        "models": listing.arranged(view, results, "models", MODEL_COLUMNS, "cost"),
        "providers": listing.arranged(view, results, "providers", REQUESTS, "cost"),
        "tokens": listing.arranged(view, results, "tokens", REQUESTS, "cost"),
        "unpriced": listing.arranged(view, results, "unpriced", listing.TOKENS, "requests"),
    }
    classes = results["classes"].row.get("cost_by_class", {})
    return await render.report(
        request,
        "cost.html",
        chart_context,
        results,
        totals=totals,
        is_empty=totals.get("requests") == 0 and not budgets,
        forecast=cost_marks.forecast(view, sums),
        listings=listings,
        marks_failure=_failure(results),
        budgets=budgets,
        amount=wording.amount,
        limit_text=wording.text,
        classes=sorted(classes.items(), key=lambda item: (-item[1], item[0])),
        tiles=[
            *(tiles.tile(chart_context, sums, headline) for headline in TILES),
            *tiles.equivalent(results["equivalent"], chart_context.money),
        ],
        charts=[
            panel_charts.cost_by(
                chart_context, results["by_model"], "Cost by model", total=totals, marks=marks, line=line
            ),
            panel_charts.cost_by(
                chart_context,
                results["by_provider"],
                "Cost by provider",
                total=totals,
                name="cost-by-provider",
                line=line,
            ),
        ],
    )


def _pace(chart_context: ChartContext, budget: tuple[Limit, Usage]) -> Line:
    """Return what an even use of a budget costs in each bucket of the charts."""
    limit, usage = budget
    days = periods.rolling_days(limit.period)
    length = timedelta(days=days) if days or usage.span.end is None else usage.span.end - usage.span.start
    starts = chart_context.view.period.buckets()
    step = starts[-1] - starts[-2] if len(starts) > 1 else chart_context.view.period.until - starts[0]
    dollars = limit.amount / limit.rate * Decimal(step / length)
    return Line(float(chart_context.money.amount(dollars) or 0), f"{limit.name}, spread evenly")


def _failure(results: Mapping[str, QueryResult]) -> str:
    """Return why marks are missing; "" if none are."""
    found = (results[name].failure for name in ("daily", "annotations") if name in results)
    return next(filter(None, found), "")


async def _price_changes(request: web.Request) -> Mapping[int, datetime]:
    """Return when each version of the prices was accepted; {} while NATS is unreachable."""
    try:
        async with asyncio.timeout(BUDGET_SECONDS):
            return await versions.changes(app_context.jetstream(request))
    except (Unavailable, *NATS_ERRORS):
        return {}


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
