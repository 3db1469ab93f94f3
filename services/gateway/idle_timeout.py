"""Idle timeout for responses: a periodic scan instead of a timer per chunk."""

import asyncio
from collections.abc import Callable

from services.gateway.exchange import Exchange

TimeOut = Callable[[], None]
_SCANS = 4  # that find nothing new before a response times out
_MOST_SECONDS = 5.0  # between two scans


class IdleWatchdog:
    """Tracks all responses in progress, and how to abort each of them."""

    def __init__(self, seconds: float) -> None:
        self._pause = min(seconds / _SCANS, _MOST_SECONDS)
        self._scans = seconds / self._pause
        self._open: dict[Exchange, TimeOut] = {}

    def begin(self, exchange: Exchange, time_out: TimeOut) -> None:
        """Watch a response; `time_out` ends a read from its provider."""
        self._open[exchange] = time_out

    def end(self, exchange: Exchange) -> None:
        """Stop watching a response."""
        self._open.pop(exchange, None)

    async def run(self) -> None:
        """Scan until cancelled; a timeout takes effect at most a quarter late.

        It counts scans: after a standstill of the process, what has arrived meanwhile is read before the next one.
        """
        silent: dict[Exchange, tuple[float, int]] = {}  # last activity, and later scans that have found no other
        while True:
            await asyncio.sleep(self._pause)
            before = silent
            silent = {}
            for exchange, time_out in list(self._open.items()):
                if exchange.first_byte_at is None or exchange.writing:
                    continue
                last, scans = before.get(exchange, (0.0, 0))
                scans = scans + 1 if last == exchange.last_activity else 0
                silent[exchange] = (exchange.last_activity, scans)
                if scans >= self._scans:
                    time_out()
