"""The commands `key …`: provider keys of accounts, stored encrypted."""

import asyncio
from typing import TYPE_CHECKING

import click

from services.cli import lookup, options, output, secret_input
from services.cli.errors import Refused
from services.cli.options import DEFAULT_ACCOUNT, Group
from services.cli.outcome import Outcome

if TYPE_CHECKING:
    from shared.accounts_model import ProviderKey

COLUMNS = ("account", "provider", "hint", "created", "secret key")

key = Group(
    "key",
    help="Manage the provider keys of accounts. Keys are stored encrypted and never shown.",
    examples=("metrion key set openai --account team-a < key.txt", "metrion key list"),
)


@key.command("set", examples=("metrion key set openai --account team-a < key.txt",))
@click.argument("provider", metavar="PROVIDER")
@options.owner_option
async def set_key(*, provider: str, account: str) -> Outcome:
    """Store or replace a key.

    Reads it from standard input, or asks for it.
    """
    from services.cli import audit_log, nats_connection
    from shared import accounts_admin, provider_keys

    name = lookup.known_provider(provider)
    vault = lookup.secret_keys()
    secret = await asyncio.to_thread(secret_input.read_line, f"Key for {name}: ")
    async with nats_connection.jetstream() as js:
        if account == DEFAULT_ACCOUNT:
            await accounts_admin.ensure_account(js, DEFAULT_ACCOUNT)
        stored = await provider_keys.store(js, vault, account=account, provider=name, key=secret)
        warning = await audit_log.record(js, "key", "set", name, account=account)
    note = f"Key …{stored.hint} of account {account} for {name} stored. It cannot be viewed again.{warning}"
    return Outcome(note=note)


@key.command("list", examples=("metrion key list", "metrion key list --account team-a --json"))
@options.account_filter
@options.json_option
async def list_keys(*, account: str, as_json: bool) -> Outcome:
    """List keys by account and last four characters."""
    from services.cli import nats_connection
    from shared import accounts_admin

    async with nats_connection.jetstream() as js:
        directory = await accounts_admin.read(js)
    if account:
        lookup.require_account(account, directory.accounts)
    stored = [entry for _, entry in sorted(directory.keys.items()) if entry.sealed]
    rows = [_row(entry) for entry in stored if account in ("", entry.account)]
    if as_json:
        return Outcome(output.as_json([dict(zip(COLUMNS, row, strict=True)) for row in rows]))
    if not rows:
        return Outcome(note="No provider keys. Requests use the gateway's default keys, if set.")
    return Outcome(output.as_table(COLUMNS, rows))


@key.command("delete", examples=("metrion key delete openai --account team-a",))
@click.argument("provider", metavar="PROVIDER")
@options.owner_option
async def delete(*, provider: str, account: str) -> Outcome:
    """Delete a key (effective within 1 s)."""
    from services.cli import audit_log, nats_connection
    from shared import provider_keys

    async with nats_connection.jetstream() as js:  # the provider may no longer be configured
        await provider_keys.delete(js, account=account, provider=provider)
        warning = await audit_log.record(js, "key", "delete", provider, account=account)
    return Outcome(note=f"Key of account {account} for {provider} deleted.{warning}")


@key.command("reseal", examples=("METRION_SECRET_KEY=new,old metrion key reseal",))
async def reseal() -> Outcome:
    """Re-encrypt all keys, and the secrets of channels, with the first secret key.

    The other keys of METRION_SECRET_KEY can be removed afterwards.
    """
    from services.cli import audit_log, nats_connection
    from shared import provider_keys
    from shared.alerts import channel_admin

    vault = lookup.secret_keys()
    if not vault.ids:
        raise Refused("no secret key is set; use METRION_SECRET_KEY=new,old")
    async with nats_connection.jetstream() as js:
        done, before = map(
            sum, zip(await provider_keys.reseal(js, vault), await channel_admin.reseal(js, vault), strict=True)
        )
        details = {"secret key": vault.ids[0], "keys": str(done)}
        warning = await audit_log.record(js, "key", "reseal", details=details)
    note = (
        f"Re-encrypted {output.plural(done, 'key')} with secret key {vault.ids[0]}; {before:,} already were.{warning}"
    )
    return Outcome(note=note)


@key.command("new-secret", examples=("metrion key new-secret",))
async def new_secret() -> Outcome:
    """Print a new secret key for METRION_SECRET_KEY."""
    from shared import vault

    return Outcome(vault.new_key() + "\n", note="Put it before the old one: METRION_SECRET_KEY=new,old")


def _row(stored_key: "ProviderKey") -> tuple[object, ...]:
    assert stored_key.sealed is not None
    return (
        stored_key.account,
        stored_key.provider,
        f"…{stored_key.hint}",
        stored_key.created_at,
        stored_key.sealed.key_id,
    )
