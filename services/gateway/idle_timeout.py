"""Finds answers whose provider fell silent, by a look now and then, so that no chunk has to set a timer."""

import asyncio
import time
from collections.abc import Callable

from services.gateway.exchange import Exchange

Break = Callable[[], None]


class IdleWatchdog:
    """Knows every answer under way, and how to break off each."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: dict[Exchange, Break] = {}

    def begin(self, exchange: Exchange, reading: Break) -> None:
        """Watch an answer; `reading` ends a wait for the provider. A client that does not read is its connection's."""
        self._open[exchange] = reading

    def end(self, exchange: Exchange) -> None:
        """The answer is over."""
        self._open.pop(exchange, None)

    async def run(self) -> None:
        """Look until cancelled; what has not moved for the idle time is broken off within a quarter of it more."""
        while True:
            await asyncio.sleep(min(self._seconds / 4, 5.0))
            due = time.perf_counter() - self._seconds
            for exchange, reading in list(self._open.items()):
                if exchange.first_byte is not None and exchange.moved < due and not exchange.writing:
                    reading()
