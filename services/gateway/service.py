"""The gateway process: starts its parts, and stops them in reverse order."""

import asyncio
import contextlib
import gc
import logging
import os
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from services.gateway import gauges
from services.gateway.accounts_mirror import Mirror
from services.gateway.aiohttp_server import Server
from services.gateway.cache.client import CacheClient
from services.gateway.handler import Handler
from services.gateway.limits import default
from services.gateway.limits.budgets import Budgets
from services.gateway.limits.limiter import Limiter
from services.gateway.metrics import Metrics
from services.gateway.outbox import instances, orphans
from services.gateway.outbox.outbox import Outbox
from services.gateway.outbox.shipper import Shipper
from services.gateway.request.provider_keys import Keys
from services.gateway.request.routing import Router
from services.gateway.settings import Settings, provider_keys, providers, vault
from services.gateway.trim_memory import give_back_memory
from services.gateway.upstream.client import Upstream
from shared import events, nats_client
from shared.process import open_files_limit, operations, restart_on_failure, run_all
from shared.vault import VaultError

log = logging.getLogger(__name__)

BEAT_SECONDS = 10  # between two heartbeats
_REPORT_SECONDS = 60  # between two reports of refusals without a row
RELOAD_SECONDS = 1.0  # between two checks of the secret keys' file
_HEADER_BYTES = 32 << 10  # maximum size of a header field
_CLOSING_SECONDS = 3.0  # part of the grace period that is left for what follows the flush
_DRAIN_SECONDS = 1.5  # of these, until the figures of budgets include the last requests
_OWN_FILES = 128  # files that the gateway opens for itself: outbox, NATS, operations port


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then stop in reverse order of the start.

    The exit stack closes what was entered last first: the listener lets open requests end before the outbox is flushed
    to NATS, and the outbox is closed last.
    """
    # 1. Claim this instance's outbox, and build what needs no connection.
    settings.gateway_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    workers = settings.workers if settings.instance >= 0 else 0  # spools of lower numbers wait for their own gateway
    settings, outbox = instances.claim(settings)
    outbox.append_last_beats()
    subject = f"{events.EVENTS_SUBJECT}.{settings.gateway_name}"
    mirror = Mirror(
        settings.gateway_dir / f"accounts-{settings.instance}.snapshot",
        default_requests=settings.default_requests_per_minute,
    )
    shipper = Shipper(outbox, subject=subject)
    cache = CacheClient(wait=settings.cache_wait, timeout=settings.cache_timeout)
    metrics = Metrics()
    gauges.outbox(metrics, outbox, shipper, max_bytes=settings.spool_max_bytes)
    gauges.cache(metrics, cache)
    limiter = Limiter(mirror, name=f"{settings.gateway_name}/{settings.instance}")
    gauges.accounts(metrics, mirror)
    budgets = Budgets(mirror, outbox, name=f"{settings.gateway_name}/{settings.instance}")
    gauges.limits(metrics, limiter)
    gauges.budgets(metrics, budgets)
    gauges.end(metrics, stop)
    listening = asyncio.Event()
    stopped_at = asyncio.get_running_loop().time()

    def ready() -> str:
        if stop.is_set():
            return "stopping"
        if not listening.is_set():
            return "not listening yet"
        return "" if mirror.is_loaded else "the accounts have never been loaded"

    async def use_nats() -> None:
        await _use_nats(
            settings,
            outbox=outbox,
            mirror=mirror,
            shipper=shipper,
            cache=cache,
            limiter=limiter,
            budgets=budgets,
            subject=subject,
            workers=workers,
        )

    async with contextlib.AsyncExitStack() as stack:
        # 2. Build the request handler over the provider client.
        stack.callback(outbox.close)
        upstream = Upstream(settings)
        stack.push_async_callback(upstream.close)
        known = providers(settings)
        keys = Keys(provider_keys(settings, known, os.environ), sealed=mirror, vault=vault(settings))
        gauges.keys(metrics, keys)
        handler = Handler(
            settings,
            outbox=outbox,
            directory=mirror,
            provider_keys=keys,
            router=Router(known),
            upstream=upstream,
            cache=cache,
            metrics=metrics,
            limiter=limiter,
            budgets=budgets,
        )
        if settings.spool_full == "refuse":
            handler.admission.full = outbox.is_full_for
        gauges.bodies(metrics, handler.bodies, handler.relay.prompts)
        gauges.websockets(metrics, handler.websockets.connections)
        gauges.telemetry(metrics, handler.telemetry)

        # 3. Connect to NATS in the background. At a stop: heartbeat, pending stores, unused permits, flush, disconnect.
        stack.push_async_callback(mirror.close)
        await stack.enter_async_context(restart_on_failure("bus", use_nats))
        stack.push_async_callback(budgets.drain, _DRAIN_SECONDS)
        stack.push_async_callback(_flush, shipper, settings, lambda: stopped_at)
        stack.push_async_callback(limiter.close)
        stack.push_async_callback(cache.close)
        stack.callback(lambda: outbox.append(outbox.beat(closing=True)))

        # 4. Start the periodic tasks.
        await stack.enter_async_context(restart_on_failure("watch", handler.relay.watchdog.run))
        await stack.enter_async_context(restart_on_failure("websockets", handler.websockets.connections.run))
        await stack.enter_async_context(restart_on_failure("memory", give_back_memory))
        await stack.enter_async_context(restart_on_failure("beats", lambda: _beat(outbox, handler)))
        if settings.secret_key_file:
            await stack.enter_async_context(restart_on_failure("secret keys", lambda: _reload(settings, keys)))

        # 5. Open the operations port, then the proxy's.
        await stack.enter_async_context(
            operations(
                settings.ops_host,
                settings.gateway_ops_port,
                service="gateway",
                ready=ready,
                registry=metrics.registry(),
            )
        )
        if not await mirror.wait_until_confirmed(settings.start_seconds):
            log.warning("NATS has not confirmed the accounts: starting with those of the snapshot")
        elif mirror.has_budgets and not await budgets.figures.wait_until_loaded(settings.start_seconds):
            log.warning("the usage of budgets is not known yet: starting without it")
        if settings.default_requests_per_minute is None and mirror.is_loaded:
            log.info("%s", default.explain(mirror.default_requests))
        await stack.enter_async_context(_listen(settings, handler, metrics))
        listening.set()
        log.info("listening on %s:%d as %s", settings.gateway_host, settings.gateway_port, settings.gateway_name)

        # 6. Keep what exists now out of garbage collections, and serve.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        await stop.wait()

        # 7. Stop: leaving the stack undoes the steps above.
        stopped_at = asyncio.get_running_loop().time()
        log.info("stopping: %d requests are open", handler.active)


@contextlib.asynccontextmanager
async def _listen(settings: Settings, handler: Handler, metrics: Metrics) -> AsyncIterator[None]:
    server = Server(
        handler.handle,
        max_body=settings.max_body_bytes,
        max_connections=_most_connections(settings),
        refusals=metrics.refusals,
        handler_cancellation=settings.on_disconnect == "cancel",
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=settings.keepalive_timeout,
        max_line_size=_HEADER_BYTES,
        max_field_size=_HEADER_BYTES,
        lingering_time=5.0,  # lets a client that is still sending read why it was refused
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
        handler.websockets.connections.drain()
        await asyncio.sleep(
            settings.stop_delay
        )  # not ready any more: load balancers and clients go elsewhere meanwhile
        await _close(runner, site, handler, settings.stop_seconds)


def _most_connections(settings: Settings) -> int:
    """Maximum number of client connections, low enough that each can have one to a provider."""
    room = max((open_files_limit() - _OWN_FILES) // 2, 16)
    if room < settings.max_connections:
        log.warning("at most %d client connections, because of the limit of open files", room)
    return min(room, settings.max_connections)


async def _close(runner: web.ServerRunner, site: web.TCPSite, handler: Handler, seconds: float) -> None:
    """Stop accepting, let open requests end, then cut the others and log how many."""
    await site.stop()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while handler.active and loop.time() < deadline:  # noqa: ASYNC110 — an event would cost each request time
        await asyncio.sleep(0.05)
    handler.relay.stopping = True
    await handler.websockets.connections.close()
    if handler.active:
        log.warning("cut %d requests that had not ended after %.0f s", handler.active, seconds)
    await runner.cleanup()


async def _flush(shipper: Shipper, settings: Settings, stopped_at: Callable[[], float]) -> None:
    """Ship the remaining events, for as long as the settings and the grace period allow."""
    grace = stopped_at() + settings.grace_seconds - _CLOSING_SECONDS - asyncio.get_running_loop().time()
    remaining = await shipper.flush(max(settings.flush_seconds, grace))
    if remaining:
        log.warning("%d bytes of events stay in the outbox until the next start", remaining)


async def _use_nats(
    settings: Settings,
    *,
    outbox: Outbox,
    mirror: Mirror,
    shipper: Shipper,
    cache: CacheClient,
    limiter: Limiter,
    budgets: Budgets,
    subject: str,
    workers: int,
) -> None:
    """Run everything that needs NATS, off the path of requests: mirror, shipper, orphan spools, cache."""
    nc = await nats_client.connect(
        settings.nats_url, service="gateway", ca_file=settings.nats_ca_file, on_reconnect=mirror.resume
    )
    try:
        cache.attach(nc)
        limiter.attach(nc)
        budgets.attach(nc)
        work = [mirror.follow(nc), shipper.run(nc), limiter.follow(nc), budgets.follow(nc)]
        if settings.instance == 0:
            root = instances.spools(settings)
            own = settings.instance
            work.append(orphans.ship(nc, root, outbox=outbox, subject=subject, own=own, workers=workers))
        await run_all(*work)
    finally:
        cache.attach(None)
        limiter.attach(None)
        budgets.attach(None)
        with contextlib.suppress(Exception):  # a lost connection must not hide why we stop
            await asyncio.wait_for(nc.close(), 2)


async def _beat(outbox: Outbox, handler: Handler) -> None:
    """Append a heartbeat every 10 s, and log refusals without a row every minute."""
    ticks = 0
    while True:
        outbox.append_last_beats()
        if ticks % BEAT_SECONDS == 0:
            outbox.append(outbox.beat())
        if ticks % _REPORT_SECONDS == 0:
            handler.refusals.report()
        ticks += 1
        await asyncio.sleep(1)


async def _reload(settings: Settings, keys: Keys) -> None:
    """Reload the secret keys when their file changes, so that they can be replaced without a restart.

    A removed one serves until the next look: what was re-encrypted before may still be on its way from NATS.
    """
    known = keys.vault
    while True:
        await asyncio.sleep(RELOAD_SECONDS)
        try:
            fresh = vault(settings)
        except VaultError as error:
            log.error("the secret keys were not reloaded: %s", error)
            continue
        if fresh.ids != known.ids:
            log.info("secret keys %s, before %s", ", ".join(fresh.ids), ", ".join(known.ids) or "none")
        keys.vault = fresh.including(known)
        known = fresh
