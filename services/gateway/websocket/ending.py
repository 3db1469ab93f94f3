"""Why a relayed WebSocket connection ends, and with which close code."""

from typing import NamedTuple

from shared import events

GOING_AWAY, POLICY, INTERNAL, RESTART, TRY_LATER = 1001, 1008, 1011, 1012, 1013  # close codes


class End(NamedTuple):
    """Why a connection ends, and what that means for responses in progress."""

    outcome: str
    code: int = 0  # of the close frame that the gateway sends; 0: it sends none
    reason: str = ""
    error_type: str = ""
    is_closing: bool = False  # a close frame was relayed: the other side still answers it


class Ending(Exception):
    """Ends a connection from within a direction of it."""

    def __init__(self, end: End) -> None:
        super().__init__(end.reason)
        self.end = end


CLIENT_LEFT = End(events.CLIENT_CLOSED)
PROVIDER_CLOSED = End(events.UPSTREAM_CLOSED)
TOO_MANY_REFUSED = End(events.INTERRUPTED, POLICY, "Too many messages were refused.", "too_many_refused")
TOO_MANY_RESPONSES = End(events.INTERRUPTED, POLICY, "Too many responses are in progress.", "too_many_responses")
