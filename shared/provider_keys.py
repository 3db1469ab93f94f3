"""Stores, deletes and reseals accounts' own provider keys in the accounts bucket."""

import contextlib
from datetime import UTC, datetime

import msgspec
from nats.js import JetStreamContext
from nats.js.errors import APIError

from shared import accounts_admin, accounts_kv
from shared.accounts_admin import AccountError, Change
from shared.accounts_model import PROVIDER_KEY, Accounts, ProviderKey
from shared.vault import Vault, VaultError

_LONGEST = 4096
_SHORTEST = 8


async def store(js: JetStreamContext, vault: Vault, *, account: str, provider: str, key: str) -> ProviderKey:
    """Store or replace an account's key for a provider; AccountError if it is invalid.

    All gateways use it within a second.
    """
    key = key.strip()
    if not _SHORTEST <= len(key) <= _LONGEST or not key.isascii() or not key.isprintable() or " " in key:
        raise AccountError(
            f"a provider key must be {_SHORTEST} to {_LONGEST} printable ASCII characters without spaces"
        )
    if key.startswith(accounts_admin.TOKEN_PREFIX):
        raise AccountError("this is a Metrion token; enter the provider's API key")
    try:
        sealed = vault.seal(key, account=account, provider=provider)
    except VaultError as error:
        raise AccountError(str(error)) from None
    made = ProviderKey(account, provider, datetime.now(UTC), key[-4:], sealed)

    def decide(directory: Accounts) -> Change | None:
        if account not in directory.accounts:
            raise AccountError(f"account {account!r} does not exist; create it: metrion account create {account}")
        return None if directory.provider_key(account, provider) == made else (_name(made), made)

    await accounts_admin.change(js, decide)
    return made


async def delete(js: JetStreamContext, *, account: str, provider: str) -> None:
    """Delete a key and erase its bytes; no gateway uses it after a second.

    A marker without ciphertext remains, for gateways that are disconnected now. Raises AccountError if there is no key.
    """
    existing = (await accounts_admin.read(js)).provider_key(account, provider)
    if existing is None:
        raise AccountError(f"account {account!r} has no key for {provider}; see: metrion key list")
    mark = ProviderKey(account, provider, existing.created_at, deleted_at=datetime.now(UTC))

    def decide(directory: Accounts) -> Change | None:
        now = directory.keys.get(f"{account}.{provider}")
        if now not in (None, existing, mark):
            raise AccountError(
                f"the key of {account!r} for {provider} was changed at the same time; check it and try again"
            )
        return None if now == mark else (_name(mark), mark)

    with contextlib.suppress(APIError):  # older buckets deny it; the marker replaces the value anyway
        await accounts_kv.erase(js, _name(existing))  # before the marker: the server no longer finds replaced bytes
    await accounts_admin.change(js, decide)


async def reseal(js: JetStreamContext, vault: Vault) -> tuple[int, int]:
    """Reseal every key under the first secret key; returns (resealed, unchanged).

    Raises AccountError naming a key that cannot be opened.
    """
    done = 0

    def decide(directory: Accounts) -> Change | None:
        nonlocal done
        for stored in directory.keys.values():
            if stored.sealed is None or vault.is_current(stored.sealed):
                continue
            place = {"account": stored.account, "provider": stored.provider}
            try:
                sealed = vault.seal(vault.open(stored.sealed, **place), **place)
            except VaultError as error:
                raise AccountError(f"key of {stored.account} for {stored.provider}: {error}") from None
            done += 1
            return _name(stored), msgspec.structs.replace(stored, sealed=sealed)
        return None

    while await accounts_admin.change(js, decide):
        pass
    total = sum(stored.sealed is not None for stored in (await accounts_admin.read(js)).keys.values())
    return done, total - done


def _name(key: ProviderKey) -> str:
    return f"{PROVIDER_KEY}{key.account}.{key.provider}"
