"""The commands `user …`: users of the dashboard."""

import asyncio
import sys

import click

from services.cli import lookup, options, output, secret_input
from services.cli.errors import Refused
from services.cli.options import F, Group
from services.cli.outcome import Outcome

COLUMNS = ("name", "role", "account", "password", "created")

user = Group(
    "user",
    help="Manage dashboard users.",
    examples=("metrion user create ann@example.com --account team-a --generate", "metrion user list"),
)


def _generate_option(function: F) -> F:
    return click.option("--generate", is_flag=True, help="Generate a random password and show it once.")(function)


@user.command(
    "create",
    examples=(
        "metrion user create ann@example.com --account team-a --generate",
        "metrion user create bob --role admin < password.txt",
        "metrion user create carol --no-password",
    ),
)
@click.argument("name", metavar="NAME")
@click.option(
    "--role", type=click.Choice(("viewer", "admin")), default="viewer", show_default=True, help="What the user may do."
)
@click.option("--account", default="", metavar="NAME", help="The only account the user sees.  [default: all]")
@click.option("--no-password", is_flag=True, help="Sign in through a reverse proxy (SSO) only.")
@_generate_option
async def create(*, name: str, role: str, account: str, no_password: bool, generate: bool) -> Outcome:
    """Create a user.

    The password is read from standard input, or asked for.
    """
    from services.cli import audit_log, nats_connection
    from shared import accounts_admin, dashboard_users, passwords

    secret, shown = ("", "") if no_password else await _password(generate)
    stored = await asyncio.to_thread(passwords.hashed, secret) if secret else ""
    async with nats_connection.jetstream() as js:
        if account:
            lookup.require_account(account, (await accounts_admin.read(js)).accounts)
        created = await dashboard_users.create(js, name=name, role=role, account=account, password=stored)
        details = {"role": created.role}
        warning = await audit_log.record(js, "user", "create", created.name, account=created.account, details=details)
    scope = f"account {created.account}" if created.account else "all accounts"
    return _result(f"User {created.name} created: {created.role} of {scope}.{warning}", shown)


@user.command("list", examples=("metrion user list", "metrion user list --json"))
@options.json_option
async def list_users(*, as_json: bool) -> Outcome:
    """List users."""
    from services.cli import nats_connection
    from shared import dashboard_users

    async with nats_connection.jetstream() as js:
        users = await dashboard_users.listing(js)
    rows = [
        (entry.name, entry.role, entry.account, "yes" if entry.password else "no", entry.created_at) for entry in users
    ]
    if as_json:
        return Outcome(output.as_json([dict(zip(COLUMNS, row, strict=True)) for row in rows]))
    if not rows:
        return Outcome(note="No users.")
    return Outcome(output.as_table(COLUMNS, [(row[0], row[1], row[2] or "all", *row[3:]) for row in rows]))


@user.command(
    "password",
    examples=("metrion user password admin", "metrion user password admin --generate"),
)
@click.argument("name", metavar="NAME")
@_generate_option
async def password(*, name: str, generate: bool) -> Outcome:
    """Change a password and end the user's sessions.

    The password is read from standard input, or asked for.
    """
    from services.cli import audit_log, nats_connection
    from shared import dashboard_users, passwords

    secret, shown = await _password(generate)
    stored = await asyncio.to_thread(passwords.hashed, secret)
    async with nats_connection.jetstream() as js:
        await dashboard_users.change(js, name, password=stored)
        warning = await audit_log.record(js, "user", "password", name)
    return _result(f"Password of {name} changed. All sessions were signed out.{warning}", shown)


@user.command("delete", examples=("metrion user delete ann@example.com",))
@click.argument("name", metavar="NAME")
async def delete(*, name: str) -> Outcome:
    """Delete a user and end their sessions."""
    from services.cli import audit_log, nats_connection
    from shared import dashboard_users

    async with nats_connection.jetstream() as js:
        await dashboard_users.delete(js, name)
        warning = await audit_log.record(js, "user", "delete", name)
    return Outcome(note=f"User {name} deleted.{warning}")


async def _password(generate: bool) -> tuple[str, str]:
    """Return the password and, if it was generated, the password to show."""
    from shared import passwords

    if generate:
        generated = passwords.generated()
        return generated, generated
    typed = await asyncio.to_thread(_read)
    if problem := passwords.weakness(typed):
        raise Refused(f"{problem}; or use --generate")
    return typed, ""


def _read() -> str:
    if sys.stdin.isatty():
        return secret_input.ask_twice("Password: ", mismatch="the passwords differ")
    return secret_input.read_line("Password: ")


def _result(note: str, shown: str) -> Outcome:
    if not shown:
        return Outcome(note=note)
    return Outcome(shown + "\n", note=f"{note} Copy the password now: it is shown once.")
