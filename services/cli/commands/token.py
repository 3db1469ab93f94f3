"""The commands `token …`: create, list, replace and revoke API tokens."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from services.cli import lookup, options, output, periods
from services.cli.options import DEFAULT_ACCOUNT, F, Group
from services.cli.outcome import Outcome
from shared.rights import RIGHTS

if TYPE_CHECKING:
    from shared.accounts_model import Token

COLUMNS = (
    "name",
    "account",
    "hint",
    "created",
    "expires",
    "revoked",
    "state",
    "providers",
    "models",
    "requester",
    "allow",
)
SHOWN = ("name", "account", "hint", "state", "expires", "providers", "models")

token = Group(
    "token",
    help="Create, list, replace and revoke API tokens.",
    examples=("metrion token create --name my-app", "metrion token list", "metrion token revoke --name my-app"),
)


def _name_option(function: F) -> F:
    return click.option("--name", required=True, metavar="NAME", help="Name of the token, unique in its account.")(
        function
    )


def _allow_option(function: F) -> F:
    rights = "; ".join(f"{name}: {what}" for name, what in RIGHTS.items())
    return click.option(
        "--allow", multiple=True, type=click.Choice(tuple(RIGHTS)), metavar="RIGHT",
        help=f"With --model, also allow requests whose model is not in the request. {rights}. Repeatable.",
    )(function)  # fmt: skip


@token.command(
    "create",
    examples=(
        "metrion token create --name my-app",
        "metrion token create --name ci --account team-a --expires 90d",
        "metrion token create --name ann --model 'gpt-5*' --requester ann@example.com",
    ),
)
@_name_option
@options.owner_option
@click.option("--expires", metavar="WHEN", help="Expiry: 30d, 2027-01-01 (UTC).  [default: never]")
@click.option("--provider", multiple=True, metavar="NAME", help="Allow only this provider. Repeatable.")
@click.option("--model", multiple=True, metavar="NAME", help="Allow only this model, e.g. gpt-*. Repeatable.")
@_allow_option
@click.option("--requester", default="", metavar="NAME", help="Requester of requests without x-metrion-user.")
@options.json_option
async def create(
    *,
    name: str,
    account: str,
    expires: str | None,
    provider: tuple[str, ...],
    model: tuple[str, ...],
    allow: tuple[str, ...],
    requester: str,
    as_json: bool,
) -> Outcome:
    """Create a token and show it once."""
    from services.cli import audit_log, nats_connection
    from shared import accounts_admin

    fields = {
        "providers": tuple(lookup.known_provider(item) for item in provider),
        "models": model,
        "requester": requester,
        "allow": allow,
        "expires_at": _expiry(expires),
    }
    async with nats_connection.jetstream() as js:
        if account == DEFAULT_ACCOUNT:
            await accounts_admin.ensure_account(js, DEFAULT_ACCOUNT)
        secret = await accounts_admin.create_token(js, account=account, name=name, **fields)
        warning = await audit_log.record(js, "token", "create", name, account=account)
    return _show_once(secret, name=name, account=account, as_json=as_json, warning=warning)


@token.command(
    "regenerate",
    examples=("metrion token regenerate --name my-app", "metrion token regenerate --name ci --expires 90d"),
)
@_name_option
@options.owner_option
@click.option("--expires", metavar="WHEN", help="Expiry: 30d, 2027-01-01, never.  [default: as before]")
@_allow_option
@options.json_option
async def regenerate(*, name: str, account: str, expires: str | None, allow: tuple[str, ...], as_json: bool) -> Outcome:
    """Replace a token and revoke the old one.

    The new token has the same rights.
    """
    from services.cli import audit_log, nats_connection
    from shared import accounts_admin

    fields: dict[str, Any] = {} if expires is None else {"expires_at": _expiry(expires)}
    if allow:
        fields["allow"] = allow
    async with nats_connection.jetstream() as js:
        secret = await accounts_admin.regenerate_token(js, account=account, name=name, **fields)
        warning = await audit_log.record(js, "token", "regenerate", name, account=account)
    return _show_once(secret, name=name, account=account, as_json=as_json, warning=warning)


@token.command("revoke", examples=("metrion token revoke --name my-app",))
@_name_option
@options.owner_option
async def revoke(*, name: str, account: str) -> Outcome:
    """Revoke a token (effective within 1 s)."""
    from services.cli import audit_log, nats_connection
    from shared import accounts_admin

    async with nats_connection.jetstream() as js:
        await accounts_admin.revoke_token(js, account=account, name=name)
        warning = await audit_log.record(js, "token", "revoke", name, account=account)
    return Outcome(note=f"Token {name} of account {account} revoked.{warning}")


@token.command("list", examples=("metrion token list", "metrion token list --account team-a --json"))
@options.account_filter
@click.option("--wide", is_flag=True, help="Show all columns, wider than 80 characters.")
@options.json_option
async def list_tokens(*, account: str, wide: bool, as_json: bool) -> Outcome:
    """List tokens by name and last four characters."""
    from services.cli import nats_connection
    from shared import accounts_admin

    async with nats_connection.jetstream() as js:
        directory = await accounts_admin.read(js)
    if account:
        lookup.require_account(account, directory.accounts)
    chosen = [entry for entry in directory.tokens.values() if account in ("", entry.account)]
    chosen.sort(key=lambda entry: (entry.account, entry.name, entry.created_at))
    rows = [_row(entry, now=datetime.now(UTC)) for entry in chosen]
    if as_json:
        return Outcome(output.as_json(rows))
    if not rows:
        return Outcome(note="No tokens.")
    for row in rows:
        row["allow"] = row["allow"] or ("none",) if row["models"] else ()
    columns = COLUMNS if wide else SHOWN
    return Outcome(output.as_table(columns, [tuple(_readable(row[column]) for column in columns) for row in rows]))


def _row(token_entry: "Token", *, now: datetime) -> dict[str, Any]:
    values = (
        token_entry.name,
        token_entry.account,
        token_entry.hint,
        token_entry.created_at,
        token_entry.expires_at,
        token_entry.revoked_at,
        token_entry.state(now=now),
        token_entry.providers,
        token_entry.models,
        token_entry.requester,
        token_entry.allow,
    )
    return dict(zip(COLUMNS, values, strict=True))


def _readable(value: Any) -> Any:
    """Format a field of a token: None is never, an empty tuple is all."""
    if isinstance(value, tuple):
        return ", ".join(value) or "all"
    return output.NOT_APPLICABLE if value is None else value


def _expiry(text: str | None) -> datetime | None:
    return None if text is None else periods.expiry(text, now=datetime.now(UTC))


def _show_once(secret: str, *, name: str, account: str, as_json: bool, warning: str) -> Outcome:
    if as_json:
        return Outcome(output.as_json({"token": secret, "account": account, "name": name}), note=warning.strip())
    return Outcome(secret + "\n", note=f"Copy it now: it is shown once and stored only as a hash.{warning}")
