"""A number of requests goes in; a ClickHouse with so many of the last 30 days comes out, rolled up, to be measured.

Requests lie in parts that are not merged; the rollup's past days are one part each, as ClickHouse makes them within
20 minutes.
"""

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient

from services.logger import schema
from shared import clickhouse, rollup
from tests import parts
from tests.bench.questions import FILL

PART = 250_000  # rows a part
TABLES = ("usage_15m", "usage_totals_15m")


class Month(msgspec.Struct, frozen=True, kw_only=True):
    """A server with its requests, a client to it, and what the first pass of the rollup cost."""

    server: parts.ClickHouseServer
    client: AsyncClient
    first_pass: dict[str, Any]


@contextlib.asynccontextmanager
async def month(folder: Path, *, count: int) -> AsyncIterator[Month]:
    """Filled unless it is already: a folder that is kept serves again, as long as its newest requests are wanted."""
    server = parts.ClickHouseServer(folder)
    server.passwords = dict.fromkeys(server.users, "fixed")  # the key of what is stored there follows from it
    with parts.started(server):
        client = await clickhouse.connect(server.url(), service="bench", patience=900)
        try:
            await schema.apply(client)
            await client.command("SYSTEM STOP MERGES metrion.response_events")
            ((found,),) = (await client.query("SELECT count() FROM metrion.response_events")).result_rows
            if found < count:
                await fill(client, count)
            yield Month(server=server, client=client, first_pass=await _rolled_up(client))
        finally:
            await client.close()


async def fill(client: AsyncClient, count: int) -> None:
    """A month of requests in parts that stay as they are."""
    await client.command("TRUNCATE TABLE metrion.response_events")
    shares = -(-count // PART)
    for share in range(shares):
        await client.command(FILL.format(rows=min(PART, count - share * PART), share=share, shares=shares))


async def _rolled_up(client: AsyncClient) -> dict[str, Any]:
    began = time.monotonic()
    buckets = await rollup.refresh(client)
    done = {"buckets": buckets, "seconds": round(time.monotonic() - began, 1)}
    for table in TABLES:
        await client.command(f"OPTIMIZE TABLE metrion.{table} FINAL")
        ((done[table],),) = (await client.query(f"SELECT count() FROM metrion.{table}")).result_rows
    return done
