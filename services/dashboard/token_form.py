"""The form of an API token: its fields, and warnings about likely mistakes."""

import functools
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from fnmatch import fnmatchcase
from typing import Any
from zoneinfo import ZoneInfo

from services.dashboard.forms import Form
from shared.accounts_admin import AccountError
from shared.accounts_model import Token
from shared.pricing import genai_prices
from shared.providers import Provider

TEXTS = ("name", "requester", "expires", "models")
_LAST_DAY = timedelta(days=1)


def fields(form: Form, zone: ZoneInfo) -> dict[str, Any]:
    """Return the fields of Token in a form; AccountError for an impossible date."""
    return {
        "providers": form.chosen("provider"),
        "models": tuple(filter(None, (model.strip() for model in form["models"].split(",")))),
        "allow": form.chosen("allow"),
        "requester": form["requester"],
        "expires_at": expiry(form["expires"], zone),
    }


def details(form: Form, chosen: Mapping[str, Any]) -> dict[str, str]:
    """Return what the audit log records of a token's fields."""
    return {
        "expires": form["expires"],
        "providers": ",".join(chosen["providers"]),
        "models": ",".join(chosen["models"]),
        "allow": ",".join(chosen["allow"]),
        "requester": chosen["requester"],
    }


def typed(form: Form) -> dict[str, Any]:
    """Return the values to show again in a form that could not be accepted."""
    return {name: form[name] for name in TEXTS} | {name: form.chosen(name) for name in ("provider", "allow")}


def values(token: Token, zone: ZoneInfo) -> dict[str, Any]:
    """Return the values of the form that changes a token."""
    last = token.expires_at and (token.expires_at.astimezone(zone) - timedelta(microseconds=1)).date()
    return {
        "name": token.name,
        "requester": token.requester,
        "expires": last.isoformat() if last else "",
        "models": ", ".join(token.models),
        "provider": token.providers,
        "allow": token.allow,
    }


def expiry(text: str, zone: ZoneInfo) -> datetime | None:
    """Return the end of a day in the user's time zone, in UTC; None without one."""
    if not text:
        return None
    try:
        day = date.fromisoformat(text) + _LAST_DAY
    except (ValueError, OverflowError):
        raise AccountError(f"invalid date {text!r}; use e.g. 2027-01-31") from None
    end = datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
    if end <= datetime.now(UTC):
        raise AccountError("expiry must be in the future")
    return end


def warnings(chosen: Mapping[str, Any], known: Mapping[str, Provider]) -> str:
    """Return a warning about models that are probably misspelt; "" without any.

    Models of a provider without a price list are not known, so a token that may use one gets no warning.
    """
    names = chosen["providers"] or [name for name in known if known[name].price_list]
    if any(name not in known or not known[name].price_list for name in names):
        return ""
    strange = [model for model in chosen["models"] if not _is_known(model, names)]
    if not strange:
        return ""
    return f" No known model matches {', '.join(strange)}: check the spelling."


def _is_known(pattern: str, names: Iterable[str]) -> bool:
    library = _library()
    return any(
        library.find(provider, pattern) is not None
        or any(fnmatchcase(model, pattern) for model in library.models(provider))
        for provider in names
    )


@functools.cache
def _library() -> genai_prices.Library:
    return genai_prices.Library()
