"""API tokens of an account, shown once."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from services.dashboard import app_context, forms
from services.dashboard.api import admin, formats, params
from services.dashboard.api.operation import Operation
from shared import accounts_admin
from shared.accounts_model import Moment, Token


class NewToken(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A token to create. `providers`, `models`: the only ones allowed; empty for all."""

    name: str
    expires_at: Moment | None = None
    providers: list[str] = []
    models: list[str] = []
    requester: str = ""
    allow: list[str] = []


class TokenInfo(msgspec.Struct, kw_only=True):
    """A token. `hint`: its last four characters."""

    account: str
    name: str
    hint: str
    state: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    providers: list[str]
    models: list[str]
    requester: str
    allow: list[str]


class Tokens(msgspec.Struct, kw_only=True):
    """The tokens of an account."""

    rows: list[TokenInfo]


async def list_tokens(request: web.Request) -> web.Response:
    """List the tokens of an account, revoked ones included."""
    account = request.match_info["account"]
    found = await admin.directory(request, account)
    tokens = sorted(
        (one for one in found.tokens.values() if one.account == account), key=lambda one: (one.name, one.created_at)
    )
    return formats.respond(request, Tokens(rows=[_token(one) for one in tokens]))


async def create_token(request: web.Request) -> web.Response:
    """Create a token."""
    body = await params.body(request, NewToken)
    account = await admin.account(request)
    fields: dict[str, Any] = {
        "providers": tuple(admin.known_provider(request, name) for name in body.providers),
        "models": tuple(body.models),
        "requester": body.requester,
        "allow": tuple(body.allow),
        "expires_at": body.expires_at,
    }
    secret = await accounts_admin.create_token(
        app_context.jetstream(request), account=account, name=body.name, **fields
    )
    details = {
        "expires": body.expires_at.isoformat() if body.expires_at else "",
        **{name: ",".join(fields[name]) for name in ("providers", "models", "allow")},
        "requester": body.requester,
    }
    await forms.record(request, "token", "create", body.name, account=account, details=details)
    return formats.created(admin.Secret(name=body.name, account=account, secret=secret))


async def regenerate_token(request: web.Request) -> web.Response:
    """Give a token a new value with the same access."""
    account = await admin.account(request)
    name = request.match_info["name"]
    secret = await accounts_admin.regenerate_token(app_context.jetstream(request), account=account, name=name)
    await forms.record(request, "token", "regenerate", name, account=account)
    return formats.created(admin.Secret(name=name, account=account, secret=secret))


async def revoke_token(request: web.Request) -> web.Response:
    """Revoke a token."""
    account = await admin.account(request)
    name = request.match_info["name"]
    await accounts_admin.revoke_token(app_context.jetstream(request), account=account, name=name)
    await forms.record(request, "token", "revoke", name, account=account)
    return admin.done()


def _token(token: Token) -> TokenInfo:
    state = "active"
    if token.revoked_at is not None:
        state = "revoked"
    elif token.expires_at is not None and token.expires_at <= datetime.now(UTC):
        state = "expired"
    return TokenInfo(
        account=token.account,
        name=token.name,
        hint=token.hint,
        state=state,
        created_at=token.created_at,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
        providers=list(token.providers),
        models=list(token.models),
        requester=token.requester,
        allow=list(token.allow),
    )


_TOKENS = "/accounts/{account}/tokens"
OPERATIONS = (
    Operation(
        method="GET",
        path=_TOKENS,
        handler=list_tokens,
        summary="List tokens",
        response=Tokens,
        tag="Tokens",
    ),
    Operation(
        method="POST",
        path=_TOKENS,
        handler=create_token,
        summary="Create a token, shown once",
        body=NewToken,
        response=admin.Secret,
        status=201,
        tag="Tokens",
    ),
    Operation(
        method="POST",
        path=f"{_TOKENS}/{{name}}/regenerate",
        handler=regenerate_token,
        summary="Replace a token by a new one with the same access",
        response=admin.Secret,
        status=201,
        tag="Tokens",
    ),
    Operation(
        method="DELETE",
        path=f"{_TOKENS}/{{name}}",
        handler=revoke_token,
        summary="Revoke a token",
        status=204,
        tag="Tokens",
    ),
)
