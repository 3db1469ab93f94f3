"""Changes page: why the cost changed from the previous period."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from aiohttp import web

from services.dashboard import app_context, cost_change, page_params, render
from services.dashboard.queries import changes, joint_source


class Part(NamedTuple):
    """A part of the change as shown."""

    name: str
    amount: Decimal
    meaning: str


def routes() -> Sequence[web.RouteDef]:
    """GET /changes."""
    return [web.get("/changes", show)]


async def show(request: web.Request) -> web.Response:
    """Show the change of cost, its parts, and who and what moved it."""
    runner = app_context.runner(request)
    view, days = await asyncio.gather(page_params.parse_params(request), joint_source.summed_days(runner))
    chart_context, results = await render.run_queries(request, view, {"compared": changes.compared(view, days)})
    before, now = changes.uses(results["by_model"])
    split = cost_change.split(before, now)
    parts = [
        Part("Volume", split.volume, "more or fewer requests, at the previous average cost"),
        Part("Mix", split.mix, "a different mix of models, new ones included"),
        Part("Tokens per request", split.tokens, "longer or shorter requests of the same model"),
        Part("Price", split.price, "cost per token of the same model: prices, caching, input against output"),
    ]
    return await render.report(
        request,
        "changes.html",
        chart_context,
        results,
        is_frozen=True,
        spans=changes.spans(view),
        cost_before=sum((use.cost for use in before.values()), Decimal(0)),
        cost_now=sum((use.cost for use in now.values()), Decimal(0)),
        unpriced=changes.unpriced(results["by_model"]),
        split=split,
        of_change=parts,
        widest=max((abs(part.amount) for part in parts), default=Decimal(0)) or Decimal(1),
        listed=changes.LISTED,
    )
