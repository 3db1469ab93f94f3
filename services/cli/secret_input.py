"""Reads secrets from terminal or standard input, since others can see arguments."""

import getpass
import sys

from services.cli.errors import Refused


def read_line(prompt: str) -> str:
    """Read one line, without echo at a terminal."""
    if sys.stdin.isatty():
        return getpass.getpass(prompt)
    return sys.stdin.readline().rstrip("\r\n")


def ask_twice(prompt: str, *, mismatch: str) -> str:
    """Read a new secret at a terminal, twice."""
    secret = getpass.getpass(prompt)
    if getpass.getpass("Again: ") != secret:
        raise Refused(mismatch)
    return secret
