"""Keys page: accounts, API tokens (shown once) and provider keys (never shown)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web

from services.dashboard import app_context, forms, render, token_form
from services.dashboard.forms import NOTHING, Form, FormResult
from services.dashboard.nats_connection import NATS_ERRORS, UNREACHABLE, Unavailable
from services.dashboard.pages import limits as limits_page
from services.dashboard.queries.runner import Query
from shared import accounts_admin, provider_keys
from shared.accounts_admin import AccountError
from shared.accounts_model import Accounts, Token
from shared.limits import scopes, wording
from shared.limits.model import Limit, Scope
from shared.rights import RIGHTS

SORTS = ("name", "expires", "last")  # columns by which tokens are sorted
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_NEVER = datetime.max.replace(tzinfo=UTC)
_NO_DRAFT: dict[str, Any] = {**dict.fromkeys((*token_form.TEXTS, "account", "change"), ""), "provider": (), "allow": ()}
_CANNOT_STORE = "provider keys cannot be stored: METRION_SECRET_KEY is not set"


def routes() -> Sequence[web.RouteDef]:
    """GET /keys and its changes."""
    return [
        web.get("/keys", show),
        web.post("/keys/account", forms.handler(create_account, show)),
        web.post("/keys/account/revoke", forms.handler(revoke_account, show)),
        web.post("/keys/token", forms.handler(create_token, show)),
        web.post("/keys/token/change", forms.handler(change_token, show)),
        web.post("/keys/token/revoke", forms.handler(revoke_token, show)),
        web.post("/keys/token/regenerate", forms.handler(regenerate_token, show)),
        web.post("/keys/provider", forms.handler(store_key, show)),
        web.post("/keys/provider/delete", forms.handler(delete_key, show)),
    ]


async def show(request: web.Request, result: FormResult = NOTHING, *, status: int = 200) -> web.Response:
    """Show the user's accounts with their tokens and provider keys."""
    context = request.app[app_context.APP_CONTEXT]
    user = app_context.user(request)
    last_used = await context.runner.run(Query("dashboard_token_use", {"account": user.account}))
    last = {(row["account"], row["token"]): row["last_at"] for row in last_used.rows}
    sort = request.query.get("sort", "") if request.query.get("sort") in SORTS else "name"
    failure = ""
    directory = Accounts()
    try:
        directory = await accounts_admin.read(context.nats.js)
    except (Unavailable, AccountError, *NATS_ERRORS) as error:
        failure = str(error) if isinstance(error, Unavailable | AccountError) else UNREACHABLE
        status = max(status, 503)
    return await render.page(
        request,
        "keys.html",
        active="/keys",
        status=status,
        result=result,
        failure=failure,
        accounts=[_account(directory, name, last, sort) for name in _visible(directory, user.account)],
        providers=sorted(context.providers),
        rights=RIGHTS,
        no_draft=_NO_DRAFT,
        draft=_draft(request, result, directory),
        sort=sort,
        can_store_keys=bool(context.vault.ids),
    )


async def create_account(request: web.Request, form: Form) -> FormResult:
    """Create an account."""
    name = form["account"]
    await accounts_admin.create_account(app_context.jetstream(request), name)
    unrecorded = await forms.record(request, "account", "create", name, account=name)
    return FormResult(done=f"Account {name} created. Next: create a token.{unrecorded}")


async def revoke_account(request: web.Request, form: Form) -> FormResult:
    """Revoke all tokens of an account."""
    name = form["account"]
    count = await accounts_admin.revoke_account(app_context.jetstream(request), name)
    unrecorded = await forms.record(request, "account", "revoke", name, account=name, details={"tokens": str(count)})
    return FormResult(done=f"Revoked all {count} tokens of account {name}.{unrecorded}")


async def create_token(request: web.Request, form: Form) -> FormResult:
    """Create a token."""
    account = app_context.account_of(request, form["account"])
    name = form["name"]
    fields = token_form.fields(form, _zone(request))
    token = await accounts_admin.create_token(app_context.jetstream(request), account=account, name=name, **fields)
    details = token_form.details(form, fields)
    unrecorded = await forms.record(request, "token", "create", name, account=account, details=details)
    warnings = token_form.warnings(fields, request.app[app_context.APP_CONTEXT].providers)
    return FormResult(done=f"Token {name} created.{warnings}{unrecorded}", secret=token, name=name, account=account)


async def change_token(request: web.Request, form: Form) -> FormResult:
    """Change what a token may use, its expiry and its default requester."""
    account = app_context.account_of(request, form["account"])
    name = form["name"]
    fields = token_form.fields(form, _zone(request))
    await accounts_admin.change_token(app_context.jetstream(request), account=account, name=name, **fields)
    details = token_form.details(form, fields)
    unrecorded = await forms.record(request, "token", "change", name, account=account, details=details)
    warnings = token_form.warnings(fields, request.app[app_context.APP_CONTEXT].providers)
    return FormResult(done=f"Token {name} of account {account} changed.{warnings}{unrecorded}")


async def revoke_token(request: web.Request, form: Form) -> FormResult:
    """Revoke a token."""
    account = app_context.account_of(request, form["account"])
    name = form["name"]
    await accounts_admin.revoke_token(app_context.jetstream(request), account=account, name=name)
    unrecorded = await forms.record(request, "token", "revoke", name, account=account)
    return FormResult(done=f"Token {name} of account {account} revoked.{unrecorded}")


async def regenerate_token(request: web.Request, form: Form) -> FormResult:
    """Give a token a new value with the same access."""
    account = app_context.account_of(request, form["account"])
    name = form["name"]
    token = await accounts_admin.regenerate_token(app_context.jetstream(request), account=account, name=name)
    unrecorded = await forms.record(request, "token", "regenerate", name, account=account)
    done = f"Token {name} regenerated with the same access. The old value is revoked.{unrecorded}"
    return FormResult(done=done, secret=token, name=name, account=account)


async def store_key(request: web.Request, form: Form) -> FormResult:
    """Store a provider key, encrypted."""
    context = request.app[app_context.APP_CONTEXT]
    account = app_context.account_of(request, form["account"])
    provider = form["provider"]
    if provider not in context.providers:
        raise AccountError(f"unknown provider {provider!r}")
    if not context.vault.ids:
        raise AccountError(_CANNOT_STORE)
    stored = await provider_keys.store(
        context.nats.js, context.vault, account=account, provider=provider, key=form["key"]
    )
    unrecorded = await forms.record(request, "key", "set", provider, account=account)
    return FormResult(done=f"Key …{stored.hint} for {provider} of account {account} stored.{unrecorded}")


async def delete_key(request: web.Request, form: Form) -> FormResult:
    """Delete a provider key."""
    account = app_context.account_of(request, form["account"])
    provider = form["provider"]
    await provider_keys.delete(app_context.jetstream(request), account=account, provider=provider)
    unrecorded = await forms.record(request, "key", "delete", provider, account=account)
    return FormResult(done=f"Key for {provider} of account {account} deleted.{unrecorded}")


def _visible(directory: Accounts, account: str) -> list[str]:
    return [name for name in sorted(directory.accounts) if account in ("", name)]


def _account(directory: Accounts, name: str, last: dict[tuple[str, str], datetime], sort: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    tokens = [token for token in directory.tokens.values() if token.account == name]
    tokens.sort(key=lambda token: (token.revoked_at is not None, token.name, token.created_at))
    keys = [key for _, key in sorted(directory.keys.items()) if key.account == name and key.sealed is not None]
    rows: list[dict[str, Any]] = [
        {
            "token": token,
            "state": token.state(now=now),
            "last": last.get((name, token.name)),
            "limits": _limits(directory, token),
        }
        for token in tokens
    ]
    if sort == "last":
        rows.sort(key=lambda row: row["last"] or _LONG_AGO, reverse=True)
    elif sort == "expires":
        rows.sort(key=lambda row: row["token"].expires_at or _NEVER)
    return {
        "name": name,
        "account": directory.accounts[name],
        "tokens": [row for row in rows if row["state"] != "revoked"],
        "revoked": [row for row in rows if row["state"] == "revoked"],
        "own_keys": keys,
    }


def _limits(directory: Accounts, token: Token) -> list[tuple[str, str]]:
    """Return the limits that cover a token's requests, in words, with links to them."""
    limits = directory.limits_of(token.account)
    page = {limit.name: index // limits_page.PAGE + 1 for index, limit in enumerate(limits)}
    account = token.account
    return [
        (_limit_text(limit), f"/limits?account={account}&page={page[limit.name]}#limit-{account}-{limit.name}")
        for limit in scopes.of_token(limits, token.name)
    ]


def _limit_text(limit: Limit) -> str:
    """Describe a limit of a token: "100 requests per minute, model gpt-*"."""
    scope = limit.scope
    if scope == Scope():
        return f"{wording.text(limit)}, whole account"
    conditions = wording.covers(msgspec.structs.replace(scope, token=""))
    is_plain = msgspec.structs.replace(scope, token="") == Scope()
    return wording.text(limit) if is_plain else f"{wording.text(limit)}, {conditions}"


def _zone(request: web.Request) -> ZoneInfo:
    return ZoneInfo(app_context.user(request).tz)


def _draft(request: web.Request, result: FormResult, directory: Accounts) -> dict[str, Any]:
    """Return the values of the token form, and whose account it is in.

    They are those typed, or those of the token to change; `change` is that token's name.
    """
    form = result.typed
    if form and request.path in ("/keys/token", "/keys/token/change"):
        return token_form.typed(form) | {
            "account": form["account"],
            "change": form["name"] if request.path.endswith("change") else "",
        }
    user = app_context.user(request)
    account = user.account or request.query.get("account", "")
    active = list(directory.active(account, request.query.get("edit", "")).values())
    if not active or result.done:
        return _NO_DRAFT
    return token_form.values(active[0], _zone(request)) | {"account": account, "change": active[0].name}
