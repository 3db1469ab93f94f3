"""The commands `user …`: who may sign in to the dashboard; passwords are read or made, and shown at most once."""

import asyncio
import getpass
import sys
from argparse import Namespace

from services.cli import tables, trail
from services.cli.connections import jetstream
from services.cli.outcome import Outcome
from services.cli.tokens import DEFAULT_ACCOUNT
from shared import accounts_admin, dashboard_users, passwords
from shared.accounts_admin import AccountError

COLUMNS = ("name", "role", "account", "password", "created")


async def create(options: Namespace) -> Outcome:
    """A new user; a password that was made here is printed this once."""
    password, shown = ("", "") if options.no_password else await _password(options)
    stored = await asyncio.to_thread(passwords.hashed, password) if password else ""
    async with jetstream() as js:
        if (
            options.account not in ("", DEFAULT_ACCOUNT)
            and options.account not in (await accounts_admin.read(js)).accounts
        ):
            raise AccountError(f"there is no account {options.account!r}; make it: metrion account create …")
        user = await dashboard_users.create(
            js, name=options.name, role=options.role, account=options.account, password=stored
        )
        details = {"role": user.role}
        unrecorded = await trail.change(js, "user", "create", user.name, account=user.account, details=details)
    whose = f"account {user.account}" if user.account else "all accounts"
    return _told(f"User {user.name} made: {user.role} of {whose}.{unrecorded}", shown)


async def listing(options: Namespace) -> Outcome:
    """Everybody."""
    async with jetstream() as js:
        found = await dashboard_users.listing(js)
    rows = [(user.name, user.role, user.account, "yes" if user.password else "no", user.created_at) for user in found]
    if options.json:
        return Outcome(tables.as_json([dict(zip(COLUMNS, row, strict=True)) for row in rows]))
    return Outcome(tables.as_table(COLUMNS, [(row[0], row[1], row[2] or "all", *row[3:]) for row in rows]))


async def password(options: Namespace) -> Outcome:
    """Another password; all sessions of this user are over."""
    chosen, shown = await _password(options)
    stored = await asyncio.to_thread(passwords.hashed, chosen)
    async with jetstream() as js:
        await dashboard_users.change(js, options.name, password=stored)
        unrecorded = await trail.change(js, "user", "password", options.name)
    return _told(f"User {options.name} has another password; whoever was signed in so is out.{unrecorded}", shown)


async def delete(options: Namespace) -> Outcome:
    """A user is gone, signed in or not."""
    async with jetstream() as js:
        await dashboard_users.delete(js, options.name)
        unrecorded = await trail.change(js, "user", "delete", options.name)
    return Outcome(note=f"User {options.name} deleted.{unrecorded}")


async def _password(options: Namespace) -> tuple[str, str]:
    """The password, and the same when it has to be shown: made here, unless there is one on standard input."""
    if options.generate:
        made = passwords.generated()
        return made, made
    given = await asyncio.to_thread(_read)
    if problem := passwords.weakness(given):
        raise AccountError(f"{problem}; or have one made: --generate")
    return given, ""


def _read() -> str:
    """Never an argument: those stand in the process list and in the shell's history."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    given = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != given:
        raise AccountError("these are two different passwords")
    return given


def _told(note: str, shown: str) -> Outcome:
    if not shown:
        return Outcome(note=note)
    return Outcome(shown + "\n", note=f"{note} Its password is shown this once.")
