"""Errors that end a command with one line on standard error and an exit status."""


class CommandError(Exception):
    """Base of the errors below; the message is one line, without a password."""

    status = 1


class Refused(CommandError):
    """A request that cannot be carried out as it stands.

    Unknown account, bad name, unreadable file.
    """


class Unavailable(CommandError):
    """A server that does not respond, or whose address is not configured."""

    status = 2
