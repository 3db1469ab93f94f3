"""Sweep: records requests as interrupted when their gateway is gone."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient

from services.logger import insert, rows
from services.logger.rows import RequestRow
from shared import clickhouse

log = logging.getLogger(__name__)

QUICK = timedelta(hours=2)  # how far back every sweep goes
FULL = timedelta(days=7)  # how far back a full sweep goes: as long as request_events are kept
STRIDE = timedelta(hours=6)  # longest period of one query
FULL_EVERY = timedelta(hours=1)
TOO_OLD = timedelta(hours=24)  # no request stays open for longer, whatever its gateway reports
LIMIT = 10_000  # rows per query, which bounds memory; the next query returns the rest


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """When a gateway instance counts as gone, in seconds."""

    grace: float  # since it was replaced or reported its shutdown, and since its last stored event
    silence: float  # since its last stored event, without any other sign that it is gone


async def forever(client: AsyncClient, *, limits: Limits, every: float, on_recorded: Callable[[float], None]) -> None:
    """Sweep every `every` seconds, with a full sweep first and then every hour.

    `on_recorded` is called with the number of rows. The next sweep completes what a failed one left undone.
    """
    full_at = datetime.now(UTC)
    while True:
        full = datetime.now(UTC) >= full_at
        try:
            on_recorded(await sweep(client, limits=limits, back=FULL if full else QUICK))
            if full:
                full_at = datetime.now(UTC) + FULL_EVERY
        except clickhouse.Failed as error:
            log.warning("sweep failed, retrying: %s", type(error).__name__)
        await asyncio.sleep(every)


async def sweep(client: AsyncClient, *, limits: Limits, back: timedelta) -> int:
    """Record open requests of the period `back` as interrupted; returns how many.

    A response event that arrives later replaces the row.
    """
    now = datetime.now(UTC)
    count = 0
    gone = await _dead_instances(client, limits=limits, since=now - back)
    until = now + timedelta(minutes=5)  # a gateway's clock may be ahead of ours
    start = max(now - back, await _oldest(client) or until)
    while start < until:
        end = min(start + STRIDE, until)
        if gone or start < now - TOO_OLD:
            count += await _stride(client, gone, start=start, end=end, too_old=now - TOO_OLD)
        start = end
    if count:
        log.info("%d requests were interrupted", count)
    return count


async def _stride(
    client: AsyncClient, gone: Sequence[str], *, start: datetime, end: datetime, too_old: datetime
) -> int:
    count = 0
    while True:
        records = await clickhouse.run_query(
            client, "sweep_alone", start=start, end=end, too_old=too_old, limit=LIMIT, gone=gone
        )
        alone = [RequestRow(**(row | {"id": str(row["id"])})) for row in records]
        await insert.insert(client, [rows.interrupted(request) for request in alone])
        count += len(alone)
        if len(alone) < LIMIT:
            return count


async def _oldest(client: AsyncClient) -> datetime | None:
    """When the oldest stored request began; None if there is none."""
    records = await clickhouse.run_query(client, "sweep_oldest")
    return records[0]["oldest"] if records else None


async def _dead_instances(client: AsyncClient, *, limits: Limits, since: datetime) -> list[str]:
    """The instances, as "spool epoch", whose open requests can no longer finish."""
    records = await clickhouse.run_query(client, "sweep_gone", since=since, grace=limits.grace, silence=limits.silence)
    return [f"{row['spool']} {row['epoch']}" for row in records]
