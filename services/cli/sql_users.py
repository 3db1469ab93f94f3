"""The commands `sql-user …`: a name and an account in; a user who can read that account's rows, and no others, out.

A ClickHouse server is told by SQL statements. The embedded engine keeps no users: it reads them from a file when it
starts, and ends to be started again when that file changes.
"""

import asyncio
import hashlib
import os
import secrets
from argparse import Namespace
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import DatabaseError

from services.cli import books, connections, sql_users_file, tables, trail
from services.cli.connections import jetstream
from services.cli.outcome import Outcome
from services.cli.tokens import DEFAULT_ACCOUNT
from shared import accounts_admin, clickhouse, sql_users
from shared.accounts_admin import AccountError
from shared.sql_users import SqlUser

FILE = "METRION_SQL_USERS_FILE"
EMBEDDED = (
    "Now that there are such users, the passwordless one reads nothing any more. The embedded engine lets every SQL "
    "user read the files of its data folder, and crash the engine, which starts again: "
    "an SQL user for somebody you do not trust needs a ClickHouse server."
)
_PREFIX = "metrion_"  # of our row policies: a user without one is none of ours
_EXISTS = 493  # ClickHouse's code for a user that is there


async def create(options: Namespace) -> Outcome:
    """A new user; the password is shown this once."""
    if not sql_users.allowed(options.name):
        raise AccountError(
            f"{options.name!r} is no name for an SQL user: a-z, 0-9, _ and -, at most 63, a letter first"
        )
    await _check_account(options.account)
    password = secrets.token_urlsafe(24)
    user = SqlUser(
        name=options.name,
        account=options.account,
        sha256=hashlib.sha256(password.encode()).hexdigest(),
        created_at=datetime.now(UTC),
    )
    if path := file(os.environ):
        sql_users_file.add(path, user)
        note = f"{await _served(user.name, there=True)} {EMBEDDED}"
    else:
        async with books.opened(connections.for_changes(os.environ)) as client:
            await _run(client, creation(user), taken=user.name)
        note = ""
    note += await trail.change_of_books("sql-user", "create", user.name, account=user.account)
    where = connections.place(connections.address(connections.CLICKHOUSE, os.environ))
    if options.json:
        shown = {"name": user.name, "account": user.account, "password": password, "clickhouse": where}
        return Outcome(tables.as_json(shown), note=note)
    said = f"Password of {user.name}, who reads account {user.account} at {where}; it is shown this once. {note}"
    return Outcome(password + "\n", note=said.strip())


async def listing(options: Namespace) -> Outcome:
    """Who there is, and whose rows each sees."""
    if path := file(os.environ):
        rows = [{"name": user.name, "account": user.account} for user in sql_users_file.load(path)]
    else:
        async with books.opened(connections.for_changes(os.environ)) as client:
            rows = [{"name": name, "account": account} for name, account in (await _known(client)).items()]
    if options.json:
        return Outcome(tables.as_json(rows))
    return Outcome(tables.as_table(("name", "account"), [tuple(row.values()) for row in rows]))


async def delete(options: Namespace) -> Outcome:
    """A user is gone."""
    if path := file(os.environ):
        sql_users_file.remove(path, options.name)
        unrecorded = await trail.change_of_books("sql-user", "delete", options.name)
        return Outcome(note=f"SQL user {options.name} deleted. {await _served(options.name, there=False)}{unrecorded}")
    async with books.opened(connections.for_changes(os.environ)) as client:
        if options.name not in await _known(client):
            raise AccountError(f"there is no SQL user {options.name}")
        await _run(client, deletion(options.name))
    unrecorded = await trail.change_of_books("sql-user", "delete", options.name)
    return Outcome(note=f"SQL user {options.name} deleted.{unrecorded}")


def file(environ: Mapping[str, str]) -> Path | None:
    """Where the embedded engine's users stand; None when questions go to a server that keeps its own."""
    if environ.get(connections.CLICKHOUSE) and not environ.get(FILE):
        return None  # cli.env may speak of another installation
    name = connections.optional(FILE, environ)
    return Path(name) if name else None


def creation(user: SqlUser) -> list[str]:
    """The statements that make a user. The grants come last: without its policies a user would see every account."""
    name, condition = f"`{user.name}`", sql_users.policy(user.account)
    policy = f"CREATE ROW POLICY OR REPLACE `{_PREFIX}{user.name}` ON metrion"
    settings = ", ".join(f"{setting} = {value}" for setting, value in sql_users.LIMITS.items())
    readable = (*sql_users.TABLES, *sql_users.VIEWS, *sql_users.OPEN_TABLES)
    return [
        f"CREATE USER {name} IDENTIFIED WITH sha256_hash BY '{user.sha256}' SETTINGS {settings}",
        *(f"{policy}.{table} FOR SELECT USING {condition} TO {name}" for table in sql_users.TABLES),
        *(f"GRANT SELECT ON metrion.{one} TO {name}" for one in readable),
        *(f"REVOKE SELECT({sql_users.GUARD}) ON metrion.{table} FROM {name}" for table in sql_users.TABLES),
    ]


def deletion(name: str) -> list[str]:
    """The statements that undo it: the user first, for the same reason."""
    return [
        f"DROP USER IF EXISTS `{name}`",
        *(f"DROP ROW POLICY IF EXISTS `{_PREFIX}{name}` ON metrion.{table}" for table in sql_users.TABLES),
    ]


async def _run(client: AsyncClient, statements: list[str], *, taken: str = "") -> None:
    for statement in statements:
        try:
            await client.command(statement)
        except DatabaseError as error:
            if error.code == _EXISTS:
                raise AccountError(f"there is a user {taken} already") from None
            raise


async def _known(client: AsyncClient) -> dict[str, str]:
    """Our users and their accounts, as the policies say."""
    return {row["name"]: row["account"] for row in await clickhouse.ask(client, "sql_users")}


async def _check_account(account: str) -> None:
    async with jetstream() as js:
        found = await accounts_admin.read(js)
    if account not in found.accounts and account != DEFAULT_ACCOUNT:
        raise AccountError(f"there is no account {account}; make it: metrion account create {account}")


async def _served(name: str, *, there: bool, patience: float = 45) -> str:
    """Wait until the engine was started again with its users as they are now; what to say when it was not."""
    try:
        async with asyncio.timeout(patience):
            while True:
                try:
                    async with books.opened(patience=5) as client:
                        found = await client.query(
                            "SELECT count() FROM system.users WHERE name = {name:String}", parameters={"name": name}
                        )
                    if bool(found.result_rows[0][0]) == there:
                        return ""
                except connections.Unavailable:
                    pass  # it is on its way
                await asyncio.sleep(0.3)
    except TimeoutError:
        return "It takes effect when ClickHouse is next started."
