"""Permits for requests of one counter within one minute, leased from NATS."""

import asyncio
from collections.abc import Awaitable, Callable

PREFETCH_SHARE = 100  # a lease is at most this part of the limit
TIMEOUT_SECONDS = 0.05  # for which a request waits for NATS
RETRY_SECONDS = 0.25  # between two attempts while NATS does not respond

# Raises the counter of a window and returns its new total; raises for a NATS that is away or slow.
Increment = Callable[[int], Awaitable[int]]
FAILED = (OSError, TimeoutError)


class Window:
    """One minute of one limit.

    Each lease raises the shared counter; what the returned total shows above the limit is not granted, so all gateways
    together grant exactly the limit. While NATS does not respond, this gateway grants its share of the limit on its
    own and adds it to the counter with its next lease.
    """

    __slots__ = (
        "_ahead",
        "_increment",
        "_is_used_up",
        "_leasing",
        "_permits",
        "_retry_at",
        "_share",
        "_total",
        "_unreported",
        "_waiting",
        "granted_alone",
        "limit",
    )

    def __init__(self, limit: int, increment: Increment, share: Callable[[int], int]) -> None:
        self.limit = limit
        self.granted_alone = 0  # permits granted while NATS did not respond
        self._increment = increment
        self._share = share
        self._permits = 0
        self._total = 0  # what the counter last said
        self._is_used_up = False
        self._unreported = 0
        self._retry_at = 0.0
        self._waiting: list[asyncio.Future[bool]] = []
        self._leasing: asyncio.Task[None] | None = None
        self._ahead = 1  # permits to lease at a time: doubled with each lease, up to a part of the limit

    @property
    def remaining(self) -> int:
        """Permits that are left, as far as this gateway knows."""
        return max(self.limit - self._total, 0) + self._permits

    async def take(self) -> bool:
        """Take one permit; False if the limit is reached."""
        if self._permits:
            self._permits -= 1
            if self._permits < self._ahead // 2 and not self._is_used_up:
                self._lease_soon()  # ahead of need, so that hardly a request waits
            return True
        if self._is_used_up:
            return False
        loop = asyncio.get_running_loop()
        if loop.time() < self._retry_at:
            return self._take_alone()
        waiting: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(waiting)
        self._lease_soon()
        return await waiting

    def _take_alone(self) -> bool:
        if self.granted_alone >= self._share(self.limit):
            return False
        self.granted_alone += 1
        self._unreported += 1
        self._total += 1
        return True

    def _lease_soon(self) -> None:
        if self._leasing is None or self._leasing.done():
            self._leasing = asyncio.ensure_future(self._lease())

    async def _lease(self) -> None:
        """Lease until nobody waits."""
        first = True
        while (self._waiting or first) and not self._is_used_up:
            first = False
            size = max(len(self._waiting), self._ahead)
            unreported = self._unreported
            try:
                total = await asyncio.wait_for(self._increment(size + unreported), TIMEOUT_SECONDS)
            except Exception:  # whatever is wrong with NATS is no reason to fail a request
                self._retry_at = asyncio.get_running_loop().time() + RETRY_SECONDS
                self._serve_waiting_alone()
                return
            self._unreported -= unreported
            self._total = total
            granted = min(max(self.limit - (total - size), 0), size)
            self._permits += granted
            self._ahead = max(min(self._ahead * 2, self.limit // PREFETCH_SHARE), 1)
            self._is_used_up = granted < size
            while self._permits and self._waiting:
                waiting = self._waiting.pop(0)
                if not waiting.done():
                    self._permits -= 1
                    waiting.set_result(True)
        while self._waiting:
            waiting = self._waiting.pop(0)
            if not waiting.done():
                waiting.set_result(False)

    def _serve_waiting_alone(self) -> None:
        while self._waiting:
            waiting = self._waiting.pop(0)
            if not waiting.done():
                waiting.set_result(self._take_alone())
