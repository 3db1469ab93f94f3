"""Requests that stayed alone go in; each whose gateway cannot answer any more gets its row, outcome interrupted."""

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

QUICK = timedelta(hours=2)  # how far back every sweep looks
FULL = timedelta(days=7)  # how far back a full one looks: as long as request_events are kept
STRIDE = timedelta(hours=6)  # at most so much is compared in one query
FULL_EVERY = timedelta(hours=1)
TOO_OLD = timedelta(hours=24)  # no request is open that long, whatever its gateway says
LIMIT = 10_000  # rows a query, so that a sweep's memory is bounded; the next query finds the rest


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """When an instance counts as gone, in seconds."""

    grace: float  # since it was superseded or said that it closes, and since anything of it was stored
    silence: float  # since anything of it was stored, when nothing else speaks against it


async def forever(client: AsyncClient, *, limits: Limits, every: float, booked: Callable[[float], None]) -> None:
    """Sweep each `every` seconds, fully at first and then each hour, and tell `booked` how many rows that made.

    What a failed sweep leaves undone, the next one does.
    """
    full_at = datetime.now(UTC)
    while True:
        full = datetime.now(UTC) >= full_at
        try:
            booked(await sweep(client, limits=limits, back=FULL if full else QUICK))
            if full:
                full_at = datetime.now(UTC) + FULL_EVERY
        except clickhouse.Failed as error:
            log.warning("sweep failed: %s", type(error).__name__)
        await asyncio.sleep(every)


async def sweep(client: AsyncClient, *, limits: Limits, back: timedelta) -> int:
    """Book what stayed alone among the requests of the time `back`; returns how many. A late answer still wins."""
    now, count = datetime.now(UTC), 0
    gone = await _gone(client, limits=limits, since=now - back)
    until, start = now + timedelta(minutes=5), now - back  # a gateway's clock may be ahead of ours
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
        found = await clickhouse.ask(
            client, "sweep_alone", start=start, end=end, too_old=too_old, limit=LIMIT, gone=gone
        )
        alone = [RequestRow(**(row | {"id": str(row["id"])})) for row in found]
        await insert.insert(client, [rows.interrupted(request) for request in alone])
        count += len(alone)
        if len(alone) < LIMIT:
            return count


async def _gone(client: AsyncClient, *, limits: Limits, since: datetime) -> list[str]:
    """The instances, "spool epoch", that can answer nothing any more."""
    found = await clickhouse.ask(client, "sweep_gone", since=since, grace=limits.grace, silence=limits.silence)
    return [f"{row['spool']} {row['epoch']}" for row in found]
