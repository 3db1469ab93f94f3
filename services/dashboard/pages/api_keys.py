"""API keys on the Settings page: create (shown once) and revoke them."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from aiohttp import web

from services.dashboard import app_context, forms, token_form
from services.dashboard.forms import Form, FormResult
from services.dashboard.pages import settings
from shared import accounts_admin, api_keys
from shared.accounts_admin import AccountError


def routes() -> Sequence[web.RouteDef]:
    """Changes of API keys, which show the Settings page."""
    return [
        web.post("/settings/api-key", forms.handler(create_key, settings.show)),
        web.post("/settings/api-key/revoke", forms.handler(revoke_key, settings.show)),
    ]


async def create_key(request: web.Request, form: Form) -> FormResult:
    """Create a key, of the user's account if they are confined to one."""
    account = app_context.account_of(request, form["account"])
    name = form["name"]
    js = app_context.jetstream(request)
    if account and account not in (await accounts_admin.read(js)).accounts:
        raise AccountError(f"unknown account {account!r}")
    secret = await api_keys.create(
        js,
        name=name,
        role=form["role"],
        account=account,
        expires_at=token_form.expiry(form["expires"], ZoneInfo(app_context.user(request).tz)),
        created_by=app_context.user(request).name,
    )
    details = {"role": form["role"], "expires": form["expires"]}
    unrecorded = await forms.record(request, "api-key", "create", name, account=account, details=details)
    return FormResult(done=f"API key {name} created.{unrecorded}", secret=secret, name=name, account=account)


async def revoke_key(request: web.Request, form: Form) -> FormResult:
    """Revoke a key."""
    account = app_context.account_of(request, form["account"])
    name = form["name"]
    await api_keys.revoke(app_context.jetstream(request), name=name, account=account)
    unrecorded = await forms.record(request, "api-key", "revoke", name, account=account)
    return FormResult(done=f"API key {name} revoked.{unrecorded}")
