"""Accounts."""

from datetime import datetime

import msgspec
from aiohttp import web

from services.dashboard import app_context, forms
from services.dashboard.api import admin, formats, params
from services.dashboard.api.operation import Operation
from shared import accounts_admin


class NewAccount(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An account to create."""

    name: str


class AccountChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Defaults for the requests of an account.

    `cache`: they are cached unless they say otherwise.
    """

    cache: bool


class AccountInfo(msgspec.Struct, kw_only=True):
    """An account."""

    name: str
    created_at: datetime
    cache: bool
    active_tokens: int


class Accounts(msgspec.Struct, kw_only=True):
    """The accounts that the caller sees."""

    rows: list[AccountInfo]


class Revoked(msgspec.Struct, kw_only=True):
    """How many tokens were revoked."""

    tokens: int


async def list_accounts(request: web.Request) -> web.Response:
    """List the accounts that the caller sees."""
    own = app_context.user(request).account
    found = await accounts_admin.read(app_context.jetstream(request))
    rows = [
        AccountInfo(name=name, created_at=one.created_at, cache=one.cache, active_tokens=len(found.active(name)))
        for name, one in sorted(found.accounts.items())
        if own in ("", name)
    ]
    return formats.respond(request, Accounts(rows=rows))


async def create_account(request: web.Request) -> web.Response:
    """Create an account."""
    body = await params.body(request, NewAccount)
    made = await accounts_admin.create_account(app_context.jetstream(request), body.name)
    await forms.record(request, "account", "create", made.name, account=made.name)
    info = AccountInfo(name=made.name, created_at=made.created_at, cache=made.cache, active_tokens=0)
    return formats.created(info)


async def change_account(request: web.Request) -> web.Response:
    """Set the defaults of an account."""
    body = await params.body(request, AccountChange)
    name = await admin.account(request)
    await accounts_admin.set_cache(app_context.jetstream(request), name, on=body.cache)
    details = {"cache": "on" if body.cache else "off"}
    await forms.record(request, "account", "set", name, account=name, details=details)
    return admin.done()


async def revoke_account(request: web.Request) -> web.Response:
    """Revoke all tokens of an account."""
    name = await admin.account(request)
    count = await accounts_admin.revoke_account(app_context.jetstream(request), name)
    await forms.record(request, "account", "revoke", name, account=name, details={"tokens": str(count)})
    return formats.respond(request, Revoked(tokens=count))


_ACCOUNT = "/accounts/{account}"
OPERATIONS = (
    Operation(
        method="GET",
        path="/accounts",
        handler=list_accounts,
        summary="List accounts",
        response=Accounts,
        tag="Accounts",
    ),
    Operation(
        method="POST",
        path="/accounts",
        handler=create_account,
        summary="Create an account",
        body=NewAccount,
        response=AccountInfo,
        status=201,
        tag="Accounts",
    ),
    Operation(
        method="PATCH",
        path=_ACCOUNT,
        handler=change_account,
        summary="Set defaults of an account",
        body=AccountChange,
        status=204,
        tag="Accounts",
    ),
    Operation(
        method="POST",
        path=f"{_ACCOUNT}/revoke",
        handler=revoke_account,
        summary="Revoke all tokens of an account",
        response=Revoked,
        tag="Accounts",
    ),
)
