"""Publishes what is used of budgets whenever new rows have been stored.

One logger at a time does this, the holder of a lease. Every figure is a total computed from the rows, never an
increment: redelivered events, corrected prices and deleted rows cannot make it wrong for longer than a pass.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient
from nats.aio.client import Client
from nats.js import api
from nats.js.errors import APIError

from services.logger.metrics import Metrics
from shared import clickhouse, events, streams
from shared.limits import ledger, periods, spend
from shared.limits.model import LIMIT_KEY, Limit
from shared.limits.spend import SPEND_STREAM, SPEND_SUBJECT, Booked, Used
from shared.process import cancel_and_wait
from shared.stream_watch import StreamWatch

log = logging.getLogger(__name__)

EVERY_SECONDS = 0.3  # between two looks for new rows, at least
LOAD = 4  # a pass is followed by a pause of this many times its duration, so that it takes a fifth of the time
FULL_SECONDS = 60.0  # between two passes over all budgets: corrections, deletions, periods that have turned
VISIBLE = timedelta(minutes=3)  # by which an insert is visible after its ingested_at
EMPTY_SECONDS = 600  # after which figures without a row disappear, with the names of whom they are about
PAUSE_SECONDS = 3.0  # between two looks, at most
LEASE_SECONDS = 10
_LEASE = SPEND_SUBJECT + "-lease"  # no account's name begins with -
_CONFLICTS = (10071, 10164)
_TOGETHER = 200  # messages published at the same time
_TIMEOUT = 5.0

Now = Callable[[], datetime]


# Number and content of the newest message of each subject, by the subject without its last part.
_Published = dict[str, dict[str, tuple[int, bytes]]]


class Lost(Exception):
    """Another logger has taken over."""


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
        self._lease = 0  # number of our lease; 0: we hold none
        self._renewing = asyncio.Lock()
        self._lease_until = 0.0
        self._published: _Published = {}
        self._through = -1
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
                except Lost:  # the lease, or somebody has written a figure
                    self._is_changed = True
                    self._lease_until = 0.0
                except (*streams.Failed, *clickhouse.Failed) as error:
                    self._is_changed = True
                    self._metrics.budget_failures.inc()
                    log.warning("budgets: not published, retrying: %s", type(error).__name__)
                await asyncio.sleep(min(max(EVERY_SECONDS, LOAD * (time.monotonic() - began)), PAUSE_SECONDS))
        finally:
            await cancel_and_wait(keeping)
            await cancel_and_wait(following)
            with contextlib.suppress(Exception):  # the next logger waits for its end otherwise
                await asyncio.wait_for(self._release(), 1)

    def _put(self, key: str, value: bytes | None) -> None:
        self._is_changed = True
        self._limits.pop(key, None)
        if value is not None:
            limit = _decode(value)
            if not limit.is_rate:
                periods.span(limit.period, limit.timezone, self._clock())  # ValueError: it cannot be computed
                self._limits[key] = limit

    async def publish_new(self) -> None:
        """Publish the budgets of accounts with new rows, sometimes of all accounts."""
        if not self._limits and not self._published and not self._is_changed:
            return
        info = await self._js.consumer_info(events.EVENTS_STREAM, events.LOGGER_CONSUMER)
        through = info.ack_floor.stream_seq if info.ack_floor and info.ack_floor.stream_seq else 0
        is_full = self._is_changed or time.monotonic() >= self._full_at
        if through == self._through and not is_full:
            return
        began = time.monotonic()
        at = self._clock()
        self._is_changed = False
        if is_full:  # somebody may have written a figure
            self._published = await self._read_published()
        limits = list(self._limits.values())
        accounts = {limit.account for limit in limits}
        touched = accounts if is_full or not accounts else accounts & await self._touched(at)
        for limit in limits:
            if not self._lease:
                raise Lost
            if limit.account in touched:
                found = await ledger.used(self._client, limit, now=at, unpriced=self._unpriced)
                await self._publish_used(limit, found)
        if is_full:
            await self._empty_deleted()
        await self._write(
            {SPEND_SUBJECT + account: spend.encode(Booked(through, at, self._unpriced)) for account in touched}
        )
        self._through = through
        self._looked_at = at
        if is_full:
            self._full_at = time.monotonic() + FULL_SECONDS
        self._metrics.budget_seconds.observe(time.monotonic() - began)

    async def _touched(self, at: datetime) -> set[str]:
        since = (self._looked_at or at) - VISIBLE
        return {row["account"] for row in await clickhouse.ask(self._client, "limit_touched", since=since)}

    async def _publish_used(self, limit: Limit, found: Mapping[str, Used]) -> None:
        """Publish figures that differ from what is published; those of values without a row become 0."""
        published = self._published.get(f"{SPEND_SUBJECT}{limit.account}.{limit.name}", {})
        messages = {}
        for counter, used in found.items():
            subject = SPEND_SUBJECT + counter
            if not _is_same(published.get(subject), used):
                messages[subject] = spend.encode(used)
        await self._write(messages)
        gone = [subject for subject in published if subject.removeprefix(SPEND_SUBJECT) not in found]
        await self._empty(published, gone, start=next((used.start for used in found.values()), None))

    async def _empty_deleted(self) -> None:
        """Empty the figures of limits that do not exist any more."""
        for name, published in list(self._published.items()):
            if name.startswith(SPEND_SUBJECT) and name.removeprefix(SPEND_SUBJECT) not in self._limits:
                await self._empty(published, list(published), start=None)

    async def _empty(
        self, published: Mapping[str, tuple[int, bytes]], subjects: Iterable[str], *, start: datetime | None
    ) -> None:
        messages = {}
        for subject in subjects:
            old = _decode_used(published[subject][1])
            if old.used:
                messages[subject] = spend.encode(Used(0, start or old.start, self._clock(), old.each))
        await self._write(messages, ttl=EMPTY_SECONDS)

    async def _write(self, messages: Mapping[str, bytes], *, ttl: int | None = None) -> None:
        """Write messages, each only over the one that we know; Lost if another logger has written."""
        for part in _parts(list(messages.items()), _TOGETHER):
            await asyncio.gather(*(self._write_one(subject, data, ttl=ttl) for subject, data in part))

    async def _write_one(self, subject: str, data: bytes, *, ttl: int | None) -> None:
        published = self._published.setdefault(_name(subject), {})
        after = published.get(subject, (0, b""))[0]
        published[subject] = (await self._put_message(subject, data, after=after, ttl=ttl), data)

    async def _put_message(self, subject: str, data: bytes, *, after: int, ttl: int | None = None) -> int:
        headers = {api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(after)}
        try:
            ack = await self._js.publish(subject, data, stream=SPEND_STREAM, headers=headers, msg_ttl=ttl)
        except APIError as error:
            if error.err_code in _CONFLICTS:
                raise Lost from None
            raise
        return ack.seq

    async def _has_lease(self) -> bool:
        """Whether this logger publishes; takes over a lease that has expired."""
        if self._lease:
            await self._renew()
        if self._lease:
            return True
        until = time.monotonic() + LEASE_SECONDS
        try:
            self._lease = await self._put_message(_LEASE, b"", after=0, ttl=LEASE_SECONDS)
        except Lost:
            return False
        self._lease_until = until
        self._through = -1
        self._is_changed = True
        return True

    async def _keep_lease(self) -> None:
        """Renew the lease, also during a query that takes longer than it lasts, until cancelled."""
        while True:
            await asyncio.sleep(LEASE_SECONDS / 4)
            if self._lease:
                with contextlib.suppress(*streams.Failed):
                    await self._renew()

    async def _renew(self) -> None:
        """Renew the lease if it is time; forget one that another logger has taken over."""
        async with self._renewing:
            until = time.monotonic() + LEASE_SECONDS
            if not self._lease or until < self._lease_until + LEASE_SECONDS / 2:
                return
            try:
                self._lease = await self._put_message(_LEASE, b"", after=self._lease, ttl=LEASE_SECONDS)
                self._lease_until = until
            except Lost:
                self._lease = 0

    async def _release(self) -> None:
        if self._lease:
            await self._put_message(_LEASE, b"", after=self._lease, ttl=1)

    async def _read_published(self) -> _Published:
        """Read everything that is published, with the numbers of the messages."""
        found: _Published = {}
        if not (await self._js.stream_info(SPEND_STREAM)).state.messages:
            return found
        policy = api.DeliverPolicy.LAST_PER_SUBJECT
        reading = await self._js.subscribe(
            SPEND_SUBJECT + ">", stream=SPEND_STREAM, ordered_consumer=True, deliver_policy=policy
        )
        try:
            while True:
                message = await reading.next_msg(timeout=_TIMEOUT)
                if message.subject != _LEASE:
                    figures = found.setdefault(_name(message.subject), {})
                    figures[message.subject] = (message.metadata.sequence.stream, message.data)
                if not message.metadata.num_pending:
                    return found
        finally:
            await reading.unsubscribe()


def _name(subject: str) -> str:
    """A subject without its last part: of a figure, the account and name of its limit."""
    return subject.rpartition(".")[0]


def _limit_prefix() -> str:
    return f"$KV.{events.ACCOUNTS_BUCKET}.{LIMIT_KEY}"


def _is_same(published: tuple[int, bytes] | None, used: Used) -> bool:
    """Whether this figure is published already, perhaps computed at another time."""
    if published is None:
        return False
    before = _decode_used(published[1])
    return msgspec.structs.replace(before, at=used.at) == used


def _decode_used(data: bytes) -> Used:
    """Decode a figure; what is none, or of another release, is one that is to be replaced."""
    try:
        return spend.decode_used(data)
    except msgspec.MsgspecError:
        return Used(-1, now(), now())


def _parts(items: list[tuple[str, bytes]], size: int) -> Iterable[list[tuple[str, bytes]]]:
    return (items[start : start + size] for start in range(0, len(items), size))


_decode = msgspec.json.Decoder(Limit).decode
