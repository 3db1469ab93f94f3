"""Result of a command: standard output, note on standard error, exit status."""

from typing import NamedTuple


class Outcome(NamedTuple):
    """The result of a command; the entry point prints it.

    `again_in`: seconds after which to run the command again, with --watch; None for once.
    """

    text: str = ""
    note: str = ""
    status: int = 0
    again_in: float | None = None
