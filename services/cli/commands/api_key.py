"""The commands `api-key …`: keys of the dashboard's JSON API."""

from datetime import UTC, datetime

import click

from services.cli import lookup, options, output, periods
from services.cli.options import Group
from services.cli.outcome import Outcome

COLUMNS = ("name", "role", "account", "hint", "state", "created", "created_by", "expires", "revoked", "last_used")
SHOWN = ("name", "role", "account", "hint", "state", "expires", "last_used")

api_key = Group(
    "api-key",
    help="Create, list and revoke keys of the JSON API.",
    examples=("metrion api-key create --name grafana", "metrion api-key list", "metrion api-key revoke --name grafana"),
)
_name_option = click.option("--name", required=True, metavar="NAME", help="Name of the key, unique in its account.")


@api_key.command(
    "create",
    examples=(
        "metrion api-key create --name grafana",
        "metrion api-key create --name team-a --account team-a --expires 90d",
        "metrion api-key create --name terraform --role admin",
    ),
)
@_name_option
@click.option(
    "--role", type=click.Choice(("read", "admin")), default="read", show_default=True, help="What the key may do."
)
@click.option("--account", default="", metavar="NAME", help="The only account it reads and changes.  [default: all]")
@click.option("--expires", default="never", metavar="WHEN", help="Expiry: 30d, 2027-01-01 (UTC).  [default: never]")
@options.json_option
async def create(*, name: str, role: str, account: str, expires: str, as_json: bool) -> Outcome:
    """Create a key and show it once."""
    from services.cli import audit_log, confirm, nats_connection
    from shared import accounts_admin, api_keys

    expires_at = periods.expiry(expires, now=datetime.now(UTC))
    async with nats_connection.jetstream() as js:
        if account:
            lookup.require_account(account, (await accounts_admin.read(js)).accounts)
        secret = await api_keys.create(
            js, name=name, role=role, account=account, expires_at=expires_at, created_by=confirm.operator()
        )
        warning = await audit_log.record(js, "api-key", "create", name, account=account, details={"role": role})
    if as_json:
        made = {"key": secret, "name": name, "role": role, "account": account or None}
        return Outcome(output.as_json(made), note=warning.strip())
    return Outcome(secret + "\n", note=f"Copy it now: it is shown once and stored only as a hash.{warning}")


@api_key.command("list", examples=("metrion api-key list", "metrion api-key list --account team-a --json"))
@options.account_filter
@options.json_option
async def list_keys(*, account: str, as_json: bool) -> Outcome:
    """List keys by account and name.

    The last use is exact to the minute.
    """
    from services.cli import nats_connection
    from shared import api_keys

    async with nats_connection.jetstream() as js:
        found = await api_keys.listing(js, account=account)
        uses = await api_keys.last_uses(js)
    now = datetime.now(UTC)
    rows = [
        {
            "name": key.name,
            "role": key.role,
            "account": key.account,
            "hint": key.hint,
            "state": key.state(now=now),
            "created": key.created_at,
            "created_by": key.created_by,
            "expires": key.expires_at,
            "revoked": key.revoked_at,
            "last_used": uses.get(digest),
        }
        for digest, key in found
    ]
    if as_json:
        return Outcome(output.as_json(rows))
    if not rows:
        return Outcome(note="No API keys.")
    lines = [
        [row["account"] or "all" if name == "account" else row[name] or output.NOT_APPLICABLE for name in SHOWN]
        for row in rows
    ]
    return Outcome(output.as_table(SHOWN, lines))


@api_key.command("revoke", examples=("metrion api-key revoke --name grafana",))
@_name_option
@click.option("--account", default="", metavar="NAME", help="Account of the key.  [default: a key of all accounts]")
async def revoke(*, name: str, account: str) -> Outcome:
    """Revoke a key (effective within 1 s)."""
    from services.cli import audit_log, nats_connection
    from shared import api_keys

    async with nats_connection.jetstream() as js:
        await api_keys.revoke(js, name=name, account=account)
        warning = await audit_log.record(js, "api-key", "revoke", name, account=account)
    return Outcome(note=f"API key {name} revoked.{warning}")
