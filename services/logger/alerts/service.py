"""Wiring of the alerts: everything that runs beside the consumer."""

import contextlib
from collections.abc import AsyncIterator, Callable, Collection

from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.aio.client import Client

from services.logger.alerts.channels import Sender
from services.logger.alerts.engine import Engine, now_utc
from services.logger.alerts.schedule import Schedule
from services.logger.alerts.self_alerts import SelfAlerts
from services.logger.alerts.trial import Trials
from services.logger.metrics import Metrics
from services.logger.prices.current import CurrentPrices
from services.logger.settings import Settings, vault
from shared.process import restart_on_failure, run_all

Stored = Callable[[Collection[str]], None]


@contextlib.asynccontextmanager
async def running(
    nc: Client, client: AsyncClient, *, settings: Settings, metrics: Metrics, prices: CurrentPrices
) -> AsyncIterator[Stored]:
    """Evaluate rules and answer test requests while the block runs.

    Yields what to call with the accounts of stored requests. Failures never reach the block.
    """
    schedule = Schedule()

    async def work() -> None:
        self_alerts = SelfAlerts(nc, client, prices=prices)
        engine = Engine(
            nc,
            client,
            sender=Sender(settings, vault(settings)),
            metrics=metrics,
            dashboard_url=settings.dashboard_url,
            self_alerts=self_alerts,
            schedule=schedule,
        )
        async with Trials(nc, engine, clock=now_utc).answering():
            await run_all(engine.run(), self_alerts.follow(nc))

    async with restart_on_failure("alerts", work):
        yield schedule.stored
