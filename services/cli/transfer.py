"""The commands `account export` and `account import`: accounts, tokens and keys to and from one sealed file."""

import asyncio
import getpass
import os
import sys
from argparse import Namespace
from pathlib import Path

from services.cli import accounts_export, keys, trail
from services.cli.connections import jetstream
from services.cli.outcome import Outcome
from shared import accounts_admin, private_file
from shared.accounts_admin import AccountError

PASSPHRASE = "METRION_PASSPHRASE"  # noqa: S105 — the variable's name


async def dump(options: Namespace) -> Outcome:
    sealing, passphrase = keys.secret_keys(), await asyncio.to_thread(_passphrase, options, twice=True)
    async with jetstream() as js:
        content = accounts_export.collect(await accounts_admin.read(js), sealing)
        unrecorded = await trail.change(js, "account", "export", details={"to": options.file})
    data = accounts_export.encrypt(content, passphrase)
    if options.file == "-":
        return Outcome(data.decode() + "\n", note=_summary(content) + unrecorded)
    try:
        private_file.replace(Path(options.file), data)
    except OSError as error:
        raise AccountError(f"{options.file} cannot be written: {error.strerror}") from None
    return Outcome(note=f"{_summary(content)} exported to {options.file}.{unrecorded}")


async def restore(options: Namespace) -> Outcome:
    content = accounts_export.decrypt(_read(options.file), await asyncio.to_thread(_passphrase, options, twice=False))
    async with jetstream() as js:
        done = await accounts_export.restore(js, content, keys.secret_keys(), dry_run=options.dry_run)
        unrecorded = ""
        if done.added and not options.dry_run:
            unrecorded = await trail.change(js, "account", "import", details={"entries": str(len(done.added))})
    lines = [
        f"{what}: {name}\n"
        for what, names in (("new", done.added), ("kept as it is here", done.kept))
        for name in names
    ]
    verb = "would be imported" if options.dry_run else "imported"
    said = f"{len(done.added)} entries {verb}, {len(done.kept)} were here already."
    return Outcome("".join(lines), note=said + unrecorded)


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise AccountError(f"{name} cannot be read: {error.strerror}") from None


def _passphrase(options: Namespace, *, twice: bool) -> str:
    if options.passphrase_file:
        try:
            given = Path(options.passphrase_file).read_text().strip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise AccountError(f"{options.passphrase_file} cannot be read") from None
    else:
        given = os.environ.get(PASSPHRASE, "")
    if not given and sys.stdin.isatty():
        given = getpass.getpass("Passphrase: ")
        if twice and getpass.getpass("Again: ") != given:
            raise AccountError("the two passphrases differ")
    if len(given) < accounts_export.SHORTEST_PASSPHRASE:
        least = accounts_export.SHORTEST_PASSPHRASE
        raise AccountError(f"a passphrase of at least {least} characters is needed: --passphrase-file or {PASSPHRASE}")
    return given


def _summary(content: accounts_export.Content) -> str:
    return f"{len(content.accounts)} accounts, {len(content.tokens)} tokens and {len(content.keys)} provider keys"
