"""Cache replicas for tests, in process or as processes, and a client for them."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client

from services.cache import leases, store
from services.cache.service import Settings, run
from services.gateway.cache import client
from shared import cache_protocol, nats_client
from shared.cache_protocol import Lease, Lookup, Reply, Store
from tests.support import ports, servers

_reply = msgspec.msgpack.Decoder(Reply)
_LEASE_SECONDS = 3600  # longer than a test may take


def wait_long(patch: pytest.MonkeyPatch) -> None:
    """Let NATS take its time for what replicas and gateways of this process write, and no lease end by itself."""
    patch.setattr(store, "WRITE_SECONDS", servers.DEADLINE)
    patch.setattr(leases, "SECONDS", servers.DEADLINE)
    patch.setattr(client, "STORE_S", servers.DEADLINE)
    patch.setattr(cache_protocol, "LEASE_SECONDS", _LEASE_SECONDS)


class CacheRequests:
    """Requests as a gateway makes them."""

    def __init__(self, nc: Client) -> None:
        self.nc = nc

    async def raw(self, subject: str, data: bytes, *, seconds: float = 60) -> Reply:
        """Any bytes to any subject."""
        return _reply.decode((await self.nc.request(subject, data, timeout=seconds)).data)

    async def lookup(self, key: str, *, lease: bool = False, seconds: float = 60) -> Reply:
        return await self.raw(cache_protocol.LOOKUP, cache_protocol.encode(Lookup(key, lease)), seconds=seconds)

    async def store(self, key: str, entry: bytes, *, ttl: int = 60, lease: int = 0) -> Reply:
        return await self.raw(cache_protocol.STORE, cache_protocol.encode(Store(key, entry, ttl, lease)))

    async def renew(self, key: str, number: int) -> Reply:
        return await self.raw(cache_protocol.RENEW, cache_protocol.encode(Lease(key, number)))

    async def release(self, key: str, number: int) -> Reply:
        return await self.raw(cache_protocol.RELEASE, cache_protocol.encode(Lease(key, number)))


@contextlib.asynccontextmanager
async def cache_requests(nats: servers.NatsServer) -> AsyncIterator[CacheRequests]:
    """A connection with a gateway's rights."""
    nc = await nats_client.connect(nats.url("gateway"), service="gateway")
    try:
        yield CacheRequests(nc)
    finally:
        await nc.close()


@contextlib.asynccontextmanager
async def replica(nats: servers.NatsServer, **changes: Any) -> AsyncIterator[asyncio.Event]:
    """A cache in this process, ready; stopped at the end, or as soon as the event that it hands out is set."""
    port, stop = ports.free_port(), asyncio.Event()
    await servers.provision(nats, cache_max_bytes=changes.pop("cache_max_bytes", 1 << 30))
    patient: dict[str, Any] = {"cache_lookup_seconds": 60.0}  # on a busy machine no test fails for a slow lookup
    settings = Settings(**(patient | {"nats_url": nats.url("cache"), "cache_ops_port": port} | changes))
    task = asyncio.create_task(run(settings, stop))
    try:
        await ready(settings.cache_ops_port, task)
        yield stop
    finally:
        stop.set()
        await task


async def ready(port: int, task: asyncio.Task[None]) -> None:
    """Wait for /readyz; whatever ended the task first is raised."""
    while not await asyncio.to_thread(servers.answers, f"http://127.0.0.1:{port}/readyz"):
        if task.done():
            task.result()
        await asyncio.sleep(0.02)


class Process:
    """A cache as a process."""

    def __init__(self, nats: servers.NatsServer, log: Path, *, stop_seconds: float = 60.0) -> None:
        self.port, self.log = ports.free_port(), log
        environment = {"METRION_NATS_URL": nats.url("cache"), "METRION_CACHE_OPS_PORT": str(self.port)}
        environment["METRION_CACHE_LOOKUP_SECONDS"] = "60"
        environment["METRION_CACHE_STOP_SECONDS"] = str(stop_seconds)
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.cache"],
                cwd=servers.ROOT,
                env=os.environ | environment,
                stdout=output,
                stderr=output,
            )

    def ready(self) -> None:
        """Wait until it is."""
        servers.wait_for(
            lambda: servers.answers(f"http://127.0.0.1:{self.port}/readyz"),
            "the cache",
            abort=lambda: self.process.poll() is not None,
            explain=lambda: self.log.read_text()[-3000:],
        )

    def end(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)


@contextlib.contextmanager
def processes(
    nats: servers.NatsServer, folder: Path, count: int, *, stop_seconds: float = 60.0
) -> Iterator[list[Process]]:
    """So many replicas, ready, killed at the end if they still run."""
    with ThreadPoolExecutor(1) as pool:  # a test's own loop may be running in this thread
        pool.submit(lambda: asyncio.run(servers.provision(nats))).result()
    started = [Process(nats, folder / f"cache-{number}.log", stop_seconds=stop_seconds) for number in range(count)]
    try:
        for one in started:
            one.ready()
        yield started
    finally:
        for one in started:
            one.process.kill()
            one.process.wait(servers.DEADLINE)
