"""The logger: stores events from NATS in ClickHouse, one row per request."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import prometheus_client
from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.aio.client import Client

from services.logger import batch_billing, provision, rollup, stream_purge, sweep
from services.logger.alerts import service as alerts
from services.logger.budgets.publisher import Publisher
from services.logger.budgets.quotes import Quotes
from services.logger.clickhouse_health import ResponseWatch
from services.logger.consumer import Consumer
from services.logger.metrics import Metrics
from services.logger.prices.accepted import AcceptedPrices
from services.logger.prices.automatic import AutomaticUpdates
from services.logger.prices.backfill import PriceBackfill
from services.logger.prices.current import UNUSABLE, CurrentPrices
from services.logger.retention import Days
from services.logger.settings import Settings
from services.logger.telemetry import service as telemetry
from shared import events, streams
from shared.limits.spend import BILLION
from shared.pricing import versions
from shared.process import operations, restart_on_failure

log = logging.getLogger(__name__)


class State:
    """Progress of the start, for /readyz, and what shutdown has to wait for."""

    def __init__(self) -> None:
        self.nc: Client | None = None
        self.provisioned = False
        self.schema = False
        self.consumer: Consumer | None = None
        self.pulse: ResponseWatch | None = None

    def reason(self) -> str:
        """Why the logger is not ready; empty when it is."""
        if self.nc is None or not self.nc.is_connected:
            return "no connection to NATS"
        if not self.provisioned:
            return "streams do not exist yet"
        if not self.schema or self.pulse is None:
            return "no connection to ClickHouse yet"
        if self.consumer is not None and self.consumer.halted:
            return "halted: most events cannot be read"
        return self.pulse.reason()


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop`, then finish the current batch; survives server outages."""
    # 1. metrics and prices: an invalid prices file ends the start
    registry = prometheus_client.CollectorRegistry()
    metrics = Metrics(registry)
    state = State()
    try:
        prices = CurrentPrices(settings.prices_file, metrics=metrics)
    except UNUSABLE as error:
        raise OSError(f"METRION_PRICES_FILE: {error}") from error
    # 2. the operations port first, so that probes see the start
    async with (
        operations(
            settings.ops_host, settings.logger_ops_port, service="logger", ready=state.reason, registry=registry
        ),
        restart_on_failure("prices", prices.forever),
        restart_on_failure("logger", lambda: _work(settings, stop, state=state, metrics=metrics, prices=prices)),
    ):
        # 3. on stop, let the consumer finish its batch; the rest stops in reverse order
        await stop.wait()
        if state.consumer is not None:
            await state.consumer.wait_until_stopped(settings.logger_stop_seconds)


async def _work(
    settings: Settings, stop: asyncio.Event, *, state: State, metrics: Metrics, prices: CurrentPrices
) -> None:
    async with (
        _nats(settings, state) as nc,
        _clickhouse(settings, state) as client,
        alerts.running(nc, client, settings=settings, metrics=metrics, prices=prices) as stored,
        telemetry.running(settings, metrics=metrics) as export,
    ):
        accepted = AcceptedPrices(prices, metrics=metrics)
        await accepted.load(nc.jetstream())  # before the first request is priced
        backfill = PriceBackfill(nc, client, prices=prices, metrics=metrics)
        updates = AutomaticUpdates(nc, source=settings.prices_source, ca_file=settings.prices_ca_file, metrics=metrics)
        consumer = Consumer(
            nc,
            client,
            metrics=metrics,
            prices=prices,
            batch_events=settings.batch_events,
            linger=settings.linger,
            redeliver_after=settings.redeliver_after,
            estimate=settings.estimate,
            on_stored=stored,
            export=export,
        )
        limits = sweep.Limits(grace=settings.sweep_grace, silence=settings.interrupted_after)
        days = Days(requests=settings.requests_days, rollup=settings.rollup_days)
        pulse = ResponseWatch()
        unpriced = round(settings.unpriced_cost * BILLION)
        budgets = Publisher(nc, client, unpriced=unpriced, metrics=metrics)
        quotes = Quotes(nc, client, prices=prices, unpriced=unpriced)
        state.consumer = consumer
        state.pulse = pulse
        log.info("ready")
        async with (
            restart_on_failure("pulse", lambda: pulse.forever(client)),
            restart_on_failure("accepted prices", lambda: accepted.follow(nc)),
            restart_on_failure("price backfill", backfill.forever),
            restart_on_failure("price updates", updates.forever),
            restart_on_failure("budgets", budgets.run),
            restart_on_failure("quotes", quotes.run),
            restart_on_failure("upkeep", lambda: stream_purge.forever(nc, metrics=metrics)),
            restart_on_failure(
                "batches", lambda: batch_billing.forever(client, prices=prices, on_billed=metrics.batches.inc)
            ),
            restart_on_failure(
                "sweep",
                lambda: sweep.forever(
                    client, limits=limits, every=settings.sweep_every, on_recorded=metrics.interrupted.inc
                ),
            ),
            restart_on_failure(
                "rollup",
                lambda: rollup.forever(
                    client, every=settings.rollup_every, days=days, cluster=settings.clickhouse_cluster, metrics=metrics
                ),
            ),
        ):
            await consumer.run(stop)


@contextlib.asynccontextmanager
async def _nats(settings: Settings, state: State) -> AsyncIterator[Client]:
    async def reconnected() -> None:
        if state.consumer is not None:
            state.consumer.reconnected()

    async with provision.connected(settings, on_reconnect=reconnected) as nc:
        state.nc = nc
        try:
            await streams.wait_for(
                nc.jetstream(),
                events.EVENTS_STREAM,
                events.DEAD_STREAM,
                versions.STREAM,
                consumer=events.LOGGER_CONSUMER,
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
