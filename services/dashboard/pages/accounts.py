"""Accounts page: spend by account; and the statement of an account for a month."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from aiohttp import web

from services.dashboard import app_context, page_params, render
from services.dashboard.nats_connection import NATS_ERRORS, Unavailable
from services.dashboard.page_params import View
from services.dashboard.periods import BadParameter
from services.dashboard.queries import panels, statement
from services.dashboard.queries.statement import Month
from shared import accounts_admin
from shared.accounts_admin import AccountError
from shared.limits import usage as limit_usage
from shared.limits import wording
from shared.limits.model import Limit, Scope
from shared.limits.usage import Usage

LISTED = 200  # accounts, or lines of a section of a statement
BUDGET_SECONDS = 2.0  # that the page waits for NATS
Budgets = Mapping[str, Sequence[tuple[Limit, Usage]]]  # by account


def routes() -> Sequence[web.RouteDef]:
    """GET /accounts, and statements."""
    return [web.get("/accounts", accounts), web.get("/statement", show_statement), web.get("/statement.csv", export)]


async def accounts(request: web.Request) -> web.Response:
    """Show cost, requests and budgets of each account that the user may see."""
    view = await page_params.parse_params(request)
    figures = ("errors", "tokens", "saved", *panels.COST)
    queries = {
        "accounts": panels.table(view, "account", "requests", *figures, limit=LISTED, order="cost"),
        "sums": panels.sums(view, *panels.COST),
    }
    (chart_context, results), budgets = await asyncio.gather(
        render.run_queries(request, view, queries), _budgets(request, view)
    )
    return await render.report(
        request,
        "accounts.html",
        chart_context,
        results,
        totals=panels.compared(results["sums"]).total() or {},
        budgets=budgets,
        month=f"{view.period.now.astimezone(view.tz):%Y-%m}",
        amount=wording.amount,
        limit_text=wording.text,
        listed=LISTED,
    )


async def show_statement(request: web.Request) -> web.Response:
    """Show what an account owes for a month, by model and by requester."""
    view, month = await _parse(request)
    result = await app_context.runner(request).run(statement.query(view.account, month))
    return await render.page(
        request,
        "statement.html",
        active="/",
        status=503 if result.failure else 200,
        view=view,
        money=app_context.chosen_currency(request),
        is_frozen=True,
        failure=result.failure,
        month=month,
        total=next(iter(statement.section(result.rows, "total")), None),
        models=statement.section(result.rows, "model"),
        requesters=statement.section(result.rows, "requester"),
        listed=LISTED,
    )


async def export(request: web.Request) -> web.Response:
    """Return the statement as a CSV file, in US dollars."""
    view, month = await _parse(request)
    result = await app_context.runner(request).run(statement.query(view.account, month))
    if result.failure:
        raise web.HTTPServiceUnavailable(text=result.failure)
    name = f"metrion-statement-{view.account}-{month.name}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store", "Vary": "Cookie"}
    return web.Response(text=statement.as_csv(result.rows), content_type="text/csv", charset="utf-8", headers=headers)


async def _parse(request: web.Request) -> tuple[View, Month]:
    """Parse account and month; 400 without an account."""
    view = await page_params.parse_params(request)
    if not view.account:
        raise web.HTTPBadRequest(text="Name an account: /statement?account=…&month=2026-11")
    try:
        now = f"{view.period.now.astimezone(view.tz):%Y-%m}"
        return view, statement.month(view.query.get("month", now), view.tz)
    except BadParameter as error:
        raise web.HTTPBadRequest(text=str(error)) from None


async def _budgets(request: web.Request, view: View) -> Budgets | None:
    """Return the budgets of all requests of each account, the most used first; None while NATS is unreachable."""
    try:
        async with asyncio.timeout(BUDGET_SECONDS):
            js = app_context.jetstream(request)
            directory = await accounts_admin.read(js)
            limits = [
                limit
                for limit in directory.limits.values()
                if view.account in ("", limit.account) and limit.scope == Scope() and not limit.is_rate
            ]
            usage = await limit_usage.read(js, limits, now=datetime.now(UTC))
    except (Unavailable, AccountError, *NATS_ERRORS):
        return None
    found: dict[str, list[tuple[Limit, Usage]]] = {}
    for limit in limits:
        found.setdefault(limit.account, []).append((limit, usage[f"{limit.account}.{limit.name}"]))
    return {name: sorted(of, key=lambda one: (-one[1].most.percent, one[0].name)) for name, of in found.items()}
