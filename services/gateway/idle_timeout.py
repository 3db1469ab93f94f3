"""Idle timeout for responses: a periodic scan instead of a timer per chunk."""

import asyncio
import time
from collections.abc import Callable

from services.gateway.exchange import Exchange

TimeOut = Callable[[], None]


class IdleWatchdog:
    """Tracks all responses in progress, and how to abort each of them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: dict[Exchange, TimeOut] = {}

    def begin(self, exchange: Exchange, time_out: TimeOut) -> None:
        """Watch a response; `time_out` ends a read from its provider."""
        self._open[exchange] = time_out

    def end(self, exchange: Exchange) -> None:
        """Stop watching a response."""
        self._open.pop(exchange, None)

    async def run(self) -> None:
        """Scan until cancelled; a timeout takes effect at most a quarter late."""
        while True:
            await asyncio.sleep(min(self._seconds / 4, 5.0))
            due = time.perf_counter() - self._seconds
            for exchange, time_out in list(self._open.items()):
                if exchange.first_byte_at is not None and exchange.last_activity < due and not exchange.writing:
                    time_out()
