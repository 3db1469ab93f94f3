"""The commands `account …`: create, list, configure and revoke accounts."""

import click

from services.cli import options, output
from services.cli.commands import account_export
from services.cli.options import Group
from services.cli.outcome import Outcome

account = Group(
    "account",
    help="Create, list, configure and export accounts.",
    examples=("metrion account create team-a", "metrion account list"),
)


@account.command("create", examples=("metrion account create team-a",))
@click.argument("name", metavar="NAME")
async def create(*, name: str) -> Outcome:
    """Create an account."""
    from services.cli import audit_log, nats_connection
    from shared import accounts_admin

    async with nats_connection.jetstream() as js:
        await accounts_admin.create_account(js, name)
        warning = await audit_log.record(js, "account", "create", name, account=name)
    following = f"metrion token create --account {name} --name …"
    return Outcome(note=f"Account {name} created. Next: {following}{warning}")


@account.command("list", examples=("metrion account list", "metrion account list --json"))
@options.json_option
async def list_accounts(*, as_json: bool) -> Outcome:
    """List all accounts."""
    from services.cli import nats_connection
    from shared import accounts_admin

    async with nats_connection.jetstream() as js:
        directory = await accounts_admin.read(js)
    columns = ("name", "created", "active_tokens", "cache")
    rows = [
        (name, entry.created_at, len(directory.active(name)), "on" if entry.cache else "off")
        for name, entry in sorted(directory.accounts.items())
    ]
    if as_json:
        return Outcome(output.as_json([dict(zip(columns, row, strict=True)) for row in rows]))
    if not rows:
        return Outcome(note="No accounts.")
    return Outcome(output.as_table(columns, rows))


@account.command("set", examples=("metrion account set team-a --cache on",))
@click.argument("name", metavar="NAME")
@click.option(
    "--cache",
    type=click.Choice(("on", "off")),
    required=True,
    help="Cache responses by default, without x-metrion-cache.",
)
async def set_account(*, name: str, cache: str) -> Outcome:
    """Set defaults for the requests of an account."""
    from services.cli import audit_log, nats_connection
    from shared import accounts_admin

    async with nats_connection.jetstream() as js:
        await accounts_admin.set_cache(js, name, on=cache == "on")
        warning = await audit_log.record(js, "account", "set", name, account=name, details={"cache": cache})
    effect = "unless they send max-age=0" if cache == "on" else "only with x-metrion-cache: true"
    return Outcome(note=f"Requests of account {name} are cached {effect}.{warning}")


@account.command("revoke", examples=("metrion account revoke team-a",))
@click.argument("name", metavar="NAME")
async def revoke(*, name: str) -> Outcome:
    """Revoke all tokens of an account.

    Its usage history is kept.
    """
    from services.cli import audit_log, nats_connection
    from shared import accounts_admin

    async with nats_connection.jetstream() as js:
        count = await accounts_admin.revoke_account(js, name)
        details = {"tokens": str(count)}
        warning = await audit_log.record(js, "account", "revoke", name, account=name, details=details)
    return Outcome(note=f"Revoked {output.plural(count, 'token')} of account {name}.{warning}")


account.add_command(account_export.export_accounts)
account.add_command(account_export.import_accounts)
