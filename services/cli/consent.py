"""Whether a command may change the books: its options come in, and an answer from the terminal."""

import asyncio
import getpass
import socket
import sys
from argparse import Namespace


def only_looks(options: Namespace) -> bool:
    """Whether nothing may be written: it was said so, or nobody is there to agree."""
    return options.dry_run or not (options.yes or sys.stdin.isatty())


async def given(options: Namespace, question: str) -> bool:
    """Whether somebody agrees to `question`, or did so beforehand."""
    if options.yes:
        return True
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    answer = await asyncio.to_thread(sys.stdin.readline)
    return answer.strip().lower() in ("y", "yes")


def who() -> str:
    """Who runs the command, for the record: user@host."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return f"?@{socket.gethostname()}"
