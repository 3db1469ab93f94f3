"""Limits page: limits and budgets, what is used of them, and what they refused."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from services.dashboard import app_context, filter_params, forms, page_params, paging, render, scope_fields
from services.dashboard.app_context import AppContext, User
from services.dashboard.forms import NOTHING, Form, FormResult
from services.dashboard.nats_connection import NATS_ERRORS, UNREACHABLE, Unavailable
from services.dashboard.page_params import View
from services.dashboard.queries import log_pages, panels
from shared import accounts_admin, decimals
from shared.accounts_admin import AccountError
from shared.accounts_model import Accounts
from shared.limits import admin as limit_admin
from shared.limits import minute_usage, periods, wording
from shared.limits import usage as limit_usage
from shared.limits.model import COST, EACH, MINUTE, Limit
from shared.limits.usage import Usage

PAGE = 20  # limits on a page, by account and name
MINUTE_USAGE_SECONDS = 2.0  # that the page waits for the counters of limits per minute
LISTED = 10  # values of a limit of each
ROLLING = "rolling"  # choice of the form; the number of days is a field of its own
PERIODS = {
    "month": "per month",
    "week": "per week",
    "day": "per day",
    ROLLING: "rolling days",
    MINUTE: "per minute (not for cost)",
}
MEASURES = {COST: "cost", "tokens": "tokens", "requests": "requests"}
MODES = {
    "refuse": "Refuse requests",
    "warn": "Warn only",
    "strict": "Strict: refuse whatever could exceed it",
}
FOR = "for"  # parameter: the token that a new limit is for
DEFAULTS = {"measure": COST, "period": "month", "days": "30", "mode": "refuse", "currency": "USD", "timezone": "UTC"}
FIELDS = ("account", "name", "change", "measure", "amount", "period", "days", "mode", "timezone", *scope_fields.NAMES)
REFUSALS = {"rate_limit_exceeded": "rate limit", "budget_exceeded": "budget"}


class Entry(NamedTuple):
    """A limit as shown. `usage` None: NATS is unreachable."""

    limit: Limit
    text: str
    covers: str
    usage: Usage | None
    links: Sequence[str]  # to the cost of each of its uses
    has_each: bool


def routes() -> Sequence[web.RouteDef]:
    """GET /limits and its changes."""
    return [
        web.get("/limits", show),
        web.post("/limits", forms.handler(set_limit, show)),
        web.post("/limits/delete", forms.handler(delete_limit, show)),
    ]


async def show(request: web.Request, result: FormResult = NOTHING, *, status: int = 200) -> web.Response:
    """Show a page of the user's limits, the form for one, and what was refused."""
    context = request.app[app_context.APP_CONTEXT]
    user = app_context.user(request)
    view = await _view(request)
    now = datetime.now(UTC)
    failure = ""
    directory = Accounts()
    chosen = list[Limit]()
    used: dict[str, Usage] = {}
    try:
        directory = await accounts_admin.read(context.nats.js)
        chosen = [limit for _, limit in sorted(directory.limits.items()) if view.account in ("", limit.account)]
        shown = paging.part(request, chosen, PAGE)
        used = await limit_usage.read(context.nats.js, shown, now=now)
        used |= await _minute_usage(context, shown, directory, now=now)
    except (Unavailable, AccountError, *NATS_ERRORS) as error:
        failure = str(error) if isinstance(error, Unavailable | AccountError) else UNREACHABLE
        status = max(status, 503)
    edited = directory.limits.get(f"{view.account or user.account}.{view.query.get('edit', '')}")
    if result.done:
        edited = None
    return await render.page(
        request,
        "limits.html",
        active="/limits",
        status=status,
        view=view,
        result=result,
        failure=failure,
        accounts=[name for name in sorted(directory.accounts) if user.account in ("", name)],
        entries=[
            _entry(view, user, limit, used.get(f"{limit.account}.{limit.name}"))
            for limit in paging.part(request, chosen, PAGE)
        ],
        count=len(chosen),
        has_default=directory.installation is not None,
        pages=paging.pages(request, len(chosen), PAGE),
        listed=LISTED,
        draft=_draft(user, view, result, edited),
        is_change=_is_change(result, edited),
        is_open=bool(result.typed and "measure" in result.typed) or edited is not None or FOR in view.query,
        measures=MEASURES,
        limit_periods=PERIODS,
        modes=MODES,
        providers=sorted(context.providers),
        amount=wording.amount,
        refused=await context.runner.run(panels.limit_refusals(view)),
        refusals=REFUSALS,
        refusal_link=lambda row: _refusal_link(view, user, row),
    )


async def _minute_usage(
    context: AppContext, limits: Sequence[Limit], directory: Accounts, *, now: datetime
) -> Mapping[str, Usage]:
    """Read what is used of limits per minute, without those whose counters cannot be read in time."""

    async def read(limit: Limit) -> Mapping[str, Usage]:
        tokens = {limit.account: [token.name for token in directory.active(limit.account).values()]}
        try:
            async with asyncio.timeout(MINUTE_USAGE_SECONDS):
                return await minute_usage.read(context.nats.js, [limit], tokens, now=now)
        except NATS_ERRORS:
            return {}

    found: dict[str, Usage] = {}
    for one in await asyncio.gather(*(read(limit) for limit in limits)):
        found |= one
    return found


async def set_limit(request: web.Request, form: Form) -> FormResult:
    """Set a limit, or change the one that the form names in `change`."""
    context = request.app[app_context.APP_CONTEXT]
    account = app_context.account_of(request, form["account"])
    made = _limit(form, account, context)
    await limit_admin.put(context.nats.js, made, is_new=form["change"] != made.name)
    details = {"limit": wording.text(made), "covers": wording.covers(made.scope)}
    unrecorded = await forms.record(request, "limit", "set", made.name, account=account, details=details)
    done = f"Limit {made.name} of account {account}: {wording.text(made)}, {wording.covers(made.scope)}.{unrecorded}"
    return FormResult(done=done)


async def delete_limit(request: web.Request, form: Form) -> FormResult:
    """Delete a limit."""
    account = app_context.account_of(request, form["account"])
    name = form["name"]
    await limit_admin.delete(app_context.jetstream(request), account=account, name=name)
    unrecorded = await forms.record(request, "limit", "delete", name, account=account)
    return FormResult(done=f"Limit {name} of account {account} deleted.{unrecorded}")


async def _view(request: web.Request) -> View:
    """Parse period and account; other filters do not apply to this page."""
    view = await page_params.parse_params(request)
    kept = {name: value for name, value in view.query.items() if name not in {*filter_params.FILTERS, "without"}}
    if view.account and not app_context.user(request).account:
        kept["account"] = view.account
    return msgspec.structs.replace(view, path="/limits", filters={}, query=kept)


def _entry(view: View, user: User, limit: Limit, usage: Usage | None) -> Entry:
    uses = usage.uses[:LISTED] if usage else []
    links = [_use_link(view, user, limit, usage, use.each) for use in uses] if usage else []
    return Entry(limit, wording.text(limit), wording.covers(limit.scope), usage, links, limit.scope.has_each)


def _use_link(view: View, user: User, limit: Limit, usage: Usage, each: Sequence[str]) -> str:
    """Return the link to the cost of one value in the limit's period."""
    scope = limit.scope
    values = iter(each)
    filters = {"account": "" if user.account else limit.account, "provider": scope.provider}
    for name, value in (("token", scope.token), ("requester", scope.requester), ("meta", scope.metadata_value)):
        filters[name] = next(values, "") if value == EACH else value
    if scope.metadata_key:
        filters["meta"] = f"{scope.metadata_key}={filters['meta']}"
    if not set(scope.model) & set("*?["):
        filters["model"] = scope.model
    start = str(int(usage.span.start.timestamp()))
    return view.url("/cost", **{**filters, "edit": "", "page": "", "period": "", "from": start})


def _refusal_link(view: View, user: User, row: Mapping[str, Any]) -> str:
    """Return the link to the log rows behind a row of refusals."""
    names = [name for name in filter_params.UNNAMED if name in row]
    filters = {name: row[name] for name in names}
    filters["account"] = "" if user.account else row["account"]
    without = ",".join(sorted(name for name in names if not row[name]))
    search = {log_pages.SEARCH: row["error_type"], "status": "429"}
    return view.url("/logs", **filters, **search, without=without, edit="")


def _limit(form: Form, account: str, context: AppContext) -> Limit:
    """Build a limit from a form; AccountError for a field that cannot be read."""
    period = f"{form['days']}d" if form["period"] == ROLLING else form["period"]
    has_days = period != MINUTE and not periods.rolling_days(period)
    fields: dict[str, Any] = {
        "amount": limit_admin.amount(form["amount"]),
        "measure": form["measure"],
        "period": period,
        "mode": form["mode"],
        "timezone": (form["timezone"] or "UTC") if has_days else "UTC",
        "scope": scope_fields.scope(form, context),
        **scope_fields.money(form, context),
    }
    return Limit(account=account, name=form["name"], created_at=datetime.now(UTC), **fields)


def _is_change(result: FormResult, edited: Limit | None) -> bool:
    return bool(result.typed["change"]) if result.typed else edited is not None


def _draft(user: User, view: View, result: FormResult, edited: Limit | None) -> dict[str, str]:
    """Return the values of the form: as typed, of the limit to change, or defaults."""
    if result.typed and "measure" in result.typed:
        return {name: result.typed[name] for name in FIELDS}
    empty = dict.fromkeys(FIELDS, "")
    if edited is None:
        token = view.query.get(FOR, "")
        return empty | DEFAULTS | {"account": view.account, "timezone": user.tz, "token": token}
    days = periods.rolling_days(edited.period)
    return (
        empty
        | {
            "account": edited.account,
            "name": edited.name,
            "change": edited.name,
            "measure": edited.measure,
            "amount": decimals.exact(edited.amount),
            "period": ROLLING if days else edited.period,
            "days": str(days or DEFAULTS["days"]),
            "mode": edited.mode,
            "currency": edited.currency,
            "rate": "" if edited.currency == "USD" else decimals.exact(edited.rate),
            "timezone": edited.timezone,
        }
        | scope_fields.values(edited.scope)
    )
