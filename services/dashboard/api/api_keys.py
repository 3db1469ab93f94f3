"""Keys of the API itself, shown once."""

from datetime import UTC, datetime

import msgspec
from aiohttp import web

from services.dashboard import app_context, forms
from services.dashboard.api import admin, formats, params
from services.dashboard.api.operation import Operation, Parameter
from shared import api_keys
from shared.accounts_model import Moment


class NewApiKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An API key to create. `account`: the only one it may use; "" for all."""

    name: str
    role: str = api_keys.READ
    account: str = ""
    expires_at: Moment | None = None


class ApiKeyInfo(msgspec.Struct, kw_only=True):
    """An API key. `last_used_at`: to the minute."""

    name: str
    role: str
    account: str
    hint: str
    state: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class ApiKeys(msgspec.Struct, kw_only=True):
    """API keys by account and name."""

    rows: list[ApiKeyInfo]


async def list_keys(request: web.Request) -> web.Response:
    """List API keys, revoked ones included."""
    js = app_context.jetstream(request)
    found = await api_keys.listing(js, account=app_context.user(request).account)
    uses = await api_keys.last_uses(js)
    now = datetime.now(UTC)
    rows = [
        ApiKeyInfo(
            name=key.name,
            role=key.role,
            account=key.account,
            hint=key.hint,
            state=key.state(now=now),
            created_at=key.created_at,
            created_by=key.created_by,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            last_used_at=uses.get(digest),
        )
        for digest, key in found
    ]
    return formats.respond(request, ApiKeys(rows=rows))


async def create_key(request: web.Request) -> web.Response:
    """Create an API key, of the caller's account if they are confined to one."""
    body = await params.body(request, NewApiKey)
    account = app_context.account_of(request, body.account)
    await app_context.check_account(request, account)
    secret = await api_keys.create(
        app_context.jetstream(request),
        name=body.name,
        role=body.role,
        account=account,
        expires_at=body.expires_at,
        created_by=app_context.user(request).name,
    )
    await forms.record(request, "api-key", "create", body.name, account=account, details={"role": body.role})
    return formats.created(admin.Secret(name=body.name, account=account, secret=secret))


async def revoke_key(request: web.Request) -> web.Response:
    """Revoke an API key."""
    account = app_context.account_of(request, request.query.get("account", ""))
    name = request.match_info["name"]
    await api_keys.revoke(app_context.jetstream(request), name=name, account=account)
    await forms.record(request, "api-key", "revoke", name, account=account)
    return admin.done()


OPERATIONS = (
    Operation(
        method="GET", path="/api-keys", handler=list_keys, summary="List API keys", response=ApiKeys, tag="API keys"
    ),
    Operation(
        method="POST",
        path="/api-keys",
        handler=create_key,
        summary="Create an API key, shown once",
        body=NewApiKey,
        response=admin.Secret,
        status=201,
        tag="API keys",
    ),
    Operation(
        method="DELETE",
        path="/api-keys/{name}",
        handler=revoke_key,
        summary="Revoke an API key",
        parameters=(Parameter("account", "Account of the key; without it, a key of all accounts."),),
        status=204,
        tag="API keys",
    ),
)
