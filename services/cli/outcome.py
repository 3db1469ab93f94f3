"""What a command returns: text for standard output, a note for standard error, an exit status."""

from typing import NamedTuple


class Outcome(NamedTuple):
    """The result of a command; the entry point prints it."""

    text: str = ""
    note: str = ""
    status: int = 0
