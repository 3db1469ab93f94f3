"""Accounts, tokens and provider keys: what there is comes out, changes go in; a token is shown once, a key never."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Any

from aiohttp import web

from services.dashboard import app_context, forms
from services.dashboard.admin_changes import UNREACHABLE, Failed, Unavailable
from services.dashboard.forms import NOTHING, Form, FormResult
from services.dashboard.queries.runner import Query
from shared import accounts_admin, provider_keys
from shared.accounts_admin import AccountError
from shared.accounts_model import Accounts, Token
from shared.rights import RIGHTS

_SEALING = "provider keys cannot be stored: METRION_SECRET_KEY is not set"


def routes() -> Sequence[web.RouteDef]:
    """/keys and the changes made there."""
    return [
        web.get("/keys", show),
        web.post("/keys/account", forms.handler(create_account, show)),
        web.post("/keys/account/revoke", forms.handler(revoke_account, show)),
        web.post("/keys/token", forms.handler(create_token, show)),
        web.post("/keys/token/revoke", forms.handler(revoke_token, show)),
        web.post("/keys/token/regenerate", forms.handler(regenerate_token, show)),
        web.post("/keys/provider", forms.handler(store_key, show)),
        web.post("/keys/provider/delete", forms.handler(delete_key, show)),
    ]


async def show(request: web.Request, told: FormResult = NOTHING, *, status: int = 200) -> web.Response:
    """Every account that may be seen, with its tokens and provider keys."""
    own, user = request.app[app_context.SITE], app_context.user(request)
    used = await own.books.ask(Query("dashboard_token_use", {"account": user.account}))
    last = {(row["account"], row["token"]): row["last_at"] for row in used.rows}
    failure, directory = "", Accounts()
    try:
        directory = await accounts_admin.read(own.control.js)
    except (Unavailable, AccountError, *Failed) as error:
        failure = str(error) if isinstance(error, Unavailable | AccountError) else UNREACHABLE
        status = max(status, 503)
    return await app_context.page(
        request,
        "keys.html",
        active="/keys",
        status=status,
        told=told,
        failure=failure,
        accounts=[_account(directory, name, last) for name in _visible(directory, user.account)],
        providers=sorted(own.providers),
        rights=RIGHTS,
        can_seal=bool(own.sealing.ids),
    )


async def create_account(request: web.Request, form: Form) -> FormResult:
    name = form["account"]
    await accounts_admin.create_account(_js(request), name)
    unrecorded = await forms.record(request, "account", "create", name, account=name)
    return FormResult(done=f"Account {name} created. Next: create a token.{unrecorded}")


async def revoke_account(request: web.Request, form: Form) -> FormResult:
    name = form["account"]
    count = await accounts_admin.revoke_account(_js(request), name)
    unrecorded = await forms.record(request, "account", "revoke", name, account=name, details={"tokens": str(count)})
    return FormResult(done=f"Revoked all {count} tokens of account {name}.{unrecorded}")


async def create_token(request: web.Request, form: Form) -> FormResult:
    account, name = app_context.account_of(request, form["account"]), form["name"]
    fields: dict[str, Any] = {
        "providers": form.chosen("provider"),
        "models": tuple(filter(None, (model.strip() for model in form["models"].split(",")))),
        "allow": form.chosen("allow"),
        "requester": form["requester"],
        "expires_at": _expiry(form["expires"]),
    }
    token = await accounts_admin.create_token(_js(request), account=account, name=name, **fields)
    details = {
        "expires": form["expires"],
        "providers": ",".join(fields["providers"]),
        "models": ",".join(fields["models"]),
        "allow": ",".join(fields["allow"]),
        "requester": fields["requester"],
    }
    unrecorded = await forms.record(request, "token", "create", name, account=account, details=details)
    return FormResult(done=f"Token {name} created.{unrecorded}", secret=token, name=name, account=account)


async def revoke_token(request: web.Request, form: Form) -> FormResult:
    account, name = app_context.account_of(request, form["account"]), form["name"]
    await accounts_admin.revoke_token(_js(request), account=account, name=name)
    unrecorded = await forms.record(request, "token", "revoke", name, account=account)
    return FormResult(done=f"Token {name} of account {account} revoked.{unrecorded}")


async def regenerate_token(request: web.Request, form: Form) -> FormResult:
    account, name = app_context.account_of(request, form["account"]), form["name"]
    token = await accounts_admin.regenerate_token(_js(request), account=account, name=name)
    unrecorded = await forms.record(request, "token", "regenerate", name, account=account)
    done = f"Token {name} regenerated with the same access. The old value is revoked.{unrecorded}"
    return FormResult(done=done, secret=token, name=name, account=account)


async def store_key(request: web.Request, form: Form) -> FormResult:
    own = request.app[app_context.SITE]
    account, provider = app_context.account_of(request, form["account"]), form["provider"]
    if provider not in own.providers:
        raise AccountError(f"unknown provider {provider!r}")
    if not own.sealing.ids:
        raise AccountError(_SEALING)
    made = await provider_keys.store(own.control.js, own.sealing, account=account, provider=provider, key=form["key"])
    unrecorded = await forms.record(request, "key", "set", provider, account=account)
    return FormResult(done=f"Key …{made.hint} for {provider} of account {account} stored.{unrecorded}")


async def delete_key(request: web.Request, form: Form) -> FormResult:
    account, provider = app_context.account_of(request, form["account"]), form["provider"]
    await provider_keys.delete(_js(request), account=account, provider=provider)
    unrecorded = await forms.record(request, "key", "delete", provider, account=account)
    return FormResult(done=f"Key for {provider} of account {account} deleted.{unrecorded}")


def _js(request: web.Request) -> Any:
    return request.app[app_context.SITE].control.js


def _visible(directory: Accounts, account: str) -> list[str]:
    return [name for name in sorted(directory.accounts) if account in ("", name)]


def _account(directory: Accounts, name: str, last: dict[tuple[str, str], datetime]) -> dict[str, Any]:
    now = datetime.now(UTC)
    tokens = [token for token in directory.tokens.values() if token.account == name]
    tokens.sort(key=lambda token: (token.revoked_at is not None, token.name, token.created_at))
    keys = [key for _, key in sorted(directory.keys.items()) if key.account == name and key.sealed is not None]
    rows = [{"token": token, "state": _state(token, now=now), "last": last.get((name, token.name))} for token in tokens]
    return {
        "name": name,
        "account": directory.accounts[name],
        "tokens": [row for row in rows if row["state"] != "revoked"],
        "revoked": [row for row in rows if row["state"] == "revoked"],
        "own_keys": keys,
    }


def _state(token: Token, *, now: datetime) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= now else "active"


def _expiry(text: str) -> datetime | None:
    try:
        return datetime.combine(date.fromisoformat(text), time(), tzinfo=UTC) if text else None
    except ValueError:
        raise AccountError(f"invalid date {text!r}; use e.g. 2027-01-31") from None
