"""Errors that end a command with one line on standard error and an exit status."""


class CommandError(Exception):
    """Base class; the message is one line without secrets."""

    status = 1


class Refused(CommandError):
    """An invalid request: unknown account, bad name, unreadable file."""


class Unavailable(CommandError):
    """A server that does not respond, or whose address is not configured."""

    status = 2
