"""Counters of limits per minute in NATS."""

import asyncio
import logging

from nats.aio.client import Client
from nats.js.errors import APIError

from shared.limits.model import RATE_SUBJECT

log = logging.getLogger(__name__)

REPLY_SECONDS = 2.0  # for a reply of NATS; a request waits for it much shorter
_WARNING_SECONDS = 60.0  # between two warnings


class Counters:
    """Connection to the counters; without one, each operation fails at once."""

    def __init__(self) -> None:
        self.nc: Client | None = None
        self.leases = 0
        self._warned_at: float | None = None

    async def add(self, subject: str, by: int) -> int:
        """Raise a counter and return its new total."""
        nc = self.nc
        if nc is None or not nc.is_connected:
            raise OSError("no connection to NATS")
        js = nc.jetstream(timeout=REPLY_SECONDS)
        try:  # without `stream`: a counter accepts no header that says what is expected
            return int((await js.publish(subject, b"", headers={"Nats-Incr": str(by)})).val or 0)
        except APIError as error:
            self._warn(error)
            raise

    def _warn(self, error: APIError) -> None:
        """Log, once a minute, that NATS refuses to count; each gateway then grants its share."""
        now = asyncio.get_running_loop().time()
        if self._warned_at is None or now - self._warned_at > _WARNING_SECONDS:
            self._warned_at = now
            log.error("rate limits: NATS refuses to count: %s", str(error)[:200])


class Counter:
    """One limit's counter in one minute."""

    __slots__ = ("_counters", "_minute", "_name")

    def __init__(self, counters: Counters, name: str, *, minute: int) -> None:
        self._counters = counters
        self._name = name
        self._minute = minute

    async def add(self, by: int) -> int:
        """Raise this minute's counter and return its new total."""
        self._counters.leases += 1
        return await self._counters.add(f"{RATE_SUBJECT}{self._name}.{self._minute}", by)

    async def previous(self) -> int:
        """Return the total of the minute before.

        Raised by 0: unlike a read, that is answered by the stream's leader, who knows the last total.
        """
        return await self._counters.add(f"{RATE_SUBJECT}{self._name}.{self._minute - 1}", 0)
