"""Limits and budgets with what is used of them."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from aiohttp import web

from services.dashboard import app_context, forms
from services.dashboard.api import admin, formats, params
from services.dashboard.api.admin import ScopeFields
from services.dashboard.api.formats import Amount
from services.dashboard.api.operation import Operation, Parameter
from shared import accounts_admin
from shared.limits import admin as limit_admin
from shared.limits import usage as limit_usage
from shared.limits import wording
from shared.limits.model import COST, MINUTE, Limit
from shared.limits.usage import Usage

MOST_USES = 100  # values of a budget of each


class LimitFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A limit to set.

    `rate`: units of the currency for one US dollar, if none is configured.
    """

    measure: str  # requests, tokens or cost
    amount: str
    period: str = ""  # minute, day, week, month, or days such as 30d; default: minute, of cost month
    mode: str = "refuse"  # refuse, warn or strict
    currency: str = "USD"
    rate: str = ""
    timezone: str = "UTC"
    scope: ScopeFields = ScopeFields()


class LimitUse(msgspec.Struct, kw_only=True):
    """What is used of a budget.

    `each`: the values whose budget it is, if each has one.
    """

    each: list[str]
    used: Amount
    percent: float
    unpriced: int


class LimitInfo(msgspec.Struct, kw_only=True):
    """A limit. `uses` is null for one per minute, which gateways count."""

    account: str
    name: str
    text: str
    covers: str
    measure: str
    amount: Amount
    period: str
    mode: str
    currency: str
    timezone: str
    scope: ScopeFields
    period_start: datetime | None
    period_end: datetime | None
    uses: list[LimitUse] | None


class Limits(msgspec.Struct, kw_only=True):
    """Limits by account and name."""

    rows: list[LimitInfo]


async def list_limits(request: web.Request) -> web.Response:
    """List limits, and what is used of budgets in their present period."""
    js = app_context.jetstream(request)
    account = request.query.get("account", "")
    params.require_account(request, account)
    account = app_context.user(request).account or account
    found = await accounts_admin.read(js)
    chosen = [limit for _, limit in sorted(found.limits.items()) if account in ("", limit.account)]
    used = await limit_usage.read(js, chosen, now=datetime.now(UTC))
    return formats.respond(request, Limits(rows=[_info(one, used.get(f"{one.account}.{one.name}")) for one in chosen]))


async def set_limit(request: web.Request) -> web.Response:
    """Set a limit, or change the one of that name."""
    body = await params.body(request, LimitFields)
    account = await admin.account(request)
    made = Limit(
        account=account,
        name=request.match_info["name"],
        created_at=datetime.now(UTC),
        amount=limit_admin.amount(body.amount),
        measure=body.measure,  # type: ignore[arg-type]  # limit_admin.check refuses others
        period=body.period or ("month" if body.measure == COST else MINUTE),
        scope=admin.scope(request, body.scope),
        mode=body.mode,  # type: ignore[arg-type]
        timezone=body.timezone,
        **admin.money(request, body.currency, body.rate),
    )
    await limit_admin.put(app_context.jetstream(request), made)
    details = {"limit": wording.text(made), "covers": wording.covers(made.scope)}
    await forms.record(request, "limit", "set", made.name, account=account, details=details)
    return formats.respond(request, _info(made, None))


async def delete_limit(request: web.Request) -> web.Response:
    """Delete a limit."""
    account = await admin.account(request)
    name = request.match_info["name"]
    await limit_admin.delete(app_context.jetstream(request), account=account, name=name)
    await forms.record(request, "limit", "delete", name, account=account)
    return admin.done()


def _info(limit: Limit, usage: Usage | None) -> LimitInfo:
    return LimitInfo(
        account=limit.account,
        name=limit.name,
        text=wording.text(limit),
        covers=wording.covers(limit.scope),
        measure=limit.measure,
        amount=formats.amount(limit.amount) or "0",
        period=limit.period,
        mode=limit.mode,
        currency=limit.currency if limit.measure == COST else "",
        timezone=limit.timezone,
        scope=admin.scope_fields(limit.scope),
        period_start=usage.span.start if usage else None,
        period_end=usage.span.end if usage else None,
        uses=None if usage is None else _uses(usage.uses),
    )


def _uses(uses: Sequence[limit_usage.Use]) -> list[LimitUse]:
    return [
        LimitUse(
            each=list(use.each),
            used=formats.amount(use.amount) or "0",
            percent=round(use.percent, 1),
            unpriced=use.unpriced,
        )
        for use in uses[:MOST_USES]
    ]


_PATH = "/accounts/{account}/limits/{name}"
OPERATIONS = (
    Operation(
        method="GET",
        path="/limits",
        handler=list_limits,
        summary="List limits and budgets, and what is used of them",
        response=Limits,
        parameters=(Parameter("account", "Only this account."),),
        tag="Limits",
    ),
    Operation(
        method="PUT",
        path=_PATH,
        handler=set_limit,
        summary="Set a limit or budget, or change one",
        body=LimitFields,
        response=LimitInfo,
        tag="Limits",
    ),
    Operation(
        method="DELETE", path=_PATH, handler=delete_limit, summary="Delete a limit or budget", status=204, tag="Limits"
    ),
)
