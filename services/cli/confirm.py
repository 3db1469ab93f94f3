"""Confirmation before a command changes recorded data."""

import asyncio
import getpass
import socket
import sys


def is_dry_run(*, dry_run: bool, yes: bool) -> bool:
    """Whether nothing may be written: with --dry-run, or if nobody can confirm."""
    return dry_run or not (yes or sys.stdin.isatty())


async def confirmed(question: str, *, yes: bool) -> bool:
    """Ask on standard error, unless --yes was given."""
    if yes:
        return True
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    reply = await asyncio.to_thread(sys.stdin.readline)
    return reply.strip().lower() in ("y", "yes")


def operator() -> str:
    """Return the user who runs the command, for the audit log: user@host."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return f"?@{socket.gethostname()}"
