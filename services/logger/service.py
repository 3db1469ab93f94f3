"""The logger: event stream in, rows in ClickHouse out, exactly one a request."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import nats.errors
import nats.js.errors
import prometheus_client
from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.aio.client import Client

from services.logger import batches, rollup, schema, sweep, upkeep
from services.logger.intake import Intake
from services.logger.metrics import Metrics
from services.logger.retention import Days
from shared import bus, clickhouse
from shared.pricing.table import Table
from shared.process import operations, supervised
from shared.settings import setting

log = logging.getLogger(__name__)
T = TypeVar("T")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator can set."""

    nats_url: Annotated[str, setting("NATS server, with the logger's user and password", secret=True)]
    clickhouse_url: Annotated[str, setting("ClickHouse over HTTP, with user and password", secret=True)]
    ops_host: Annotated[str, setting("address of health, readiness and metrics")] = "127.0.0.1"
    logger_ops_port: Annotated[int, setting("port of health, readiness and metrics", ge=0, le=65535)] = 9081
    prices_file: Annotated[str, setting("file of price overrides; empty for none")] = ""
    estimate: Annotated[bool, setting("price what a stream left out by the gateway's count, labelled estimated")] = True
    batch_events: Annotated[int, setting("most events an insert", ge=1, le=100_000)] = 5000
    linger: Annotated[float, setting("seconds to wait for more events before an insert", ge=0, le=10)] = 0.5
    sweep_every: Annotated[float, setting("seconds between two looks for interrupted requests", gt=0)] = 10.0
    sweep_grace: Annotated[float, setting("seconds until a replaced gateway's open requests are interrupted", ge=0)] = (
        5.0
    )
    interrupted_after: Annotated[
        float, setting("seconds until a silent gateway's open requests are interrupted", gt=0)
    ] = 600.0
    logger_stop_seconds: Annotated[float, setting("how long the batch in hand may take at a stop", ge=0)] = 10.0
    rollup_every: Annotated[float, setting("seconds between two passes of the usage rollup", gt=0)] = 60.0
    requests_days: Annotated[int, setting("days that requests are kept", ge=1, le=10_000)] = 400
    rollup_days: Annotated[int, setting("days that usage by quarter of an hour is kept", ge=1, le=10_000)] = 1200
    clickhouse_cluster: Annotated[
        str, setting("ClickHouse cluster to create tables on, replicated; empty for one server", pattern=r"^[\w.{}-]*$")
    ] = ""
    stream_replicas: Annotated[int, setting("copies that a NATS cluster keeps of each stream", ge=1, le=5)] = 1
    stream_max_bytes: Annotated[int, setting("cap of the event stream", ge=1 << 20)] = 4 << 30


class State:
    """How far the start is, for /readyz, and what a stop has to wait for."""

    def __init__(self) -> None:
        self.nc: Client | None = None
        self.provisioned = False
        self.schema = False
        self.intake: Intake | None = None

    def reason(self) -> str:
        """What is missing before it can serve; empty when ready."""
        if self.nc is None or not self.nc.is_connected:
            return "no connection to NATS"
        if not self.provisioned:
            return "streams are not there yet"
        return "" if self.schema else "no connection to ClickHouse yet"


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop`, then finish the batch in hand. NATS and ClickHouse may come and go."""
    registry = prometheus_client.CollectorRegistry()
    metrics, state = Metrics(registry), State()
    try:
        prices = Table.load(Path(settings.prices_file) if settings.prices_file else None)
    except (ValueError, ArithmeticError) as error:
        raise OSError(f"METRION_PRICES_FILE: {error}") from error
    async with (
        operations(settings.ops_host, settings.logger_ops_port, ready=state.reason, registry=registry),
        supervised("logger", lambda: _work(settings, stop, state=state, metrics=metrics, prices=prices)),
    ):
        await stop.wait()
        if state.intake is not None:
            await state.intake.ended(settings.logger_stop_seconds)


async def _work(settings: Settings, stop: asyncio.Event, *, state: State, metrics: Metrics, prices: Table) -> None:
    async with _nats(settings, state) as nc, _clickhouse(settings, state) as client:
        intake = Intake(
            nc,
            client,
            metrics=metrics,
            prices=prices,
            batch_events=settings.batch_events,
            linger=settings.linger,
            estimate=settings.estimate,
        )
        limits = sweep.Limits(grace=settings.sweep_grace, silence=settings.interrupted_after)
        days = Days(requests=settings.requests_days, rollup=settings.rollup_days)
        state.intake = intake
        log.info("ready")
        async with (
            supervised("upkeep", lambda: upkeep.forever(nc, metrics=metrics)),
            supervised("batches", lambda: batches.forever(client, prices=prices, booked=metrics.batches.inc)),
            supervised(
                "sweep",
                lambda: sweep.forever(
                    client, limits=limits, every=settings.sweep_every, booked=metrics.interrupted.inc
                ),
            ),
            supervised(
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

    async def provision() -> None:
        await bus.provision(nc.jetstream(), replicas=settings.stream_replicas, max_bytes=settings.stream_max_bytes)

    nc = await _until_done("NATS", lambda: bus.connect(settings.nats_url, service="logger", on_reconnect=reconnected))
    try:
        state.nc = nc
        await _until_done("streams", provision)
        state.provisioned = True
        yield nc
    finally:
        state.nc = None
        with contextlib.suppress(Exception):  # nothing hangs on it any more
            await asyncio.wait_for(nc.close(), 2)


@contextlib.asynccontextmanager
async def _clickhouse(settings: Settings, state: State) -> AsyncIterator[AsyncClient]:
    client = await _until_done("ClickHouse", lambda: clickhouse.connect(settings.clickhouse_url, service="logger"))
    try:
        await _until_done("schema", lambda: schema.apply(client, cluster=settings.clickhouse_cluster))
        state.schema = True
        yield client
    finally:
        state.schema = False
        await client.close()


async def _until_done(what: str, attempt: Callable[[], Awaitable[T]], *, pause: float = 1.0) -> T:
    while True:
        try:
            return await attempt()
        except (nats.errors.Error, nats.js.errors.Error, *clickhouse.Failed) as error:
            log.warning("%s: not yet, again in %.0f s: %s %s", what, pause, type(error).__name__, str(error)[:200])
            await asyncio.sleep(pause)
