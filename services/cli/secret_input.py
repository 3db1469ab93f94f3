"""Secrets from a terminal or from standard input.

Arguments would show them in process list and shell history.
"""

import getpass
import sys

from services.cli.errors import Refused


def read_line(prompt: str) -> str:
    """Read one line: without echo at a terminal, else from standard input."""
    if sys.stdin.isatty():
        return getpass.getpass(prompt)
    return sys.stdin.readline().rstrip("\r\n")


def ask_twice(prompt: str, *, mismatch: str) -> str:
    """Read a new secret at a terminal, twice."""
    secret = getpass.getpass(prompt)
    if getpass.getpass("Again: ") != secret:
        raise Refused(mismatch)
    return secret
