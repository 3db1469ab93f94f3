"""Provider keys of an account, which can be stored and not read."""

from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web

from services.dashboard import app_context, forms
from services.dashboard.api import admin, formats, params
from services.dashboard.api.operation import Operation
from services.dashboard.app_context import APP_CONTEXT
from shared import provider_keys
from shared.accounts_admin import AccountError


class NewProviderKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A provider's API key, to be stored encrypted."""

    key: Annotated[str, msgspec.Meta(extra_json_schema={"writeOnly": True})]


class ProviderKeyInfo(msgspec.Struct, kw_only=True):
    """A stored provider key. `hint`: its last four characters."""

    account: str
    provider: str
    hint: str
    created_at: datetime


class ProviderKeys(msgspec.Struct, kw_only=True):
    """The provider keys of an account."""

    rows: list[ProviderKeyInfo]


async def list_keys(request: web.Request) -> web.Response:
    """List the provider keys of an account by their last characters."""
    account = request.match_info["account"]
    found = await admin.directory(request, account)
    rows = [
        ProviderKeyInfo(account=account, provider=one.provider, hint=one.hint, created_at=one.created_at)
        for _, one in sorted(found.keys.items())
        if one.account == account and one.sealed is not None
    ]
    return formats.respond(request, ProviderKeys(rows=rows))


async def store_key(request: web.Request) -> web.Response:
    """Store or replace a provider key."""
    body = await params.body(request, NewProviderKey)
    account = await admin.account(request)
    context = request.app[APP_CONTEXT]
    provider = admin.known_provider(request, request.match_info["provider"])
    if not context.vault.ids:
        raise AccountError("provider keys cannot be stored: METRION_SECRET_KEY is not set")
    stored = await provider_keys.store(context.nats.js, context.vault, account=account, provider=provider, key=body.key)
    await forms.record(request, "key", "set", provider, account=account)
    info = ProviderKeyInfo(account=account, provider=provider, hint=stored.hint, created_at=stored.created_at)
    return formats.respond(request, info)


async def delete_key(request: web.Request) -> web.Response:
    """Delete a provider key."""
    account = await admin.account(request)
    provider = request.match_info["provider"]  # it may no longer be configured
    await provider_keys.delete(app_context.jetstream(request), account=account, provider=provider)
    await forms.record(request, "key", "delete", provider, account=account)
    return admin.done()


_KEYS = "/accounts/{account}/provider-keys"
OPERATIONS = (
    Operation(
        method="GET",
        path=_KEYS,
        handler=list_keys,
        summary="List provider keys by their last characters",
        response=ProviderKeys,
        tag="Provider keys",
    ),
    Operation(
        method="PUT",
        path=f"{_KEYS}/{{provider}}",
        handler=store_key,
        summary="Store or replace a provider key",
        body=NewProviderKey,
        response=ProviderKeyInfo,
        tag="Provider keys",
    ),
    Operation(
        method="DELETE",
        path=f"{_KEYS}/{{provider}}",
        handler=delete_key,
        summary="Delete a provider key",
        status=204,
        tag="Provider keys",
    ),
)
