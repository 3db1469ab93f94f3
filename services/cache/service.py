"""The cache service: any number of replicas serve responses from memory and NATS."""

import asyncio
import contextlib
import logging
import secrets
import socket
from typing import Annotated

import msgspec
from nats.aio.client import Client

from services.cache.lru import LRU
from services.cache.metrics import Metrics
from services.cache.server import Server
from services.cache.store import Store
from shared import cache_protocol, logging_setup, nats_client, streams, urls
from shared.process import operations, restart_on_failure
from shared.settings import setting

log = logging.getLogger(__name__)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is the environment variable METRION_<FIELD>."""

    nats_url: Annotated[
        str,
        setting(
            "NATS servers, comma-separated, nats:// or tls://, with the cache's user and password",
            secret=True,
            url=urls.NATS,
        ),
    ]
    nats_ca_file: Annotated[str, setting("PEM bundle of extra CAs to trust for NATS")] = ""
    ops_host: Annotated[str, setting("address to serve health, readiness and metrics on")] = "127.0.0.1"
    cache_ops_port: Annotated[int, setting("port for health, readiness and metrics", ge=0, le=65535)] = 9082
    log_level: logging_setup.Level = "INFO"
    log_format: logging_setup.Format = "text"
    cache_memory_bytes: Annotated[
        int, setting("maximum bytes of cached responses that a replica also keeps in memory", ge=0)
    ] = 256 << 20
    cache_concurrency: Annotated[
        int, setting("maximum requests waiting for NATS; further ones are misses immediately", ge=1)
    ] = 512
    cache_lookup_seconds: Annotated[
        float,
        setting("seconds until a lookup counts as a miss; keep it below the gateways' METRION_CACHE_TIMEOUT", gt=0),
    ] = 0.2
    cache_stop_seconds: Annotated[float, setting("seconds to finish requests in progress on shutdown", ge=0)] = 5.0
    stream_replicas: Annotated[int, setting("replicas of each stream in a NATS cluster", ge=1, le=5)] = 1


def check(settings: Settings) -> None:
    """Check the NATS URL and the CA bundle; raises ValueError or OSError."""
    nats_client.check(settings.nats_url, ca_file=settings.nats_ca_file)


class State:
    """Progress of the start, for /readyz, and what shutdown has to wait for."""

    def __init__(self) -> None:
        self.nc: Client | None = None
        self.server: Server | None = None
        self.stopping = False

    def reason(self) -> str:
        """Why the cache is not ready; empty when it is."""
        if self.stopping:
            return "stopping"
        if self.nc is None or not self.nc.is_connected:
            return "no connection to NATS"
        return "" if self.server is not None else "streams do not exist yet"


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop`, then finish requests in progress; survives NATS outages."""
    metrics = Metrics()
    state = State()
    async with (
        operations(
            settings.ops_host, settings.cache_ops_port, service="cache", ready=state.reason, registry=metrics.registry()
        ),
        restart_on_failure("cache", lambda: _work(settings, state=state, metrics=metrics)),
    ):
        await stop.wait()
        state.stopping = True
        if state.server is not None:
            await state.server.stop(settings.cache_stop_seconds)


async def _work(settings: Settings, *, state: State, metrics: Metrics) -> None:
    nc = await nats_client.connect(settings.nats_url, service="cache", ca_file=settings.nats_ca_file)
    try:
        state.nc = nc
        await streams.wait_for(nc.jetstream(), cache_protocol.STREAM, cache_protocol.LEASES_STREAM)
        memory = LRU(settings.cache_memory_bytes)
        server = Server(
            nc,
            Store(nc, memory, timeout=settings.cache_lookup_seconds, direct=settings.stream_replicas == 1),
            memory,
            metrics=metrics,
            replica=f"{socket.gethostname()}-{secrets.token_hex(3)}",
            concurrency=settings.cache_concurrency,
            timeout=settings.cache_lookup_seconds,
        )
        observe(metrics, memory, server)
        await server.start()
        state.server = server
        log.info("ready")
        await asyncio.Event().wait()
    finally:
        state.nc = None
        state.server = None
        with contextlib.suppress(Exception):  # nothing depends on it any more
            await asyncio.wait_for(nc.close(), 2)


def observe(metrics: Metrics, memory: LRU, server: Server) -> None:
    """Register gauges of the cached responses and of the requests in progress."""
    metrics.counters["metrion_cache_evictions"] = (
        "Responses evicted from memory to make room",
        lambda: memory.evictions,
    )
    metrics.gauges |= {
        "metrion_cache_memory_bytes": ("Bytes of responses in memory", lambda: memory.bytes),
        "metrion_cache_memory_entries": ("Responses in memory", lambda: len(memory)),
        "metrion_cache_lookups_in_hand": ("Lookups waiting for NATS", lambda: len(server.lookups)),
        "metrion_cache_stores_in_hand": ("Stores waiting for NATS", lambda: len(server.stores)),
        "metrion_cache_leases_in_hand": ("Lease renewals and releases waiting for NATS", lambda: len(server.leases)),
    }
