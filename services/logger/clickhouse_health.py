"""Whether ClickHouse answers, asked every few seconds even when no event comes."""

import asyncio
import logging
import time

from clickhouse_connect.driver.asyncclient import AsyncClient

from shared import clickhouse

log = logging.getLogger(__name__)

EVERY_SECONDS = 5.0
TIMEOUT_SECONDS = 5.0
PATIENCE_SECONDS = 15.0  # a restart of the server or one slow answer is not worth an alert


class Pulse:
    """The last answer of a ClickHouse server."""

    def __init__(self) -> None:
        self._answered = time.monotonic()

    def reason(self) -> str:
        """Why the logger cannot store rows; empty while ClickHouse answers."""
        silent = time.monotonic() - self._answered
        return f"ClickHouse has not answered for {silent:.0f} s" if silent > PATIENCE_SECONDS else ""

    async def forever(self, client: AsyncClient) -> None:
        """Ask and ask again; a failure is logged once, and so is the end of it."""
        was = ""
        while True:
            await self._ask(client)
            reason = self.reason()
            if bool(reason) != bool(was):
                log.warning("%s", reason) if reason else log.info("ClickHouse answers again")
            was = reason
            await asyncio.sleep(EVERY_SECONDS)

    async def _ask(self, client: AsyncClient) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await client.command("SELECT 1")
        except clickhouse.Failed:
            return
        self._answered = time.monotonic()
