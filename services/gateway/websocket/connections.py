"""The open WebSocket connections of a gateway: counted, swept, drained and closed."""

import asyncio
import time
from collections import Counter

from services.gateway.request.errors import Refusal
from services.gateway.websocket.ending import GOING_AWAY, INTERNAL, POLICY, RESTART, End
from services.gateway.websocket.session import Session
from shared import events

_SWEEP_SECONDS = 1.0
_CLOSE_SECONDS = 3.0
_RESTARTING = End(events.INTERRUPTED, RESTART, "The gateway is restarting; connect again.", "gateway_stopped")
_TOO_OLD = End(events.INTERRUPTED, GOING_AWAY, "The connection has reached its maximum age; connect again.")
_SILENT = End(events.TIMEOUT, GOING_AWAY, "The connection was idle for too long.", "idle_timeout")
_STALLED = End(events.TIMEOUT, INTERNAL, "The provider stopped sending.", "idle_timeout")


class Connections:
    """All open connections."""

    def __init__(self, *, idle: float, age: float, stalled: float) -> None:
        """Limits in seconds: without any frame, in all, and without a message while a response is in progress."""
        self._idle = idle
        self._age = age
        self._stalled = stalled
        self._open: dict[Session, None] = {}
        self.is_draining = False
        self.accepted = 0
        self.closed: Counter[int] = Counter()  # those that the gateway closed, by code

    def __len__(self) -> int:
        return len(self._open)

    @property
    def responses(self) -> int:
        """Responses in progress, on all connections."""
        return sum(len(session.responses) for session in self._open)

    async def relay(self, session: Session) -> None:
        """Relay a connection until it ends."""
        self._open[session] = None
        self.accepted += 1
        if self.is_draining:
            session.end_between_responses(_RESTARTING)
        try:
            await session.run()
        finally:
            del self._open[session]
            if session.close_code:
                self.closed[session.close_code] += 1

    def drain(self) -> None:
        """Accept no more, and close each as soon as no response is in progress on it."""
        self.is_draining = True
        for session in list(self._open):
            session.end_between_responses(_RESTARTING)

    async def close(self) -> None:
        """Close all connections, whatever is in progress, and wait for their end."""
        for session in list(self._open):
            session.end(_RESTARTING)
        deadline = time.monotonic() + _CLOSE_SECONDS
        while self._open and time.monotonic() < deadline:  # noqa: ASYNC110 — an event would cost each connection memory
            await asyncio.sleep(0.05)

    async def run(self) -> None:
        """Close what is silent, too old, or has lost its token, once a second."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.monotonic()
            for session in list(self._open):
                self.check(session, now)

    def check(self, session: Session, now: float) -> None:
        """Close a connection that has reached a limit."""
        try:
            session.token()
        except Refusal as refusal:
            session.end(End(events.INTERRUPTED, POLICY, refusal.message, refusal.code))
        if now - session.last_frame >= self._idle:
            session.end(_SILENT)
        if session.responses and now - session.last_message >= self._stalled:
            session.end(_STALLED)
        if now - session.started_at >= self._age:
            session.end_between_responses(_TOO_OLD)
