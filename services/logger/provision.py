"""Provisioning: creates streams, buckets and tables, retrying until it succeeds.

`python -m services.logger --provision` does only this: the job that runs before the services, as the NATS user
`provision`. The logger itself creates no streams and waits for them.
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
from shared.process import cancel_and_wait

log = logging.getLogger(__name__)
T = TypeVar("T")

_RETRIED = (nats.errors.Error, nats.js.errors.Error, *clickhouse.Failed)


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Create streams and tables; raises OSError if stopped before they exist."""
    work = asyncio.create_task(_provision(settings))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not work.done():
        await cancel_and_wait(work)
        raise OSError("stopped before all streams and tables were created")
    await work
    log.info("all streams and tables exist")


async def _provision(settings: Settings) -> None:
    async with connected(settings, service="provision") as nc:
        await make_streams(nc, settings)
    async with opened(settings) as client:
        await tables(client, settings)


@contextlib.asynccontextmanager
async def connected(
    settings: Settings, *, service: str = "logger", on_reconnect: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[Client]:
    """A NATS connection; waits until the server is reachable."""

    async def attempt() -> Client:
        return await nats_client.connect(
            settings.nats_url, service=service, ca_file=settings.nats_ca_file, on_reconnect=on_reconnect
        )

    nc = await _until_done("NATS", attempt)
    try:
        yield nc
    finally:
        with contextlib.suppress(Exception):  # nothing depends on it any more
            await asyncio.wait_for(nc.close(), 2)


async def make_streams(nc: Client, settings: Settings) -> None:
    """Create or update streams and buckets; waits until NATS accepts them."""

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
    """A ClickHouse client; waits until the server is reachable."""

    async def attempt() -> AsyncClient:
        return await clickhouse.connect(settings.clickhouse_url, service="logger", ca_file=settings.clickhouse_ca_file)

    client = await _until_done("ClickHouse", attempt)
    try:
        yield client
    finally:
        await client.close()


async def tables(client: AsyncClient, settings: Settings) -> None:
    """Create database, tables and views; waits until ClickHouse accepts them."""
    await _until_done("schema", lambda: schema.apply(client, cluster=settings.clickhouse_cluster))


async def _until_done(what: str, attempt: Callable[[], Awaitable[T]]) -> T:
    def failed(error: BaseException, _failures: int, pause: float) -> None:
        log.warning("%s: failed, retrying in %.0f s: %s %s", what, pause, type(error).__name__, str(error)[:200])

    return await retry.until_done(attempt, on=_RETRIED, first=1.0, failed=failed)
