"""Time goes in, passes of the rollup come out: a refresh every minute or so, a look at the last 40 days every night."""

import asyncio
import logging
from datetime import datetime, timedelta

from clickhouse_connect.driver.asyncclient import AsyncClient

from services.logger import retention
from services.logger.metrics import Metrics
from services.logger.retention import Days
from shared import clickhouse, rollup

log = logging.getLogger(__name__)

NIGHT = timedelta(hours=2)  # past midnight, UTC: the day before is over everywhere it matters


async def forever(client: AsyncClient, *, every: float, days: Days, cluster: str, metrics: Metrics) -> None:
    """Refresh each `every` seconds, verify each night; once the first pass is over keep rows as long as `days` says.

    Any number of loggers may do so at once; they only look at the last pass to share the work, not to be right. What a
    failed pass leaves undone the next one does, and until then the views answer from the requests.
    """
    kept = False
    while True:
        try:
            await turn(client, every=every, metrics=metrics)
            if not kept:
                await retention.apply(client, days, cluster=cluster)
                kept = True
        except clickhouse.Failed as error:
            metrics.rollup_failures.inc()
            log.warning("rollup: %s %s", type(error).__name__, str(error)[:200])
        await asyncio.sleep(every)


async def turn(client: AsyncClient, *, every: float, metrics: Metrics) -> None:
    """What is due now: nothing where another logger has just done it."""
    state = await rollup.state(client)
    if (state.now - state.refreshed).total_seconds() > every / 2:
        metrics.rollup_buckets.labels(kind=rollup.REFRESH).inc(await rollup.refresh(client))
    if state.verified < last_night(state.now):
        metrics.rollup_buckets.labels(kind=rollup.VERIFY).inc(await rollup.verify(client))


def last_night(now: datetime) -> datetime:
    """When the last nightly pass was due."""
    tonight = now.replace(hour=0, minute=0, second=0, microsecond=0) + NIGHT
    return tonight if now >= tonight else tonight - timedelta(days=1)
