"""Price backfill: prices requests of unknown models once their model has a price.

What waits is read from the rows, so nothing has to be remembered: after a kill, the next pass of any logger goes on
where the last one stopped. Only requests of unknown cost change; a request with a price never changes by itself.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.aio.client import Client
from nats.js import JetStreamContext

from services.logger.metrics import Metrics
from services.logger.prices import task_lease
from services.logger.prices.current import CurrentPrices
from services.logger.prices.task_lease import HOLDER, LeaseLost, TaskLease
from shared import audit, clickhouse
from shared.pricing import versions
from shared.pricing.table import UNKNOWN, Table
from shared.repricing import history
from shared.repricing.history import Selection

log = logging.getLogger(__name__)

EVERY = 30.0  # seconds between two passes
TASK = "price_backfill"
NOTE = "the model has a price now"
_TURN = 60.0  # seconds
_PAGE = 2000  # rows in memory at a time, each with its raw usage
_REST = 20  # times the duration of the query for what waits, at least, between two of them
_SHARE = 0.25  # of the time at most; the rest belongs to inserts


class Waiting(msgspec.Struct, frozen=True):
    """Requests of a model that wait for a price, for one reason."""

    provider: str
    model: str
    reason: str
    waiting: int
    tokens: int
    first_at: datetime
    newest_at: datetime

    @property
    def may_have_a_price(self) -> bool:
        """Whether the model itself was unknown, rather than one of its units or tiers."""
        return self.reason == UNKNOWN

    def is_priced(self, table: Table) -> bool:
        """Whether a price table knows the model by now."""
        return any(table.knows(self.provider, self.model, at=at) for at in (self.first_at, self.newest_at))


class PricesChanged(Exception):
    """Other prices are in use than when the pass began."""


class PriceBackfill:
    """Passes over the requests that wait for a price."""

    def __init__(
        self,
        nc: Client,
        client: AsyncClient,
        *,
        prices: CurrentPrices,
        metrics: Metrics,
        page_rows: int = _PAGE,
        lease_seconds: float = _TURN,
        holder: str = HOLDER,
        share: float = _SHARE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._js = nc.jetstream()
        self._client = client
        self._prices = prices
        self._metrics = metrics
        self._page_rows = page_rows
        self._share = share
        self._query_seconds = 0.0  # of the last query for what waits
        self._longest_pause = lease_seconds / 4
        self._monotonic = monotonic
        self._lease = TaskLease(self._js, TASK, seconds=lease_seconds, holder=holder)
        self._tried: dict[tuple[str, str], tuple[str, datetime]] = {}  # without effect: price version, newest request

    async def forever(self, *, every: float = EVERY) -> None:
        """Measure what waits and price what can be priced, until cancelled.

        Whenever prices change, and periodically: events can still arrive that were stored before a switch.
        """
        while True:
            self._prices.changed.clear()
            try:
                await self.run_once()
            except (*clickhouse.Failed, *task_lease.Failed) as error:
                log.warning("requests without price not examined: %s %s", type(error).__name__, str(error)[:200])
            except LeaseLost as error:
                log.info("another logger continues the price backfill: %s", error)
            except PricesChanged:
                log.info("price backfill starts again: the prices have changed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._prices.changed.wait(), max(every, _REST * self._query_seconds))

    async def run_once(self) -> int:
        """Run one pass; returns how many requests it has priced."""
        began = self._monotonic()
        waiting = [msgspec.convert(row, Waiting) for row in await clickhouse.run_query(self._client, "price_waiting")]
        self._query_seconds = self._monotonic() - began
        await self._measure(waiting)
        table = self._prices.table
        ready = [group for group in waiting if group.may_have_a_price and self._is_untried(group, table)]
        ready = [group for group in ready if group.is_priced(table)]
        if not ready or not await self._lease.take():
            return 0
        return sum([await self._backfill(group, table) for group in ready])

    def _is_untried(self, group: Waiting, table: Table) -> bool:
        return self._tried.get((group.provider, group.model)) != (table.version, group.newest_at)

    async def _backfill(self, group: Waiting, table: Table) -> int:
        chosen = Selection(
            since=group.first_at,
            until=group.newest_at + timedelta(milliseconds=1),
            provider=group.provider,
            model=group.model,
            reason=group.reason,
        )
        began = self._monotonic()

        async def before_query() -> None:
            nonlocal began
            if self._prices.table.version != table.version:  # rolled back, maybe: these prices must not go any further
                raise PricesChanged
            worked = self._monotonic() - began
            await self._lease.renew()
            await asyncio.sleep(min(worked * (1 / self._share - 1), self._longest_pause))
            began = self._monotonic()

        done, identity = await history.rewrite(
            self._client, chosen, table, by=f"logger {HOLDER}", note=NOTE, page_rows=self._page_rows,
            before_query=before_query,
        )  # fmt: skip
        total = done.total
        if not total.changed:
            self._tried[group.provider, group.model] = (table.version, group.newest_at)
            return 0
        self._metrics.price_backfilled.inc(total.newly_priced)
        log.info("%s %s: %d requests have a price now, %s USD", group.provider, group.model, total.changed, total.after)
        await _record(self._js, group, table, changed=total.changed, repricing=str(identity))
        return total.changed

    async def _measure(self, waiting: list[Waiting]) -> None:
        self._metrics.price_waiting_models.set(len({(group.provider, group.model) for group in waiting}))
        self._metrics.price_waiting_requests.set(sum(group.waiting for group in waiting))
        self._metrics.price_waiting_tokens.set(sum(group.tokens for group in waiting))
        self._metrics.price_age.set((await age(self._js, self._prices)).total_seconds())


async def age(js: JetStreamContext, prices: CurrentPrices, *, now: datetime | None = None) -> timedelta:
    """The age of the prices: since they were accepted, or last found up to date."""
    checked = await versions.checked(js)
    dated = max(prices.dated, checked.fresh_at) if checked and checked.fresh_at else prices.dated
    return max((now or datetime.now(UTC)) - dated, timedelta())


async def _record(js: JetStreamContext, group: Waiting, table: Table, **details: Any) -> None:
    """Write to the audit log; a failure is only logged, since the work itself is in metrion.repricings."""
    actor = audit.Actor(by=f"logger {HOLDER}", via=audit.LOGGER, address="")
    stated = {"price version": table.version, "provider": group.provider}
    stated |= {name: str(value) for name, value in details.items()}
    if failure := await audit.write(js, actor.record("prices", "backfill", group.model, details=stated)):
        log.warning("price backfill of %s: %s", group.model, failure)
