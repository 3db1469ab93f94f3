"""Publishes the usage of budgets whenever new rows have been stored.

One logger at a time does this, the holder of a lease. Every figure is a total computed from the rows, never an
increment: redelivered events, corrected prices and deleted rows cannot make it wrong for longer than a pass.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.aio.client import Client

from services.logger.budgets import figures
from services.logger.budgets.figures import Figures, LeaseLost
from services.logger.budgets.token_totals import TokenTotalsPublisher
from services.logger.metrics import Metrics
from shared import clickhouse, events, streams
from shared.limits import ledger, periods, spend
from shared.limits.model import LIMIT_KEY, Limit
from shared.limits.spend import SPEND_SUBJECT, FigureProgress, Used
from shared.process import cancel_and_wait
from shared.stream_watch import StreamWatch

log = logging.getLogger(__name__)

EVERY_SECONDS = 0.3  # between two looks for new rows, at least
LOAD = 4  # a pass is followed by a pause of this many times its duration, so that it takes a fifth of the time
FULL_SECONDS = 60.0  # between two passes over all budgets: corrections, deletions, periods that have turned
VISIBLE = timedelta(minutes=3)  # by which an insert is visible after its ingested_at
EMPTY_SECONDS = 600  # after which figures without a row disappear, with the names of whom they are about
PAUSE_SECONDS = 3.0  # between two looks, at most
_TIMEOUT = 5.0
_DOWN = 3  # failures from the first budget on, after which a pass is given up

Now = Callable[[], datetime]


def now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


class Publisher:
    """Computes and publishes figures while it holds the lease."""

    def __init__(self, nc: Client, client: AsyncClient, *, unpriced: int, metrics: Metrics, clock: Now = now) -> None:
        """`unpriced`: billionths of a dollar that a request of unknown cost counts."""
        self._nc = nc
        self._js = nc.jetstream(timeout=_TIMEOUT)
        self._client = client
        self._unpriced = unpriced
        self._metrics = metrics
        self._clock = clock
        self._limits: dict[str, Limit] = {}
        self._is_changed = True  # a limit was set or deleted
        self._watch = StreamWatch(f"KV_{events.ACCOUNTS_BUCKET}", _limit_prefix(), self._put)
        self._figures = Figures(nc)
        self._totals = TokenTotalsPublisher(self._figures, client)
        self._through = -1
        self._failed: set[str] = set()  # accounts with a budget that could not be computed the last time
        self._full_at = 0.0
        self._looked_at: datetime | None = None

    async def run(self) -> None:
        """Publish until cancelled."""
        following = asyncio.create_task(self._watch.follow(self._nc))
        keeping = asyncio.create_task(self._keep_lease())
        try:
            await self._watch.loaded.wait()
            while True:
                began = time.monotonic()
                try:
                    if await self._has_lease():
                        await self.publish_new()
                except LeaseLost:  # the lease, or somebody has written a figure
                    self._is_changed = True
                    self._figures.recheck_lease()
                except (*streams.Failed, *clickhouse.Failed) as error:
                    self._is_changed = True
                    self._metrics.budget_failures.inc()
                    log.warning("budgets: not published, retrying: %s", type(error).__name__)
                await asyncio.sleep(min(max(EVERY_SECONDS, LOAD * (time.monotonic() - began)), PAUSE_SECONDS))
        finally:
            await cancel_and_wait(keeping)
            await cancel_and_wait(following)
            with contextlib.suppress(Exception):  # the next logger waits for its end otherwise
                await asyncio.wait_for(self._figures.release(), 1)

    def _put(self, key: str, value: bytes | None) -> None:
        self._is_changed = True
        self._limits.pop(key, None)
        if value is not None:
            limit = _decode(value)
            if not limit.is_rate:
                periods.span(limit.period, limit.timezone, self._clock())  # ValueError: it cannot be computed
                self._limits[key] = limit

    async def publish_new(self) -> None:
        """Publish figures of accounts with new rows, sometimes of all accounts."""
        info = await self._js.consumer_info(events.EVENTS_STREAM, events.LOGGER_CONSUMER)
        through = info.ack_floor.stream_seq if info.ack_floor and info.ack_floor.stream_seq else 0
        await self._publish_budgets(through)
        await self._totals.publish(through, at=self._clock())

    async def _publish_budgets(self, through: int) -> None:
        is_full = self._is_changed or time.monotonic() >= self._full_at
        if through == self._through and not is_full and not self._failed:
            return
        began = time.monotonic()
        at = self._clock()
        self._is_changed = False
        if is_full:  # somebody may have written a figure
            await self._figures.read()
        limits = list(self._limits.values())  # those that change meanwhile are computed by the next pass
        accounts = {limit.account for limit in limits}
        touched = accounts if is_full or not accounts else accounts & (self._failed | await self._touched(at))
        self._failed = await self._publish_limits([one for one in limits if one.account in touched], at)
        without = self._without_budgets(accounts) if is_full else set()
        progress = {}
        for account in (touched - self._failed) | without:
            ids = tuple(spend.limit_id(limit) for limit in limits if limit.account == account)
            progress[SPEND_SUBJECT + account] = spend.encode(FigureProgress(through, at, self._unpriced, ids))
        await self._figures.write(progress)
        if is_full:  # after that: a limit that is set again must not be taken for one of which nothing is used
            await self._empty_deleted()
        self._through = through
        self._looked_at = at
        if is_full:
            self._full_at = time.monotonic() + FULL_SECONDS
        self._metrics.budget_seconds.observe(time.monotonic() - began)

    async def _publish_limits(self, limits: Iterable[Limit], at: datetime) -> set[str]:
        """Publish the figures of budgets; returns the accounts of those that could not be computed.

        One that fails stops no other. If the first ones fail, ClickHouse does: raises one of clickhouse.Failed.
        """
        failed: list[str] = []
        is_up = False
        for limit in limits:
            if not self._figures.is_leased:
                raise LeaseLost
            try:
                found = await ledger.used(self._client, limit, now=at, unpriced=self._unpriced)
            except clickhouse.Failed as error:
                failed.append(limit.account)
                if not is_up and len(failed) == _DOWN:
                    raise
                self._metrics.budget_failures.inc()
                log.warning("budget %s of %s: not computed: %s", limit.name, limit.account, str(error)[:200])
                continue
            is_up = True
            await self._publish_used(limit, found)
        return set(failed)

    def _without_budgets(self, accounts: Collection[str]) -> set[str]:
        """Accounts of which figures are said to be there, although their last budget was deleted."""
        published = self._figures.published.get(SPEND_SUBJECT.removesuffix("."), {})
        named = {
            subject.removeprefix(SPEND_SUBJECT): data
            for subject, (_, data) in published.items()
            if not subject.startswith(f"{SPEND_SUBJECT}-")
        }
        return {account for account, data in named.items() if account not in accounts and _has_limits(data)}

    async def _touched(self, at: datetime) -> set[str]:
        since = (self._looked_at or at) - VISIBLE
        return {row["account"] for row in await clickhouse.run_query(self._client, "limit_touched", since=since)}

    async def _publish_used(self, limit: Limit, found: Mapping[str, Used]) -> None:
        """Publish figures that differ from what is published; those of values without a row become 0."""
        published = self._figures.published.get(f"{SPEND_SUBJECT}{limit.account}.{limit.name}", {})
        messages = {}
        for counter, used in found.items():
            subject = SPEND_SUBJECT + counter
            if not _is_same(published.get(subject), used):
                messages[subject] = spend.encode(used)
        await self._figures.write(messages)
        gone = [subject for subject in published if subject.removeprefix(SPEND_SUBJECT) not in found]
        await self._empty(published, gone, start=next((used.start for used in found.values()), None))

    async def _empty_deleted(self) -> None:
        """Empty the figures of limits that no longer exist."""
        for name, published in list(self._figures.published.items()):
            limit = name.removeprefix(SPEND_SUBJECT)
            if limit != name and not limit.startswith("-") and limit not in self._limits:
                await self._empty(published, list(published), start=None)

    async def _empty(
        self, published: Mapping[str, tuple[int, bytes]], subjects: Iterable[str], *, start: datetime | None
    ) -> None:
        messages = {}
        for subject in subjects:
            old = _decode_used(published[subject][1])
            if old.used:
                messages[subject] = spend.encode(Used(0, start or old.start, self._clock(), old.each))
        await self._figures.write(messages, ttl=EMPTY_SECONDS)

    async def _has_lease(self) -> bool:
        """Whether this logger publishes; takes over a lease that has expired."""
        await self._figures.renew()
        if self._figures.is_leased:
            return True
        if not await self._figures.lease():
            return False
        self._through = -1
        self._is_changed = True
        self._totals.reset()
        return True

    async def _keep_lease(self) -> None:
        """Renew the lease, also during a query that takes longer than it lasts, until cancelled."""
        while True:
            await asyncio.sleep(figures.LEASE_SECONDS / 4)
            with contextlib.suppress(*streams.Failed):
                await self._figures.renew()


def _limit_prefix() -> str:
    return f"$KV.{events.ACCOUNTS_BUCKET}.{LIMIT_KEY}"


def _is_same(published: tuple[int, bytes] | None, used: Used) -> bool:
    """Whether this figure is published already, perhaps computed at another time."""
    if published is None:
        return False
    before = _decode_used(published[1])
    return msgspec.structs.replace(before, at=used.at) == used


def _has_limits(data: bytes) -> bool:
    """Whether the figures of an account include a limit; True if they cannot be read, so that they are replaced."""
    try:
        return bool(spend.decode_progress(data).limits)
    except msgspec.MsgspecError:
        return True


def _decode_used(data: bytes) -> Used:
    """Decode a figure; anything else, or one of another release, counts as one to replace."""
    try:
        return spend.decode_used(data)
    except msgspec.MsgspecError:
        return Used(-1, now(), now())


_decode = msgspec.json.Decoder(Limit).decode
