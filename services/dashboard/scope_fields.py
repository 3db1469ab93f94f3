"""Form fields that limits and alerts share: scope, and the rate of a currency."""

from services.dashboard.app_context import AppContext
from services.dashboard.forms import Form
from shared import providers
from shared.accounts_admin import AccountError
from shared.limits import admin as limit_admin
from shared.limits import wording
from shared.limits.model import Scope

NAMES = ("token", "requester", "provider", "model", "metadata", "currency", "rate")


def scope(form: Form, context: AppContext) -> Scope:
    """Return the scope in a form; AccountError for a field that cannot be read."""
    provider = providers.canonical(form["provider"])
    if provider and provider not in context.providers:
        raise AccountError(f"unknown provider {provider!r}")
    return limit_admin.scope(
        token=form["token"],
        requester=form["requester"],
        provider=provider,
        model=form["model"],
        metadata=form["metadata"],
    )


def money(form: Form, context: AppContext) -> dict[str, object]:
    """Return currency and rate of a form: the rate typed, else the configured one."""
    currency = form["currency"].upper() or "USD"
    rates = {code: str(one.rate) for code, one in context.currencies.items()}
    if form["rate"]:
        rates[currency] = form["rate"]
    return {"currency": currency, "rate": limit_admin.currency_rate(currency, rates)}


def values(scope: Scope) -> dict[str, str]:
    """Return the fields of a scope."""
    return {
        "token": scope.token,
        "requester": scope.requester,
        "provider": scope.provider,
        "model": scope.model,
        "metadata": wording.metadata_text(scope),
    }
