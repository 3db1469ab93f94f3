"""The gateway's wiring: settings in, a listening proxy with its outbox, accounts mirror and operations port out."""

import asyncio
import contextlib
import gc
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
from aiohttp import web
from nats.aio.client import Client

from services.gateway import gauges
from services.gateway.accounts_mirror import Mirror
from services.gateway.aiohttp_server import Server
from services.gateway.cache.client import CacheClient
from services.gateway.handler import Handler
from services.gateway.metrics import Metrics
from services.gateway.outbox.outbox import Outbox, SpoolLocked, adopt
from services.gateway.outbox.shipper import Shipper
from services.gateway.request.provider_keys import Keys
from services.gateway.request.routing import Router
from services.gateway.settings import Settings, provider_keys, providers, vault
from services.gateway.trim_memory import give_back_memory
from services.gateway.upstream.client import Upstream
from shared import events, nats_client
from shared.process import cancel_and_wait, open_files_limit, operations, restart_on_failure, run_all
from shared.vault import VaultError

log = logging.getLogger(__name__)

BEAT_SECONDS = 10
_REPORT_SECONDS = 60
ADOPT_SECONDS = 30.0
REREAD_SECONDS = 1.0
_HEADER_BYTES = 32 << 10
_CLOSING_SECONDS = 3.0  # of the grace, for what comes after the flush
_OWN_FILES = 128  # that the gateway opens for itself: outbox, NATS, operations port
_MOST_INSTANCES = 256  # of one folder, where each takes the first number that is free


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; then stop in reverse: accept no more, let streams end, flush the outbox, close."""
    settings.gateway_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    numbered = settings.workers if settings.instance >= 0 else 0  # below it, a spool waits for its own gateway
    settings, outbox = _moved_in(settings)
    outbox.say_unsaid()
    subject = f"{events.EVENTS_SUBJECT}.{settings.gateway_name}"
    mirror = Mirror(settings.gateway_dir / f"accounts-{settings.instance}.snapshot")
    shipper, cache, metrics = (
        Shipper(outbox, subject=subject),
        CacheClient(wait=settings.cache_wait, timeout=settings.cache_timeout),
        Metrics(),
    )
    gauges.outbox(metrics, outbox, shipper, max_bytes=settings.spool_max_bytes)
    gauges.cache(metrics, cache)
    gauges.accounts(metrics, mirror)
    gauges.end(metrics, stop)

    listening = asyncio.Event()
    stopped_at = asyncio.get_running_loop().time()

    def ready() -> str:
        if stop.is_set():
            return "stopping"
        if not listening.is_set():
            return "not listening yet"
        return "" if mirror.seen else "the accounts have never been seen"

    async def on_bus() -> None:
        await _bus(
            settings,
            outbox=outbox,
            mirror=mirror,
            shipper=shipper,
            cache=cache,
            subject=subject,
            numbered=numbered,
        )

    async with contextlib.AsyncExitStack() as stack:
        stack.callback(outbox.close)
        upstream = Upstream(settings)
        stack.push_async_callback(upstream.close)
        known = providers(settings)
        keys = Keys(provider_keys(settings, known, os.environ), sealed=mirror, vault=vault(settings))
        gauges.keys(metrics, keys)
        proxy = Handler(
            settings,
            outbox=outbox,
            directory=mirror,
            provider_keys=keys,
            router=Router(known),
            upstream=upstream,
            cache=cache,
            metrics=metrics,
        )
        gauges.bodies(metrics, proxy.bodies, proxy.relay.prompts)
        stack.push_async_callback(mirror.close)
        await stack.enter_async_context(restart_on_failure("bus", on_bus))
        stack.push_async_callback(_flush, shipper, settings, lambda: stopped_at)
        stack.push_async_callback(cache.close)
        stack.callback(lambda: outbox.append(outbox.beat(closing=True)))
        await stack.enter_async_context(restart_on_failure("watch", proxy.relay.watchdog.run))
        await stack.enter_async_context(restart_on_failure("memory", give_back_memory))
        if settings.spool_full == "refuse":
            proxy.full = outbox.is_full_for
        await stack.enter_async_context(restart_on_failure("beats", lambda: _beats(outbox, proxy)))
        if settings.secret_key_file:
            await stack.enter_async_context(restart_on_failure("secret keys", lambda: _reread(settings, keys)))
        await stack.enter_async_context(
            operations(
                settings.ops_host,
                settings.gateway_ops_port,
                service="gateway",
                ready=ready,
                registry=metrics.registry(),
            )
        )
        await stack.enter_async_context(_listen(settings, proxy, metrics))
        listening.set()
        log.info("listening on %s:%d as %s", settings.gateway_host, settings.gateway_port, settings.gateway_name)
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not look at it again
        gc.set_threshold(50_000, 20, 20)
        await stop.wait()
        stopped_at = asyncio.get_running_loop().time()
        log.info("stopping: %d requests are open", proxy.active)


@contextlib.asynccontextmanager
async def _listen(settings: Settings, proxy: Handler, metrics: Metrics) -> AsyncIterator[None]:
    server = Server(
        proxy.handle,
        max_body=settings.max_body_bytes,
        max_connections=_most_connections(settings),
        refusals=metrics.refusals,
        handler_cancellation=settings.on_disconnect == "cancel",
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=settings.keepalive_timeout,
        max_line_size=_HEADER_BYTES,
        max_field_size=_HEADER_BYTES,
        lingering_time=5.0,  # for a client that still sends to read why it was refused
    )
    runner = web.ServerRunner(server, shutdown_timeout=settings.stop_seconds)
    await runner.setup()
    site = web.TCPSite(
        runner, settings.gateway_host, settings.gateway_port, reuse_port=settings.workers > 1, backlog=1024
    )
    await site.start()
    metrics.gauges["metrion_gateway_connections"] = (
        "Client connections that are open",
        lambda: len(server.connections),
    )
    try:
        async with restart_on_failure(
            "deadlines",
            lambda: server.enforce_deadlines(head=settings.header_timeout, unread=settings.idle_timeout),
        ):
            yield
    finally:
        server.leaving = True
        await asyncio.sleep(settings.stop_delay)  # readiness is off: load balancers and clients go elsewhere meanwhile
        await _close(runner, site, proxy, settings.stop_seconds)


def _most_connections(settings: Settings) -> int:
    """The cap of client connections: as set, and low enough that each can have one to a provider."""
    room = max((open_files_limit() - _OWN_FILES) // 2, 16)
    if room < settings.max_connections:
        log.warning("at most %d client connections, for the limit of open files allows no more", room)
    return min(room, settings.max_connections)


async def _close(runner: web.ServerRunner, site: web.TCPSite, proxy: Handler, seconds: float) -> None:
    """Accept no more, let open requests end, then cut and say how many."""
    await site.stop()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while proxy.active and loop.time() < deadline:  # noqa: ASYNC110 — an event would cost each request its setting
        await asyncio.sleep(0.05)
    proxy.relay.stopping = True
    if proxy.active:
        log.warning("cut %d requests that had not ended after %.0f s", proxy.active, seconds)
    await runner.cleanup()


async def _flush(shipper: Shipper, settings: Settings, stopped_at: Callable[[], float]) -> None:
    """Ship what is left until all of it is acked, as long as the settings and the grace allow."""
    grace = stopped_at() + settings.grace_seconds - _CLOSING_SECONDS - asyncio.get_running_loop().time()
    left = await shipper.flush(max(settings.flush_seconds, grace))
    if left:
        log.warning("%d bytes of events stay in the outbox and are shipped at the next start", left)


async def _bus(
    settings: Settings,
    *,
    outbox: Outbox,
    mirror: Mirror,
    shipper: Shipper,
    cache: CacheClient,
    subject: str,
    numbered: int,
) -> None:
    """Everything that needs NATS, never in a request's way: accounts' mirror, shipper, orphan spools, the cache."""
    nc = await nats_client.connect(
        settings.nats_url, service="gateway", ca_file=settings.nats_ca_file, on_reconnect=mirror.resume
    )
    try:
        cache.attach(nc)
        work = [mirror.follow(nc), shipper.run(nc)]
        if settings.instance == 0:
            work.append(_ship_orphans(nc, settings, outbox=outbox, subject=subject, numbered=numbered))
        await run_all(*work)
    finally:
        cache.attach(None)
        with contextlib.suppress(Exception):  # of a connection that is lost anyway; it must not hide why we stop
            await asyncio.wait_for(nc.close(), 2)


async def _ship_orphans(nc: Client, settings: Settings, *, outbox: Outbox, subject: str, numbered: int) -> None:
    """Ship what gateways left behind that are not started any more, and remove their emptied folders."""
    while True:
        for orphan in adopt(_spools(settings), own=settings.instance, workers=numbered):
            log.info("shipping the orphan spool %s", orphan.spool)
            shipper = Shipper(orphan, subject=subject)
            running = asyncio.create_task(shipper.run(nc))
            try:
                if not await shipper.flush(ADOPT_SECONDS) and all(map(outbox.append, orphan.unsaid)):
                    orphan.remove()
            finally:
                await cancel_and_wait(running)
                orphan.close()
        await asyncio.sleep(ADOPT_SECONDS)


async def _beats(outbox: Outbox, proxy: Handler) -> None:
    """Say every 10 s how far this instance has numbered, and every minute whose refusals have no row."""
    ticks = 0
    while True:
        outbox.say_unsaid()
        if ticks % BEAT_SECONDS == 0:
            outbox.append(outbox.beat())
        if ticks % _REPORT_SECONDS == 0:
            proxy.refusals.report()
        ticks += 1
        await asyncio.sleep(1)


async def _reread(settings: Settings, keys: Keys) -> None:
    """Take over the secret keys' file when it changes, so that they can be replaced without a restart."""
    while True:
        await asyncio.sleep(REREAD_SECONDS)
        try:
            fresh = vault(settings)
        except VaultError as error:
            log.error("the secret keys stay as they were: %s", error)
            continue
        if fresh.ids != keys.vault.ids:
            log.info("secret keys %s, before %s", ", ".join(fresh.ids), ", ".join(keys.vault.ids) or "none")
            keys.vault = fresh


def _moved_in(settings: Settings) -> tuple[Settings, Outbox]:
    """The settings with this process's name and number, and its outbox: the given one, or the first that is free."""
    numbers = [settings.instance] if settings.instance >= 0 else range(_MOST_INSTANCES)
    for number in numbers:
        name = f"{settings.gateway_name or _host()}-{number}"
        try:
            outbox = Outbox(_spools(settings) / str(number), gateway=name, max_bytes=settings.spool_max_bytes)
        except SpoolLocked:
            if number == settings.instance:
                raise
            continue
        return msgspec.structs.replace(settings, gateway_name=name, instance=number), outbox
    raise SpoolLocked(f"{settings.gateway_dir} has no place for another gateway: {_MOST_INSTANCES} share it")


def _spools(settings: Settings) -> Path:
    return settings.gateway_dir / "outbox"


def _host() -> str:
    """The host's name as far as a NATS subject can hold it; its end, which tells the pods of one set apart."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in socket.gethostname())[-48:] or "gateway"
