"""The logger: event stream in, rows in ClickHouse out, exactly one a request."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import prometheus_client
from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.aio.client import Client

from services.logger import batch_billing, provision, rollup, stream_purge, sweep
from services.logger.clickhouse_health import Pulse
from services.logger.consumer import Consumer
from services.logger.metrics import Metrics
from services.logger.price_file import UNUSABLE, PriceFile
from services.logger.retention import Days
from services.logger.settings import Settings
from shared import events, streams
from shared.process import operations, restart_on_failure

log = logging.getLogger(__name__)


class State:
    """How far the start is, for /readyz, and what a stop has to wait for."""

    def __init__(self) -> None:
        self.nc: Client | None = None
        self.provisioned = False
        self.schema = False
        self.intake: Consumer | None = None
        self.pulse: Pulse | None = None

    def reason(self) -> str:
        """What is missing before it can serve; empty when ready."""
        if self.nc is None or not self.nc.is_connected:
            return "no connection to NATS"
        if not self.provisioned:
            return "streams are not there yet"
        if not self.schema or self.pulse is None:
            return "no connection to ClickHouse yet"
        if self.intake is not None and self.intake.halted:
            return "halted: most events cannot be read"
        return self.pulse.reason()


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop`, then finish the batch in hand. NATS and ClickHouse may come and go."""
    registry = prometheus_client.CollectorRegistry()
    metrics, state = Metrics(registry), State()
    try:
        prices = PriceFile(settings.prices_file, metrics=metrics)
    except UNUSABLE as error:
        raise OSError(f"METRION_PRICES_FILE: {error}") from error
    async with (
        operations(
            settings.ops_host, settings.logger_ops_port, service="logger", ready=state.reason, registry=registry
        ),
        restart_on_failure("prices", prices.forever),
        restart_on_failure("logger", lambda: _work(settings, stop, state=state, metrics=metrics, prices=prices)),
    ):
        await stop.wait()
        if state.intake is not None:
            await state.intake.ended(settings.logger_stop_seconds)


async def _work(settings: Settings, stop: asyncio.Event, *, state: State, metrics: Metrics, prices: PriceFile) -> None:
    async with _nats(settings, state) as nc, _clickhouse(settings, state) as client:
        intake = Consumer(
            nc,
            client,
            metrics=metrics,
            prices=prices,
            batch_events=settings.batch_events,
            linger=settings.linger,
            redeliver_after=settings.redeliver_after,
            estimate=settings.estimate,
        )
        limits = sweep.Limits(grace=settings.sweep_grace, silence=settings.interrupted_after)
        days = Days(requests=settings.requests_days, rollup=settings.rollup_days)
        pulse = Pulse()
        state.intake = intake
        state.pulse = pulse
        log.info("ready")
        async with (
            restart_on_failure("pulse", lambda: pulse.forever(client)),
            restart_on_failure("upkeep", lambda: stream_purge.forever(nc, metrics=metrics)),
            restart_on_failure(
                "batches", lambda: batch_billing.forever(client, prices=prices, booked=metrics.batches.inc)
            ),
            restart_on_failure(
                "sweep",
                lambda: sweep.forever(
                    client, limits=limits, every=settings.sweep_every, booked=metrics.interrupted.inc
                ),
            ),
            restart_on_failure(
                "rollup",
                lambda: rollup.forever(
                    client, every=settings.rollup_every, days=days, cluster=settings.clickhouse_cluster, metrics=metrics
                ),
            ),
        ):
            await intake.run(stop)


@contextlib.asynccontextmanager
async def _nats(settings: Settings, state: State) -> AsyncIterator[Client]:
    async def reconnected() -> None:
        if state.intake is not None:
            state.intake.reconnected()

    async with provision.connected(settings, on_reconnect=reconnected) as nc:
        state.nc = nc
        try:
            await streams.wait_for(
                nc.jetstream(), events.EVENTS_STREAM, events.DEAD_STREAM, consumer=events.LOGGER_CONSUMER
            )
            state.provisioned = True
            yield nc
        finally:
            state.nc = None


@contextlib.asynccontextmanager
async def _clickhouse(settings: Settings, state: State) -> AsyncIterator[AsyncClient]:
    async with provision.opened(settings) as client:
        await provision.tables(client, settings)
        state.schema = True
        try:
            yield client
        finally:
            state.schema = False
