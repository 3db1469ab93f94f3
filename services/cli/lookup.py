"""Checks names of accounts and providers, and loads prices and secret keys."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from services.cli import servers
from services.cli.errors import Refused, Unavailable
from services.cli.options import DEFAULT_ACCOUNT

if TYPE_CHECKING:
    from shared.pricing.table import Table
    from shared.vault import Vault

PRICES_FILE = "METRION_PRICES_FILE"


def provider_names() -> list[str]:
    """Return the configured providers."""
    from shared import providers

    path = servers.optional("METRION_PROVIDERS_FILE", os.environ)
    try:
        return sorted(providers.load(Path(path) if path else None))
    except providers.ProvidersError as error:
        raise Refused(str(error)) from None


def known_provider(name: str) -> str:
    """Return a provider's canonical name; Refused for an unknown one."""
    from shared import providers

    known = provider_names()
    if providers.canonical(name) not in known:
        raise Refused(f"unknown provider {name!r}; known are {', '.join(known)}")
    return providers.canonical(name)


def require_account(name: str, known: Collection[str]) -> None:
    """Refuse an unknown account; the default account is created when first used."""
    if name not in known and name != DEFAULT_ACCOUNT:
        raise Refused(f"unknown account {name!r}; see: metrion account list")


async def require_recorded_account(name: str) -> None:
    """Refuse an account that neither exists nor has requests; "" is all accounts.

    For commands without results: an existing account may have no requests yet.
    """
    if name in ("", DEFAULT_ACCOUNT):
        return
    from services.cli import clickhouse, nats_connection
    from shared import accounts_admin

    (rows,) = await clickhouse.query(("account_exists", {"account": name}))
    if rows:
        return
    try:
        async with nats_connection.jetstream() as js:
            known = (await accounts_admin.read(js)).accounts
    except (Unavailable, accounts_admin.AccountError) as error:
        raise Refused(
            f"unknown account {name!r}: no requests recorded, and its existence is unverified: {error}"
        ) from None
    require_account(name, known)


async def price_table(path: str = "", *, number: int = 0) -> tuple["Table", str]:
    """Load prices: those of `path` or METRION_PRICES_FILE over the accepted ones.

    `number`: this version instead of the one in use. Also returns a warning if accepted prices cannot be known.
    """
    from shared.pricing import versions
    from shared.pricing.table import Accepted, Table

    path = path or servers.optional(PRICES_FILE, os.environ)
    accepted: Accepted | None = None
    warning = ""
    if number or servers.optional(servers.NATS, os.environ):
        from services.cli import nats_connection

        async with nats_connection.jetstream() as js:
            known = await versions.read(js)
        version = versions.current(known) if not number else known.get(number)
        if number and not isinstance(version, versions.PriceVersion):
            raise Refused(version or f"no price version {number}; see: metrion prices history")
        accepted = version.accepted() if isinstance(version, versions.PriceVersion) else None
    else:
        warning = f" {servers.NATS} is not set: these are the built-in prices, whatever has been accepted."
    try:
        return Table.load(Path(path) if path else None, accepted), warning
    except (OSError, ValueError, ArithmeticError) as error:
        raise Refused(f"{path}: {error}") from None


def secret_keys() -> "Vault":
    """Load the secret keys that encrypt provider keys."""
    from shared.vault import Vault, VaultError

    path = servers.optional("METRION_SECRET_KEY_FILE", os.environ)
    try:
        if path:
            return Vault.read(Path(path))
        return Vault.parse(servers.optional("METRION_SECRET_KEY", os.environ))
    except VaultError as error:
        raise Refused(f"METRION_SECRET_KEY: {error}") from None
