"""Provisioning: the streams, buckets and tables that must be there, and the connections to make them over.

`python -m services.logger --provision` does only this and ends: the job that goes before the services, as NATS's user
`provision`. The logger itself makes no streams, and waits for them.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import nats.errors
import nats.js.errors
from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.aio.client import Client

from services.logger import schema
from services.logger.settings import Settings
from shared import clickhouse, nats_client, retry, streams

log = logging.getLogger(__name__)
T = TypeVar("T")

_RETRIED = (nats.errors.Error, nats.js.errors.Error, *clickhouse.Failed)


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Make everything that must be there, however long the servers let wait; OSError when told to stop before."""
    work, told = asyncio.create_task(_everything(settings)), asyncio.create_task(stop.wait())
    await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not work.done():
        work.cancel()
        raise OSError("stopped before streams and tables were there")
    await work
    log.info("streams and tables are there")


async def _everything(settings: Settings) -> None:
    async with connected(settings, service="provision") as nc:
        await make_streams(nc, settings)
    async with opened(settings) as client:
        await tables(client, settings)


@contextlib.asynccontextmanager
async def connected(
    settings: Settings, *, service: str = "logger", on_reconnect: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[Client]:
    """NATS, as soon as it is there."""

    async def attempt() -> Client:
        return await nats_client.connect(
            settings.nats_url, service=service, ca_file=settings.nats_ca_file, on_reconnect=on_reconnect
        )

    nc = await _until_done("NATS", attempt)
    try:
        yield nc
    finally:
        with contextlib.suppress(Exception):  # nothing hangs on it any more
            await asyncio.wait_for(nc.close(), 2)


async def make_streams(nc: Client, settings: Settings) -> None:
    """Streams and buckets, as soon as NATS takes them."""

    async def attempt() -> None:
        await streams.provision(
            nc.jetstream(),
            replicas=settings.stream_replicas,
            max_bytes=settings.stream_max_bytes,
            cache_max_bytes=settings.cache_max_bytes,
            redeliver_after=settings.redeliver_after,
        )

    await _until_done("streams", attempt)


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[AsyncClient]:
    """ClickHouse, as soon as it is there."""

    async def attempt() -> AsyncClient:
        return await clickhouse.connect(settings.clickhouse_url, service="logger", ca_file=settings.clickhouse_ca_file)

    client = await _until_done("ClickHouse", attempt)
    try:
        yield client
    finally:
        await client.close()


async def tables(client: AsyncClient, settings: Settings) -> None:
    """Database, tables and views, as soon as ClickHouse takes them."""
    await _until_done("schema", lambda: schema.apply(client, cluster=settings.clickhouse_cluster))


async def _until_done(what: str, attempt: Callable[[], Awaitable[T]]) -> T:
    def failed(error: BaseException, _failures: int, pause: float) -> None:
        log.warning("%s: not yet, again in %.0f s: %s %s", what, pause, type(error).__name__, str(error)[:200])

    return await retry.until_done(attempt, on=_RETRIED, first=1.0, failed=failed)
