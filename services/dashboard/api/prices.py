"""Prices as requests were billed by them, and models that lack one."""

from datetime import datetime

import msgspec
from aiohttp import web

from services.dashboard import app_context
from services.dashboard.api import formats, params
from services.dashboard.api.formats import Amount
from services.dashboard.api.operation import Operation, of_view
from services.dashboard.queries import log_pages
from services.dashboard.queries.runner import Query

MOST_ROWS = 10_000


class PriceRow(msgspec.Struct, kw_only=True):
    """The unit prices of the latest request of a model and service tier that has any.

    `unpriced`: requests of the period whose cost is unknown.
    """

    provider: str
    model: str
    service_tier: str
    unit_prices_usd: dict[str, Amount]
    price_version: str
    billed_at: datetime | None
    requests: int
    unpriced: int


class Prices(msgspec.Struct, kw_only=True):
    """Prices of a period by provider, model and service tier."""

    since: datetime
    until: datetime
    rows: list[PriceRow]


async def prices(request: web.Request) -> web.Response:
    """Return the prices that requests of the period were billed by."""
    view = params.view_without_rollup(request)
    spans = {"since": log_pages.timestamp(view.since), "until": log_pages.timestamp(view.until), "limit": MOST_ROWS}
    result = await app_context.runner(request).run(Query("dashboard_prices", view.parameters() | spans))
    if result.failure:
        raise params.failed(result.failure)
    rows = [
        PriceRow(
            provider=row["provider"],
            model=row["model"],
            service_tier=row["service_tier"],
            unit_prices_usd={unit: formats.amount(price) or "0" for unit, price in row["unit_prices"].items()},
            price_version=row["price_version"],
            billed_at=row["billed_at"].astimezone(view.tz) if row["billed_at"] else None,
            requests=row["requests"],
            unpriced=row["unpriced"],
        )
        for row in result.rows
    ]
    document = Prices(since=view.since.astimezone(view.tz), until=view.until.astimezone(view.tz), rows=rows)
    return formats.respond(request, document, rows)


OPERATIONS = (
    Operation(
        method="GET",
        path="/prices",
        handler=prices,
        summary="Return the prices that requests were billed by",
        description="US dollars per unit, as `metrion prices show` lists them. Read from the requests of the period.",
        response=Prices,
        row=PriceRow,
        parameters=of_view(),
    ),
)
