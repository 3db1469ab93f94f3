"""Throttle of the queries of alerts: they may take only a part of the time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable


class Pace:
    """Lets one query run at a time, and none for a multiple of its time afterwards."""

    def __init__(self, pause: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`pause`: this many times the duration of a query."""
        self._pause = pause
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._free_at = 0.0

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until it is allowed, and measure how long the block takes."""
        async with self._lock:
            await asyncio.sleep(max(self._free_at - self._monotonic(), 0))
            began = self._monotonic()
            try:
                yield
            finally:
                ended = self._monotonic()
                self._free_at = ended + self._pause * (ended - began)
