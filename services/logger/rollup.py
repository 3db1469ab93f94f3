"""Schedules rollup passes: refreshes, days, and a verification every night."""

import asyncio
import logging
from datetime import datetime, timedelta

from clickhouse_connect.driver.asyncclient import AsyncClient

from services.logger import retention
from services.logger.metrics import Metrics
from services.logger.retention import Days
from shared import clickhouse, rollup, rollup_days

log = logging.getLogger(__name__)

NIGHT = timedelta(hours=2)  # after midnight UTC, when the previous day is over and its late events are in
DAYS_EVERY = (
    10  # refreshes: late requests make a pass recompute their days, which are read from the requests until then
)


async def forever(client: AsyncClient, *, every: float, days: Days, cluster: str, metrics: Metrics) -> None:
    """Refresh periodically, verify nightly, apply the retention after the first pass.

    Any number of loggers may run this at once: checking the last pass only avoids duplicate work, correctness does not
    depend on it. The next pass completes what a failed one left undone; until then the views use the requests.
    """
    is_retention_applied = False
    while True:
        try:
            await run_due(client, every=every, metrics=metrics)
            if not is_retention_applied:
                await retention.apply(client, days, cluster=cluster)
                is_retention_applied = True
        except clickhouse.Failed as error:
            metrics.rollup_failures.inc()
            log.warning("rollup: %s %s", type(error).__name__, str(error)[:200])
        await asyncio.sleep(every)


async def run_due(client: AsyncClient, *, every: float, metrics: Metrics) -> None:
    """Run the passes that are due, unless another logger has just run them."""
    state = await rollup.state(client)
    if (state.now - state.refreshed).total_seconds() > every / 2:
        metrics.rollup_buckets.labels(kind=rollup.REFRESH).inc(await rollup.refresh(client))
    if state.verified < last_night(state.now):
        metrics.rollup_buckets.labels(kind=rollup.VERIFY).inc(await rollup.verify(client))
        metrics.rollup_buckets.labels(kind=rollup.VERIFY).inc(await rollup_days.verify(client))
    if rollup_days.is_due(state, every=every * DAYS_EVERY):
        metrics.rollup_buckets.labels(kind=rollup_days.KIND).inc(await rollup_days.refresh(client))


def last_night(now: datetime) -> datetime:
    """When the last nightly pass was due."""
    tonight = now.replace(hour=0, minute=0, second=0, microsecond=0) + NIGHT
    return tonight if now >= tonight else tonight - timedelta(days=1)
