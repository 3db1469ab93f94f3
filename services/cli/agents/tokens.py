"""The token of a coding agent: given, kept, or new."""

import os
from collections.abc import Sequence

from services.cli import options, secret_input
from services.cli.errors import Refused
from shared.agent_tools import merge


def given(present: Sequence[str], *, is_dry_run: bool) -> str:
    """Return the token: of METRION_TOKEN, of the files, or as typed.

    A dry run asks for none and returns "" instead. Refused without a token.
    """
    token = from_environment() or next(iter(present), "")
    if token or is_dry_run:
        return token
    token = _checked(secret_input.read_line("Metrion token: ").strip())
    if not token:
        raise Refused("no token: use --create-token, set METRION_TOKEN, or pass one on standard input")
    return token


def from_environment() -> str:
    """Return METRION_TOKEN, or ""; Refused if it is not a token."""
    return _checked(os.environ.get("METRION_TOKEN", ""))


async def create(account: str, name: str, requester: str) -> tuple[str, str]:
    """Create a token: (token, warning about the audit log)."""
    from services.cli import audit_log, nats_connection
    from shared import accounts_admin

    async with nats_connection.jetstream() as js:
        if account == options.DEFAULT_ACCOUNT:
            await accounts_admin.ensure_account(js, account)
        token = await accounts_admin.create_token(js, account=account, name=name, requester=requester)
        return token, await audit_log.record(js, "token", "create", name, account=account)


def _checked(token: str) -> str:
    if token and merge.TOKEN.fullmatch(token) is None:
        raise Refused("this is not a Metrion token: sk-metrion- and 32 hexadecimal digits")
    return token
