"""The commands `account export` and `account import`, for encrypted files."""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from services.cli import lookup, options, output, secret_input
from services.cli.errors import Refused
from services.cli.options import Command, F
from services.cli.outcome import Outcome

if TYPE_CHECKING:
    from services.cli import accounts_export

PASSPHRASE = "METRION_PASSPHRASE"  # noqa: S105 — the variable's name


def _passphrase_option(function: F) -> F:
    return click.option(
        "--passphrase-file",
        default="",
        metavar="FILE",
        help=f"Read the passphrase here.  [default: {PASSPHRASE}, or ask]",
    )(function)


@click.command(
    "export",
    cls=Command,
    examples=("metrion account export accounts.metrion", "metrion account export - > accounts.metrion"),
)
@click.argument("file", metavar="FILE")
@_passphrase_option
async def export_accounts(*, file: str, passphrase_file: str) -> Outcome:
    """Export accounts, tokens, limits, provider keys and alerts.

    FILE is encrypted and readable by its owner only; - is standard output.
    Tokens are in it as hashes.
    """
    from services.cli import accounts_export, alerts_export, audit_log, nats_connection
    from shared import accounts_admin, private_file

    vault = lookup.secret_keys()
    passphrase = await asyncio.to_thread(_passphrase, passphrase_file, twice=True)
    async with nats_connection.jetstream() as js:
        alerts = await alerts_export.collect(js, vault)
        content = accounts_export.collect(await accounts_admin.read(js), vault, alerts)
        warning = await audit_log.record(js, "account", "export", details={"to": file})
    data = accounts_export.encrypt(content, passphrase)
    if file == "-":
        return Outcome(data.decode() + "\n", note=f"Exported {_summary(content)}.{warning}")
    try:
        private_file.replace(Path(file), data)
    except OSError as error:
        raise Refused(f"cannot write {file}: {error.strerror}") from None
    return Outcome(note=f"Exported {_summary(content)} to {file}.{warning}")


@click.command(
    "import",
    cls=Command,
    examples=("metrion account import accounts.metrion --dry-run", "metrion account import accounts.metrion"),
)
@click.argument("file", metavar="FILE")
@click.option("--dry-run", is_flag=True, help="Show what would be imported.")
@_passphrase_option
@options.json_option
async def import_accounts(*, file: str, dry_run: bool, passphrase_file: str, as_json: bool) -> Outcome:
    """Import what is missing from an exported file.

    Existing entries are kept. FILE - is standard input. The exit status is 1
    if an alert is refused, for example because its token was revoked.
    """
    from services.cli import accounts_export, alerts_export, audit_log, nats_connection

    vault = lookup.secret_keys()
    content = accounts_export.decrypt(_read(file), await asyncio.to_thread(_passphrase, passphrase_file, twice=False))
    async with nats_connection.jetstream() as js:
        done = await accounts_export.restore(js, content, vault, dry_run=dry_run)
        alerts = await alerts_export.restore(js, content.alerts, vault, dry_run=dry_run)
        new, kept = (*done.added, *alerts.added), (*done.kept, *alerts.kept)
        warning = ""
        if new and not dry_run:
            details = {"entries": str(len(new))}
            warning = await audit_log.record(js, "account", "import", details=details)
    rows = [("new", name) for name in new] + [("kept", name) for name in kept]
    rows += [("refused", name) for name in alerts.refused]
    verb = "Would import" if dry_run else "Imported"
    added = output.plural(len(new), "entry", "entries")
    note = f"{verb} {added}; {len(kept):,} existed already.{warning}"
    status = 1 if alerts.refused else 0
    if as_json:
        return Outcome(output.as_json([{"state": state, "entry": name} for state, name in rows]), note, status)
    return Outcome("".join(f"{state}: {name}\n" for state, name in rows), note, status)


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise Refused(f"cannot read {name}: {error.strerror}") from None


def _passphrase(file: str, *, twice: bool) -> str:
    from services.cli import accounts_export

    passphrase = _read_passphrase(file) if file else os.environ.get(PASSPHRASE, "")
    if not passphrase and sys.stdin.isatty():
        if twice:
            passphrase = secret_input.ask_twice("Passphrase: ", mismatch="the passphrases differ")
        else:
            passphrase = secret_input.read_line("Passphrase: ")
    if len(passphrase) < accounts_export.SHORTEST_PASSPHRASE:
        least = accounts_export.SHORTEST_PASSPHRASE
        raise Refused(f"a passphrase of at least {least} characters is required: --passphrase-file or {PASSPHRASE}")
    return passphrase


def _read_passphrase(file: str) -> str:
    try:
        return Path(file).read_text().strip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise Refused(f"cannot read {file}") from None


def _summary(content: "accounts_export.Content") -> str:
    accounts = output.plural(len(content.accounts), "account")
    tokens = output.plural(len(content.tokens), "token")
    keys = output.plural(len(content.keys), "provider key")
    if not content.alerts.rules:
        return f"{accounts}, {tokens} and {keys}"
    return f"{accounts}, {tokens}, {keys} and {output.plural(len(content.alerts.rules), 'alert')}"
