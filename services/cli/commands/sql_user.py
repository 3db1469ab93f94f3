"""The commands `sql-user …`: SQL users that can read the rows of one account only.

On a ClickHouse server they are created by SQL. The embedded engine reads them from a file when it starts, and exits to
be restarted when that file changes.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import click

from services.cli import lookup, options, output, servers
from services.cli.errors import Refused, Unavailable
from services.cli.options import Group
from services.cli.outcome import Outcome

FILE = "METRION_SQL_USERS_FILE"
COLUMNS = ("name", "account")
EMBEDDED = (
    "The passwordless user can no longer read anything. With the embedded engine, SQL users can read all files of "
    "its data directory and crash it (it restarts): "
    "use a ClickHouse server for users you do not trust."
)

sql_user = Group(
    "sql-user",
    help="Manage read-only SQL users of one account.",
    examples=("metrion sql-user create bi --account team-a", "metrion sql-user list"),
)


@sql_user.command("create", examples=("metrion sql-user create bi --account team-a",))
@click.argument("name", metavar="NAME")
@click.option("--account", required=True, metavar="NAME", help="Account whose rows the user can read.")
@options.json_option
async def create(*, name: str, account: str, as_json: bool) -> Outcome:
    """Create a user and show the password once."""
    from services.cli import audit_log

    password = await _create(name, account)
    note = ""
    if file(os.environ):
        note = f"{await _wait_for_engine(name, exists=True)} {EMBEDDED}"
    note += await audit_log.connect_and_record("sql-user", "create", name, account=account)
    where = servers.host_and_port(servers.address(servers.CLICKHOUSE, os.environ))
    if as_json:
        shown = {"name": name, "account": account, "password": password, "clickhouse": where}
        return Outcome(output.as_json(shown), note=note.strip())
    text = f"Password of {name}, who can read account {account} at {where}. Copy it now: it is shown once. {note}"
    return Outcome(password + "\n", note=text.strip())


@sql_user.command("list", examples=("metrion sql-user list", "metrion sql-user list --json"))
@options.json_option
async def list_users(*, as_json: bool) -> Outcome:
    """List users and their accounts."""
    from services.cli import clickhouse
    from shared import sql_users_file, sql_users_server

    if path := file(os.environ):
        rows = [(user.name, user.account) for user in sql_users_file.load(path)]
    else:
        async with clickhouse.connection(servers.for_changes(os.environ)) as client:
            rows = list((await sql_users_server.listing(client)).items())
    if as_json:
        return Outcome(output.as_json([dict(zip(COLUMNS, row, strict=True)) for row in rows]))
    if not rows:
        return Outcome(note="No SQL users.")
    return Outcome(output.as_table(COLUMNS, rows))


@sql_user.command("delete", examples=("metrion sql-user delete bi",))
@click.argument("name", metavar="NAME")
async def delete(*, name: str) -> Outcome:
    """Delete a user."""
    from services.cli import audit_log, clickhouse
    from shared import sql_users_file, sql_users_server

    waited = ""
    if path := file(os.environ):
        sql_users_file.remove(path, name)
        waited = await _wait_for_engine(name, exists=False)
    else:
        async with clickhouse.connection(servers.for_changes(os.environ)) as client:
            await sql_users_server.delete(client, name)
    warning = await audit_log.connect_and_record("sql-user", "delete", name)
    return Outcome(note=f"SQL user {name} deleted. {waited}{warning}".strip())


def file(environ: Mapping[str, str]) -> Path | None:
    """Return the file of the embedded engine's users; None for a ClickHouse server."""
    if environ.get(servers.CLICKHOUSE) and not environ.get(FILE):
        return None  # cli.env may belong to another installation
    name = servers.optional(FILE, environ)
    return Path(name) if name else None


async def _create(name: str, account: str) -> str:
    """Create the user; returns the password."""
    from services.cli import clickhouse
    from shared import sql_users, sql_users_file, sql_users_server

    try:
        created, password = sql_users.create(name, account)
    except ValueError as error:
        raise Refused(str(error)) from None
    await _require_account(account)
    if path := file(os.environ):
        sql_users_file.add(path, created)
    else:
        async with clickhouse.connection(servers.for_changes(os.environ)) as client:
            await sql_users_server.create(client, created)
    return password


async def _require_account(account: str) -> None:
    from services.cli import nats_connection
    from shared import accounts_admin

    async with nats_connection.jetstream() as js:
        directory = await accounts_admin.read(js)
    lookup.require_account(account, directory.accounts)


async def _wait_for_engine(name: str, *, exists: bool, patience: float = 45) -> str:
    """Wait until the engine has restarted with its new users; returns a note on timeout."""
    from services.cli import clickhouse

    query = "SELECT count() FROM system.users WHERE name = {name:String}"
    try:
        async with asyncio.timeout(patience):
            while True:
                try:
                    async with clickhouse.connection(patience=5) as client:
                        result = await client.query(query, parameters={"name": name})
                    if bool(result.result_rows[0][0]) == exists:
                        return ""
                except Unavailable:
                    pass  # it is restarting
                await asyncio.sleep(0.3)
    except TimeoutError:
        return "It takes effect at the next start of ClickHouse."
