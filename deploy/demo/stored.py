"""Queries for the demo's stored traffic and history."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

from clickhouse_connect.driver.asyncclient import AsyncClient

from deploy.demo.history import GATEWAY
from shared import clickhouse, completeness

_SPOOLS = """
SELECT spool, max(closed) AS closed FROM (
    SELECT spool, closing AND at = toStartOfDay(at) AS closed FROM metrion.gateways WHERE gateway = {gateway:String}
    UNION ALL SELECT DISTINCT spool, false AS closed FROM metrion.response_events WHERE gateway = {gateway:String})
GROUP BY spool
"""


async def totals(client: AsyncClient, *, since: datetime) -> dict[str, Any]:
    """The figures of `metrion report` since a time."""
    until = datetime.now(UTC) + timedelta(days=1)
    (row,) = await clickhouse.run_query(
        client, "report_totals", since=since, until=until, account="", by="day", also="", tz="UTC"
    )
    return row


async def settled(client: AsyncClient, *, since: datetime, seconds: float) -> None:
    """Wait until no event is missing since a time, at most so many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                if completeness.verdict(await clickhouse.run_query(client, "completeness", since=since)).complete:
                    return
                await asyncio.sleep(0.5)


async def spools(client: AsyncClient) -> dict[str, bool]:
    """The stored spools of a history, and whether each is complete."""
    result = await client.query(_SPOOLS, parameters={"gateway": GATEWAY})
    return {spool: bool(closed) for spool, closed in result.result_rows}
