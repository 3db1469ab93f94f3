"""Circuit breaker for queries to the cache service."""

import time

MAX_TIMEOUTS = 5  # consecutive timeouts that open the breaker
OPEN_S = 5.0  # time for which an open breaker blocks queries


class Breaker:
    """Opens after consecutive timeouts, so that only an occasional probe is sent."""

    def __init__(self) -> None:
        self._timeouts = 0
        self._open_until = 0.0

    @property
    def open(self) -> bool:
        """Whether the service is considered broken."""
        return self._timeouts >= MAX_TIMEOUTS

    def refuses(self) -> bool:
        """Whether to skip this query."""
        if not self.open:
            return False
        now = time.monotonic()
        if now < self._open_until:
            return True
        self._open_until = now + OPEN_S  # this query is the probe, all others are still skipped
        return False

    def record_reply(self) -> None:
        """Close the breaker: the service replied."""
        self._timeouts = 0

    def record_timeout(self) -> None:
        """Count a query without a reply."""
        self._timeouts += 1
        if self._timeouts == MAX_TIMEOUTS:
            self._open_until = time.monotonic() + OPEN_S
