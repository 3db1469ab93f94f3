"""What changed the cost from one period to the next, and who and what moved it."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from aiohttp import web

from services.dashboard import app_context, cost_change
from services.dashboard.api import formats, params
from services.dashboard.api.formats import Amount
from services.dashboard.api.operation import Operation, choice, integer, of_view
from services.dashboard.currency import Currency
from services.dashboard.queries import changes, joint_source

MOST_ROWS = 1000


class Mover(msgspec.Struct, kw_only=True):
    """The cost of a requester's use of a model in both periods."""

    requester: str
    provider: str
    model: str
    cost_before: Amount
    cost_now: Amount
    change: Amount
    requests_before: int
    requests_now: int
    unpriced: int


class Parts(msgspec.Struct, kw_only=True):
    """Parts of a change; they add up to it.

    `volume`: more or fewer requests. `mix`: other shares of the models, and new ones. `tokens`: longer or shorter
    requests. `price`: cost per token of the same model.
    """

    volume: Amount
    mix: Amount
    tokens: Amount
    price: Amount


class Changes(msgspec.Struct, kw_only=True):
    """The change of known cost, and the largest movers of it.

    `groups`: the number of all movers. `unpriced`: requests of both periods whose cost is unknown.
    """

    since: datetime
    until: datetime
    before_since: datetime
    before_until: datetime
    tz: str
    currency: str
    cost_before: Amount
    cost_now: Amount
    change: Amount
    parts: Parts
    unpriced: int
    groups: int
    rows: list[Mover]


async def cost_changes(request: web.Request) -> web.Response:
    """Compare the part of a period that has passed with as much of the one before."""
    view = await params.view(request)
    runner = app_context.runner(request)
    days = await joint_source.summed_days(runner)
    limit = params.number(request, "limit", changes.LISTED)
    results = await runner.run_all({"compared": changes.compared(view, days, limit=limit)})
    if reason := next((result.failure for result in results.values() if result.failure), ""):
        raise params.failed(reason)
    money = app_context.chosen_currency(request)
    before, now = changes.uses(results["by_model"])
    split = cost_change.split(before, now)
    spans = changes.spans(view)
    movers = results["movers"]
    rows = [_mover(row, money) for row in movers.rows]
    document = Changes(
        since=spans.now.since.astimezone(view.tz),
        until=spans.now.until.astimezone(view.tz),
        before_since=spans.before.since.astimezone(view.tz),
        before_until=spans.before.until.astimezone(view.tz),
        tz=view.tz.key,
        currency=money.code,
        cost_before=_amount(sum((use.cost for use in before.values()), Decimal(0)), money),
        cost_now=_amount(sum((use.cost for use in now.values()), Decimal(0)), money),
        change=_amount(split.change, money),
        parts=Parts(**{name: _amount(getattr(split, name), money) for name in Parts.__struct_fields__}),
        unpriced=changes.unpriced(results["by_model"]),
        groups=movers.row.get("groups", 0),
        rows=rows,
    )
    return formats.respond(request, document, rows)


def _mover(row: Mapping[str, Any], money: Currency) -> Mover:
    amounts = {name: _amount(row[name], money) for name in ("cost_before", "cost_now", "change")}
    return Mover(
        requester=row["requester"],
        provider=row["provider"],
        model=row["model"],
        requests_before=row["requests_before"],
        requests_now=row["requests_now"],
        unpriced=row["unpriced"] + row["unpriced_before"],
        **amounts,
    )


def _amount(dollars: Decimal, money: Currency) -> str:
    return formats.amount(money.amount(dollars)) or "0"


OPERATIONS = (
    Operation(
        method="GET",
        path="/changes",
        handler=cost_changes,
        summary="Explain a change of cost",
        description="As on the page Changes: the change in parts, and the requesters and models that moved it most.",
        response=Changes,
        row=Mover,
        parameters=of_view(
            choice("compare", "The period to compare with.", ("previous", "week"), default="previous"),
            integer("limit", "How many of the largest changes to list.", low=1, high=MOST_ROWS, default=changes.LISTED),
        ),
    ),
)
