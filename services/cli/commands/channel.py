"""The commands `channel …`: where alerts are sent."""

import asyncio
from typing import TYPE_CHECKING

import click

from services.cli import lookup, options, output, secret_input
from services.cli.options import Group
from services.cli.outcome import Outcome

if TYPE_CHECKING:
    from shared.alerts.model import Channel
    from shared.vault import Vault

KINDS = ("email", "webhook", "slack", "teams", "discord", "pagerduty")
COLUMNS = ("account", "name", "kind", "to", "created")

channel = Group(
    "channel",
    help="Set, list and delete alert channels. Their secrets are never shown.",
    examples=(
        "metrion channel set ops --kind email --to ops@example.com",
        "metrion channel set chat --kind slack < url.txt",
        "metrion channel list",
    ),
)


@channel.command(
    "set",
    examples=(
        "metrion channel set ops --kind email --to ops@example.com --to me@example.com",
        "metrion channel set chat --kind slack --account team-a < url.txt",
        "metrion channel set pager --kind pagerduty < key.txt",
        "metrion channel set hook --kind webhook < url-and-key.txt",
        "metrion channel set admins --kind teams --account - < url.txt",
    ),
)
@click.argument("name")
@options.owner_option
@click.option("--kind", type=click.Choice(KINDS), required=True, metavar="KIND", help=f"{', '.join(KINDS)}.")
@click.option(
    "--region", type=click.Choice(("us", "eu")), default="us", show_default=True, help="Service region of PagerDuty.",
)  # fmt: skip
@click.option("--to", "recipients", multiple=True, metavar="ADDRESS", help="Recipient of e-mail; may be repeated.")
async def set_channel(*, name: str, account: str, kind: str, region: str, recipients: tuple[str, ...]) -> Outcome:
    """Set a channel, or replace one.

    Reads its URL or integration key from standard input, or asks for it. A
    webhook's signing key is the second line; without one, a new key is made
    and printed. Account - is for alerts about Metrion itself.
    """
    from services.cli import audit_log, nats_connection
    from shared import accounts_admin
    from shared.alerts import channel_admin

    if recipients and kind != "email":
        raise click.UsageError("--to is only for --kind email.")
    vault = lookup.secret_keys()
    made, text = await asyncio.to_thread(
        _made, vault, name=name, account=account, kind=kind, region=region, recipients=recipients
    )
    async with nats_connection.jetstream() as js:
        if account == options.DEFAULT_ACCOUNT:
            await accounts_admin.ensure_account(js, account)
        is_new = await channel_admin.put(js, made)
        details = {"kind": kind, "to": ", ".join(recipients) or made.hint}
        warning = await audit_log.record(js, "alert", "set channel", name, account=account, details=details)
    note = f"Channel {name} of account {account} {'set' if is_new else 'replaced'}."
    if text:
        note += " Its signing key is shown only now."
    return Outcome(text, note=note + warning)


@channel.command("list", examples=("metrion channel list", "metrion channel list --account team-a --json"))
@options.account_filter
@options.json_option
async def list_channels(*, account: str, as_json: bool) -> Outcome:
    """List channels by account and name."""
    from services.cli import nats_connection
    from shared import accounts_admin
    from shared.alerts import channel_admin
    from shared.alerts.model import SYSTEM

    async with nats_connection.jetstream() as js:
        if account not in ("", SYSTEM):
            lookup.require_account(account, (await accounts_admin.read(js)).accounts)
        found = await channel_admin.channels(js, account=account)
    rows = [(one.account, one.name, one.kind, ", ".join(one.recipients) or one.hint, one.created_at) for one in found]
    if as_json:
        return Outcome(output.as_json([dict(zip(COLUMNS, row, strict=True)) for row in rows]))
    if not rows:
        return Outcome(note="No channels.")
    return Outcome(output.as_table(COLUMNS, rows))


@channel.command("delete", examples=("metrion channel delete chat", "metrion channel delete ops --account team-a"))
@click.argument("name")
@options.owner_option
async def delete(*, name: str, account: str) -> Outcome:
    """Delete a channel and erase its secrets."""
    from services.cli import audit_log, nats_connection
    from shared.alerts import channel_admin, rule_admin

    async with nats_connection.jetstream() as js:
        await channel_admin.delete(js, account=account, name=name)
        warning = await audit_log.record(js, "alert", "delete channel", name, account=account)
        rules = [rule.name for rule in await rule_admin.rules(js, account=account) if name in rule.channels]
    note = f"Channel {name} of account {account} deleted."
    if rules:
        note += f" Still used by {', '.join(rules)}."
    return Outcome(note=note + warning)


def _made(
    vault: "Vault", *, name: str, account: str, kind: str, region: str, recipients: tuple[str, ...]
) -> tuple["Channel", str]:
    """The channel with its secrets, which are read here, and a new signing key to print."""
    from datetime import UTC, datetime

    from shared.alerts import channel_admin
    from shared.alerts.model import Channel

    made = Channel(account=account, name=name, created_at=datetime.now(UTC), kind=kind, recipients=recipients)  # type: ignore[arg-type]
    channel_admin.check(made)
    url = key = ""
    if kind == "pagerduty":
        key = secret_input.read_line("Integration key (Events API v2): ")
    elif kind != "email":
        url = secret_input.read_line("URL: ")
    if kind == "webhook":
        key = secret_input.read_line("Signing key (empty: make one): ")
    made, new_key = channel_admin.with_secrets(vault, made, url=url, key=key, region=region)
    return made, f"{new_key}\n" if new_key else ""
