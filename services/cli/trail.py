"""What a command changed goes in; it stands in the audit log, or a remark that it does not comes out."""

import socket
from collections.abc import Mapping

from nats.js import JetStreamContext

from services.cli import consent
from services.cli.connections import Unavailable, jetstream
from shared import audit


async def change(
    js: JetStreamContext,
    area: str,
    action: str,
    subject: str = "",
    *,
    account: str = "",
    details: Mapping[str, str] | None = None,
) -> str:
    """Who runs the command did this; "" when that is written, else a remark to append to what is said."""
    actor = audit.Actor(by=consent.who(), via=audit.COMMAND_LINE, address=socket.gethostname())
    failure = await audit.write(js, actor.record(area, action, subject, account=account, details=details))
    return f" {failure}" if failure else ""


async def change_of_books(
    area: str, action: str, subject: str = "", *, account: str = "", details: Mapping[str, str] | None = None
) -> str:
    """The same for commands that need no NATS otherwise."""
    try:
        async with jetstream() as js:
            return await change(js, area, action, subject, account=account, details=details)
    except Unavailable as error:
        return f" {audit.NOT_RECORDED} {error}"
