"""Stores requests of long ago, which pages read from the sums of the rollup."""

from collections.abc import Sequence
from datetime import UTC, datetime

from clickhouse_connect.driver.asyncclient import AsyncClient

from services.logger.rows import ResponseRow
from shared import rollup, rollup_days
from tests.support.expected_usage import insert

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)  # stored so early that no pass looks back so far


async def store(client: AsyncClient, made: Sequence[ResponseRow]) -> None:
    """Store requests as if long ago, and sum them up, also by day where the days are over."""
    await insert(client, made, ingested_at=LONG_AGO)
    since, until = min(row.started_at for row in made), max(row.started_at for row in made) + rollup.DAY
    state = await rollup.state(client)
    if state.narrowed == rollup.NEVER:
        await rollup.refresh(client)
    else:
        touched = {_quarter_hour(row.started_at) for row in made}
        await rollup.compute(client, touched, at=state.now)  # a backfill would include those of other tests
    if state.days_summed == rollup.NEVER:
        await rollup_days.refresh(client)
    else:
        await rollup_days.backfill(client, since=since, until=until)


def _quarter_hour(moment: datetime) -> datetime:
    return rollup.NEVER + (moment - rollup.NEVER) // rollup.BUCKET * rollup.BUCKET
