"""ClickHouse health check, every few seconds even without events."""

import asyncio
import logging
import time

from clickhouse_connect.driver.asyncclient import AsyncClient

from shared import clickhouse

log = logging.getLogger(__name__)

EVERY_SECONDS = 5.0
TIMEOUT_SECONDS = 5.0
PATIENCE_SECONDS = 15.0  # a server restart or one slow response is not worth an alert


class ResponseWatch:
    """Remembers when ClickHouse last responded."""

    def __init__(self) -> None:
        self._last_response = time.monotonic()

    def reason(self) -> str:
        """Why the logger cannot store rows; empty while ClickHouse responds."""
        silent = time.monotonic() - self._last_response
        return f"ClickHouse has not responded for {silent:.0f} s" if silent > PATIENCE_SECONDS else ""

    async def forever(self, client: AsyncClient) -> None:
        """Check periodically; logs when an outage begins and when it is over."""
        previous = ""
        while True:
            await self._check(client)
            reason = self.reason()
            if reason and not previous:
                log.warning("%s", reason)
            elif previous and not reason:
                log.info("ClickHouse responds again")
            previous = reason
            await asyncio.sleep(EVERY_SECONDS)

    async def _check(self, client: AsyncClient) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await client.command("SELECT 1")
        except clickhouse.Failed:
            return
        self._last_response = time.monotonic()
