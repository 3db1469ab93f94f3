"""What operations that change something share: accounts, secrets, scopes, money."""

from typing import Any

import msgspec
from aiohttp import web

from services.dashboard import app_context
from services.dashboard.api import params
from services.dashboard.app_context import APP_CONTEXT
from shared import accounts_admin, providers
from shared.accounts_admin import AccountError
from shared.accounts_model import Accounts
from shared.alerts.model import SYSTEM
from shared.limits import admin as limit_admin
from shared.limits import wording
from shared.limits.model import Scope


class Secret(msgspec.Struct, kw_only=True):
    """A secret, which is shown only this once."""

    name: str
    account: str
    secret: str


class ScopeFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions that a request must meet to count; "" matches every request."""

    token: str = ""
    requester: str = ""
    provider: str = ""
    model: str = ""
    metadata: str = ""  # KEY=VALUE


async def directory(request: web.Request, account: str) -> Accounts:
    """Read the accounts; 404 for an unknown account, 403 for another one."""
    params.require_account(request, account)
    found = await accounts_admin.read(app_context.jetstream(request))
    if account not in found.accounts:
        raise web.HTTPNotFound(text=f"Account {account!r} does not exist.")
    return found


async def account(request: web.Request, *, or_system: bool = False) -> str:
    """Return the account in the path; 404 for an unknown one, 403 for another one.

    `or_system`: "-" stands for Metrion itself, which those who see all accounts may name.
    """
    name = request.match_info["account"]
    if or_system and name == SYSTEM:
        params.require_account(request, name)
        return name
    await directory(request, name)
    return name


def known_provider(request: web.Request, name: str) -> str:
    """Return a provider's canonical name, "" for none; AccountError if unknown."""
    canonical = providers.canonical(name) if name else ""
    if canonical and canonical not in request.app[APP_CONTEXT].providers:
        raise AccountError(f"unknown provider {name!r}")
    return canonical


def scope(request: web.Request, fields: ScopeFields) -> Scope:
    """Return a scope; AccountError for a field that cannot be read."""
    return limit_admin.scope(
        token=fields.token,
        requester=fields.requester,
        provider=known_provider(request, fields.provider),
        model=fields.model,
        metadata=fields.metadata,
    )


def scope_fields(scope: Scope) -> ScopeFields:
    """Return a scope as in a response."""
    return ScopeFields(
        token=scope.token,
        requester=scope.requester,
        provider=scope.provider,
        model=scope.model,
        metadata=wording.metadata_text(scope),
    )


def money(request: web.Request, currency: str, rate: str) -> dict[str, Any]:
    """Return currency and rate of an amount: the rate stated, else the configured one."""
    code = currency.upper() or "USD"
    rates = {name: str(one.rate) for name, one in request.app[APP_CONTEXT].currencies.items()}
    if rate:
        rates[code] = rate
    return {"currency": code, "rate": limit_admin.currency_rate(code, rates)}


def done() -> web.Response:
    """Return the empty response to a change."""
    return web.Response(status=204)
