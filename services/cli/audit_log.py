"""Records changes made by commands in the audit log."""

import socket
from collections.abc import Mapping

from nats.js import JetStreamContext

from services.cli import confirm
from services.cli.errors import Unavailable
from services.cli.nats_connection import jetstream
from shared import audit


async def record(
    js: JetStreamContext,
    area: str,
    action: str,
    subject: str = "",
    *,
    account: str = "",
    details: Mapping[str, str] | None = None,
) -> str:
    """Record a change; returns "", or a warning to append to the command's note."""
    actor = audit.Actor(by=confirm.operator(), via=audit.COMMAND_LINE, address=socket.gethostname())
    failure = await audit.write(js, actor.record(area, action, subject, account=account, details=details))
    return f" {failure}" if failure else ""


async def connect_and_record(
    area: str, action: str, subject: str = "", *, account: str = "", details: Mapping[str, str] | None = None
) -> str:
    """Connect to NATS and record a change; returns "" or a warning."""
    try:
        async with jetstream() as js:
            return await record(js, area, action, subject, account=account, details=details)
    except Unavailable as error:
        return f" {audit.NOT_RECORDED} {error}"
