"""Coding agents of the demo: what their requests say of client and session."""

import uuid
from datetime import datetime

from deploy.demo.cast import Requester

_NAMES = uuid.UUID("5a8f1f6c-0d0e-4d43-8d0a-6a1d1c7e2b90")
_SECONDS = 2 * 3600  # that a session lasts at most


def headers(who: Requester, at: datetime) -> dict[str, str]:
    """The headers that identify client and session; {} for other programs."""
    if not who.client:
        return {}
    session = uuid.uuid5(_NAMES, f"{who.name} {int(at.timestamp()) // _SECONDS}")
    return {"user-agent": who.client, "x-session-id": str(session)}
