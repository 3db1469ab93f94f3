"""Compares the published figures of budgets with the rows in ClickHouse."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from shared.limits import ledger, spend, usage
from shared.limits.model import Limit
from shared.limits.spend import BILLION, SPEND_STREAM, SPEND_SUBJECT, Used

ATTEMPTS = 8  # comparisons of a budget whose figures change meanwhile
PAUSE_SECONDS = 1.0
_UNPRICED = BILLION // 20  # where no logger has published yet


class Comparison(NamedTuple):
    """One figure: as published, and as the rows say."""

    limit: Limit
    each: tuple[str, ...]
    counter: str
    published: int
    stored: Used

    @property
    def is_equal(self) -> bool:
        """Whether both are the same."""
        return self.published == self.stored.used


async def compare(js: JetStreamContext, client: AsyncClient, limits: Iterable[Limit]) -> list[Comparison]:
    """Compare all figures of budgets.

    Raises one of clickhouse.Failed or of NATS's errors. A difference is reported only if it stays: rows and figures
    change while they are compared.
    """
    found: list[Comparison] = []
    for limit in limits:
        if limit.is_rate:
            continue
        comparisons = await _compare(js, client, limit)
        for _ in range(ATTEMPTS - 1):
            if all(one.is_equal for one in comparisons):
                break
            await asyncio.sleep(PAUSE_SECONDS)
            comparisons = await _compare(js, client, limit)
        found += comparisons
    return found


async def repair(js: JetStreamContext, comparisons: Iterable[Comparison]) -> int:
    """Publish what the rows say where it differs; returns how many."""
    count = 0
    for one in comparisons:
        if not one.is_equal:
            await js.publish(SPEND_SUBJECT + one.counter, spend.encode(one.stored), stream=SPEND_STREAM)
            count += 1
    return count


async def _compare(js: JetStreamContext, client: AsyncClient, limit: Limit) -> list[Comparison]:
    now = datetime.now(UTC)
    unpriced = await _unpriced(js, limit.account)
    published = await usage.published(js, limit, now=now)
    stored = await ledger.used(client, limit, now=now, unpriced=unpriced)
    comparisons = []
    for counter in sorted(published.keys() | stored.keys()):
        before = published.get(counter)
        by_rows = stored.get(counter)
        if by_rows is None:
            assert before is not None
            by_rows = Used(0, before.start, now, before.each)
        comparisons.append(Comparison(limit, by_rows.each, counter, before.used if before else 0, by_rows))
    return comparisons


async def _unpriced(js: JetStreamContext, account: str) -> int:
    try:
        message = await js.get_last_msg(SPEND_STREAM, SPEND_SUBJECT + account)
    except NotFoundError:
        return _UNPRICED
    return spend.decode_progress(message.data or b"").unpriced
