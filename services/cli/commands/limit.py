"""The commands `limit …`: set, list and delete rate limits."""

import click

from services.cli import lookup, options, output
from services.cli.errors import Refused
from services.cli.options import Group
from services.cli.outcome import Outcome

COLUMNS = ("account", "name", "requests_per_minute", "token", "requester", "provider", "model", "metadata")
SHOWN = ("account", "name", "per minute", "covers")

limit = Group(
    "limit",
    help="Set, list and delete rate limits.",
    examples=(
        "metrion limit set each-token --requests 100 --token '*'",
        "metrion limit list",
        "metrion limit delete each-token",
    ),
)


@limit.command(
    "set",
    examples=(
        "metrion limit set each-token --requests 100 --token '*'",
        "metrion limit set ci --requests 1000 --token ci --account team-a",
        "metrion limit set teams --requests 300 --metadata 'team=*'",
    ),
)
@click.argument("name")
@options.owner_option
@click.option("--requests", required=True, type=click.IntRange(1, 10_000_000), metavar="N", help="Requests per minute.")
@click.option("--token", default="", metavar="NAME", help="Only of this token; '*': of each token by itself.")
@click.option("--requester", default="", metavar="NAME", help="Only of this requester; '*': of each by itself.")
@click.option("--provider", default="", metavar="NAME", help="Only to this provider.")
@click.option("--model", default="", metavar="NAME", help="Only of this model, e.g. gpt-*.")
@click.option("--metadata", default="", metavar="KEY=VALUE", help="Only with this metadata; KEY=*: of each value.")
async def set_limit(
    *, name: str, account: str, requests: int, token: str, requester: str, provider: str, model: str, metadata: str
) -> Outcome:
    """Set a limit of requests per minute, or change one.

    It holds across all gateways, within 1 s. A limit of one token replaces one
    of each token.
    """
    from datetime import UTC, datetime

    from services.cli import audit_log, nats_connection, rate_limits
    from shared.limits.model import Limit, Scope

    key, separator, value = metadata.partition("=")
    if metadata and not (key and separator and value):
        raise Refused("--metadata is KEY=VALUE, or KEY=* for each value")
    scope = Scope(
        token=token,
        requester=requester,
        provider=lookup.known_provider(provider) if provider else "",
        model=model,
        metadata_key=key,
        metadata_value=value,
    )
    made = Limit(account=account, name=name, created_at=datetime.now(UTC), amount=requests, scope=scope)
    async with nats_connection.jetstream() as js:
        await rate_limits.put(js, made)
        details = {"requests_per_minute": str(requests), "covers": covers(scope)}
        warning = await audit_log.record(js, "limit", "set", name, account=account, details=details)
    return Outcome(note=f"Limit {name} of account {account}: {requests:,} requests per minute.{warning}")


@limit.command("list", examples=("metrion limit list", "metrion limit list --account team-a --json"))
@options.account_filter
@options.json_option
async def list_limits(*, account: str, as_json: bool) -> Outcome:
    """List limits by account and name."""
    from services.cli import nats_connection
    from shared import accounts_admin

    async with nats_connection.jetstream() as js:
        directory = await accounts_admin.read(js)
    if account:
        lookup.require_account(account, directory.accounts)
    chosen = [one for _, one in sorted(directory.limits.items()) if account in ("", one.account)]
    if as_json:
        rows = [
            (one.account, one.name, one.amount, one.scope.token, one.scope.requester, one.scope.provider,
             one.scope.model, _metadata(one.scope))
            for one in chosen
        ]  # fmt: skip
        return Outcome(output.as_json([dict(zip(COLUMNS, row, strict=True)) for row in rows]))
    if not chosen:
        return Outcome(note="No limits.")
    return Outcome(output.as_table(SHOWN, [(one.account, one.name, one.amount, covers(one.scope)) for one in chosen]))


@limit.command("delete", examples=("metrion limit delete each-token", "metrion limit delete ci --account team-a"))
@click.argument("name")
@options.owner_option
async def delete(*, name: str, account: str) -> Outcome:
    """Delete a limit (effective within 1 s)."""
    from services.cli import audit_log, nats_connection, rate_limits

    async with nats_connection.jetstream() as js:
        await rate_limits.delete(js, account=account, name=name)
        warning = await audit_log.record(js, "limit", "delete", name, account=account)
    return Outcome(note=f"Limit {name} of account {account} deleted.{warning}")


def covers(scope: object) -> str:
    """Describe a scope: "each token, model gpt-*"; "all requests" without a condition."""
    parts = []
    for name in ("token", "requester", "provider", "model"):
        if value := getattr(scope, name):
            parts.append(f"each {name}" if value == "*" and name in ("token", "requester") else f"{name} {value}")
    if metadata := _metadata(scope):
        parts.append(f"each {metadata.removesuffix('=*')}" if metadata.endswith("=*") else metadata)
    return ", ".join(parts) or "all requests"


def _metadata(scope: object) -> str:
    key: str = getattr(scope, "metadata_key", "")
    return f"{key}={getattr(scope, 'metadata_value', '')}" if key else ""
