"""The commands `key …`: an account's own provider keys go in sealed, and never come out."""

import asyncio
import getpass
import os
import sys
from argparse import Namespace
from pathlib import Path

from services.cli import connections, tables, trail
from services.cli.connections import jetstream
from services.cli.outcome import Outcome
from services.cli.tokens import DEFAULT_ACCOUNT, known_provider
from shared import accounts_admin, provider_keys, vault
from shared.accounts_admin import AccountError
from shared.accounts_model import ProviderKey
from shared.vault import Vault, VaultError

COLUMNS = ("account", "provider", "hint", "created", "secret key")


def secret_keys() -> Vault:
    """The secret keys of this installation; AccountError when they are none."""
    path = connections.optional("METRION_SECRET_KEY_FILE", os.environ)
    try:
        if path:
            return Vault.read(Path(path))
        return Vault.parse(connections.optional("METRION_SECRET_KEY", os.environ))
    except VaultError as error:
        raise AccountError(f"METRION_SECRET_KEY: {error}") from None


async def store(options: Namespace) -> Outcome:
    provider, sealing = known_provider(options.provider), secret_keys()
    key = await asyncio.to_thread(_read_key, provider)
    async with jetstream() as js:
        if options.account == DEFAULT_ACCOUNT:
            await accounts_admin.ensure_account(js, DEFAULT_ACCOUNT)
        made = await provider_keys.store(js, sealing, account=options.account, provider=provider, key=key)
        unrecorded = await trail.change(js, "key", "set", provider, account=options.account)
    whose = f"of account {options.account} for {provider}"
    return Outcome(note=f"Key …{made.hint} {whose} stored; it is not shown again.{unrecorded}")


async def listing(options: Namespace) -> Outcome:
    async with jetstream() as js:
        found = (await accounts_admin.read(js)).keys
    chosen = [key for _, key in sorted(found.items()) if key.sealed and options.account in (None, key.account)]
    rows = [dict(zip(COLUMNS, _row(key), strict=True)) for key in chosen]
    if options.json:
        return Outcome(tables.as_json(rows))
    return Outcome(tables.as_table(COLUMNS, [tuple(row.values()) for row in rows]))


async def delete(options: Namespace) -> Outcome:
    provider = options.provider  # may be one that is configured no more
    async with jetstream() as js:
        await provider_keys.delete(js, account=options.account, provider=provider)
        unrecorded = await trail.change(js, "key", "delete", provider, account=options.account)
    return Outcome(note=f"Key of account {options.account} for {provider} deleted.{unrecorded}")


async def reseal(options: Namespace) -> Outcome:
    sealing = secret_keys()
    if not sealing.ids:
        raise AccountError("there is no secret key: set METRION_SECRET_KEY=new,old")
    async with jetstream() as js:
        done, before = await provider_keys.reseal(js, sealing)
        details = {"secret key": sealing.ids[0], "keys": str(done)}
        unrecorded = await trail.change(js, "key", "reseal", details=details)
    said = f"{done} keys sealed anew under secret key {sealing.ids[0]}, {before} were so already."
    return Outcome(note=said + unrecorded)


async def new_secret(options: Namespace) -> Outcome:
    return Outcome(vault.new_key() + "\n", note="Put it before the old one: METRION_SECRET_KEY=new,old")


def _read_key(provider: str) -> str:
    """Never an argument: those stand in the process list and in the shell's history."""
    if sys.stdin.isatty():
        return getpass.getpass(f"Key for {provider}: ")
    return sys.stdin.readline()


def _row(key: ProviderKey) -> tuple[object, ...]:
    assert key.sealed is not None
    return key.account, key.provider, f"…{key.hint}", key.created_at, key.sealed.key_id
