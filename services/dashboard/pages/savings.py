"""Savings page: what caching saves or could save, and what failures cost."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from aiohttp import web

from services.dashboard import page_params, render
from services.dashboard.page_params import View
from services.dashboard.queries.runner import Query

LISTED = 50
SECONDS = 30.0  # time limit of each query: they read all requests of the period
ENDED = {  # as cost_of_failures says how requests ended
    "error": "Failed",
    "aborted": "Client disconnected",
    "broken": "Stream cut off, or timeout",
    "interrupted": "Gateway stopped",
}
_FILTERS_OF_LOGS = {
    "error": {"status": "failed"},
    "aborted": {"outcome": "client_closed"},
    "broken": {"status": "failed"},
    "interrupted": {"outcome": "interrupted"},
}


def routes() -> Sequence[web.RouteDef]:
    """GET /savings."""
    return [web.get("/savings", savings)]


async def savings(request: web.Request) -> web.Response:
    """Show the figures of three built-in queries, as `metrion query` does."""
    view = await page_params.parse_params(request)
    queries = {
        "saved": _query(view, "cache_savings"),
        "candidates": _query(view, "cache_candidates", limit=LISTED),
        "failures": _query(view, "cost_of_failures"),
    }
    chart_context, results = await render.run_queries(request, view, queries)
    saved, failures = results["saved"].rows, results["failures"].rows
    return await render.report(
        request,
        "savings.html",
        chart_context,
        results,
        cached=sorted(saved, key=lambda row: -(row["saved_usd"] or 0))[:LISTED],
        is_frozen=True,
        sum_of=sum_of,
        failures=[row for row in failures if row["ended"] in ENDED],
        ended=ENDED,
        logs_of=lambda row: view.url("/logs", account=row["account"], **_FILTERS_OF_LOGS.get(row["ended"], {})),
        has_accounts=not view.account,
        listed=LISTED,
    )


def sum_of(rows: Iterable[Mapping[str, Any]], name: str) -> Decimal:
    """Return the sum of the known amounts of a column."""
    return sum((row[name] for row in rows if row[name] is not None), Decimal(0))


def _query(view: View, name: str, **more: Any) -> Query:
    parameters = {"since": view.since, "until": view.until, "account": view.account}
    return Query(name, parameters | more, {"max_execution_time": SECONDS})
