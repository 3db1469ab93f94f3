"""Result of a command: standard output, note on standard error, exit status."""

from typing import NamedTuple


class Outcome(NamedTuple):
    """The result of a command; the entry point prints it."""

    text: str = ""
    note: str = ""
    status: int = 0
