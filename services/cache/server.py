"""Requests come in over NATS, each gets one reply out of memory, stream and leases; others hear what has changed."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from services.cache import metrics as outcomes
from services.cache.bounded_tasks import BoundedTasks
from services.cache.leases import Leases
from services.cache.lru import LRU
from services.cache.metrics import Metrics
from services.cache.store import Failed, Store, Unkeepable
from shared import cache_protocol
from shared.cache_protocol import Lease, Lookup, Purge, Reply, Stats

log = logging.getLogger(__name__)
T = TypeVar("T", Lookup, cache_protocol.Store, Lease)

STORE_BYTES = 64 << 20  # of entries on their way into the stream

_MISS = cache_protocol.encode(Reply(cache_protocol.MISS))
_OVERLOADED_MISS = cache_protocol.encode(Reply(cache_protocol.MISS, detail="overloaded"))
_OVERLOADED = cache_protocol.encode(Reply(cache_protocol.REFUSED, detail="overloaded"))

_lookup = msgspec.msgpack.Decoder(Lookup)
_store = msgspec.msgpack.Decoder(cache_protocol.Store)
_lease = msgspec.msgpack.Decoder(Lease)
_purge = msgspec.msgpack.Decoder(Purge)


class Server:
    """One replica. Handlers never wait for NATS themselves: that would hold up every request behind them."""

    def __init__(
        self,
        nc: Client,
        store: Store,
        memory: LRU,
        *,
        metrics: Metrics,
        replica: str,
        concurrency: int,
        patience: float,
    ) -> None:
        """`concurrency`: requests of a kind that may wait for NATS; `patience`: how long a lookup may, in seconds."""
        self._nc, self._store, self._memory, self._leases = nc, store, memory, Leases(nc, patience=patience)
        self._metrics, self._replica, self._patience = metrics, replica, patience
        self.lookups = BoundedTasks(most=concurrency, most_bytes=1)
        self.stores = BoundedTasks(most=concurrency, most_bytes=STORE_BYTES)
        self.leases = BoundedTasks(most=concurrency, most_bytes=1)  # renewed and freed, whatever else there is to do
        self._subscriptions: list[Subscription] = []

    async def start(self) -> None:
        """Take requests."""
        shared = {
            cache_protocol.LOOKUP: self._on_lookup,
            cache_protocol.STORE: self._on_store,
            cache_protocol.RENEW: self._on_renew,
            cache_protocol.RELEASE: self._on_release,
        }
        everyone = {
            cache_protocol.CHANGED + ".*": self._on_changed,
            cache_protocol.PURGE: self._on_purge,
            cache_protocol.STATS: self._on_stats,
        }
        for subject, handler in everyone.items():  # before the first entry gets into memory
            self._subscriptions.append(await self._nc.subscribe(subject, cb=handler))
        for subject, handler in shared.items():
            self._subscriptions.append(await self._nc.subscribe(subject, queue=cache_protocol.QUEUE, cb=handler))
        await self._nc.flush()

    async def stop(self, seconds: float) -> None:
        """Take no more, answer what is in hand, and say what was cut after `seconds`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if self._nc.is_connected:
            with contextlib.suppress(*Failed):
                async with asyncio.timeout(seconds):
                    await self._unsubscribe()
        # One after the other, for lookups and stores free leases at their end.
        cut = [await hand.finish(max(0.0, until - loop.time())) for hand in (self.lookups, self.stores, self.leases)]
        if any(cut):
            log.warning("stopped with %d lookups, %d stores and %d leases unanswered", *cut)
        with contextlib.suppress(*Failed):
            await self._nc.flush(timeout=1)

    async def _unsubscribe(self) -> None:
        """Nothing more is sent here, and whatever was has reached its handler.

        Not nats-py's drain: its PING overtakes the UNSUB, and what the server sends between the two is thrown away.
        """
        for one in self._subscriptions:
            await self._nc._send_unsubscribe(one._id)
        await self._nc.flush()  # a round trip, in which the lines above get written
        await self._nc.flush()  # and one after them
        while any(one.pending_msgs for one in self._subscriptions):  # noqa: ASYNC110 — their tasks need but a turn
            await asyncio.sleep(0)

    async def _on_lookup(self, message: Msg) -> None:
        began = time.perf_counter()
        asked = await self._decoded(message, _lookup, request="lookup")
        if asked is None:
            return
        entry = self._store.remembered(asked.key)
        if entry is not None:
            await self._send(message, cache_protocol.encode(Reply(cache_protocol.HIT, entry)))
            self._metrics.looked_up(outcomes.MEMORY, time.perf_counter() - began)
        elif self.lookups.full:
            self._metrics.refusals["lookup", "overloaded"] += 1
            await self._send(message, _OVERLOADED_MISS)
        else:
            self.lookups.begin(self._look_up(message, asked, began))

    async def _look_up(self, message: Msg, asked: Lookup, began: float) -> None:
        try:
            async with asyncio.timeout(self._patience):
                reply, outcome = await self._found(asked)
        except Exception as error:
            await self._send(message, self._failure("lookup", error, kind=cache_protocol.MISS))
            return
        await self._send(message, cache_protocol.encode(reply))
        self._metrics.looked_up(outcome, time.perf_counter() - began)

    async def _found(self, asked: Lookup) -> tuple[Reply, str]:
        entry = await self._store.load(asked.key)
        if entry is not None:
            return Reply(cache_protocol.HIT, entry), outcomes.STREAM
        if not asked.lease:
            return Reply(cache_protocol.MISS), outcomes.MISS
        number = await self._leases.take(asked.key)
        if number is None:
            return Reply(cache_protocol.HELD), outcomes.HELD
        granted = False
        try:
            entry = await self._store.read(asked.key)  # its holder may have stored it and freed the lease meanwhile
            granted = entry is None
        finally:
            if not granted:
                self.leases.begin(self._free(asked.key, number))
        if entry is None:
            return Reply(cache_protocol.LEASED, lease=number), outcomes.LEASED
        return Reply(cache_protocol.HIT, entry), outcomes.STREAM

    async def _on_store(self, message: Msg) -> None:
        asked = await self._decoded(message, _store, request="store")
        if asked is not None:
            await self._begin(self.stores, message, lambda: self._keep(asked), request="store", size=len(message.data))

    async def _keep(self, asked: cache_protocol.Store) -> Reply:
        """Whoever was HELD before hears of it after: the lease is freed first, and the change told then."""
        try:
            await self._store.keep(asked.key, asked.entry, ttl=asked.ttl)
        finally:
            await self._free(asked.key, asked.lease)
        self._metrics.stores += 1
        return Reply(cache_protocol.STORED)

    async def _on_renew(self, message: Msg) -> None:
        asked = await self._decoded(message, _lease, request="renew")
        if asked is not None:
            await self._begin(self.leases, message, lambda: self._renew(asked), request="renew")

    async def _renew(self, asked: Lease) -> Reply:
        number = await self._leases.renew(asked.key, asked.lease)
        if number is None:
            self._metrics.refusals["renew", "not_held"] += 1
            return Reply(cache_protocol.REFUSED, detail="the lease is not held any more")
        self._metrics.renewed += 1
        return Reply(cache_protocol.LEASED, lease=number)

    async def _on_release(self, message: Msg) -> None:
        asked = await self._decoded(message, _lease, request="release")
        if asked is not None:
            await self._begin(self.leases, message, lambda: self._release(asked), request="release")

    async def _release(self, asked: Lease) -> Reply:
        await self._free(asked.key, asked.lease)
        self._metrics.released += 1
        return Reply(cache_protocol.MISS)

    async def _on_changed(self, message: Msg) -> None:
        if message.data != self._replica.encode():  # our own are in memory by now
            self._store.changed(message.subject.removeprefix(cache_protocol.CHANGED + "."))

    async def _on_purge(self, message: Msg) -> None:
        try:
            pattern = _purge.decode(message.data).pattern
        except msgspec.MsgspecError:
            pattern = ""
        if cache_protocol.PURGE_PATTERN.fullmatch(pattern) is None:
            await self._send(message, self._refusal("purge", "bad_message", "not a pattern of three parts"))
            return
        self._store.forget(pattern)
        await self._send(message, _MISS)

    async def _on_stats(self, message: Msg) -> None:
        stats = Stats(
            replica=self._replica,
            entries=len(self._memory),
            bytes=self._memory.bytes,
            hits=self._metrics.count(*outcomes.HITS),
            misses=self._metrics.count(outcomes.MISS, outcomes.LEASED, outcomes.HELD),
            evictions=self._memory.evictions,
        )
        await self._send(message, cache_protocol.encode(stats))

    async def _free(self, key: str, number: int) -> None:
        """End the lease and tell everybody that the key changed; a lease that cannot be freed ends by itself."""
        try:
            await self._leases.free(key, number)
        except Failed as error:
            log.warning("a lease was not freed: %s", type(error).__name__)
        with contextlib.suppress(*Failed):
            await self._nc.publish(f"{cache_protocol.CHANGED}.{cache_protocol.digest(key)}", self._replica.encode())

    async def _decoded(self, message: Msg, decoder: msgspec.msgpack.Decoder[T], *, request: str) -> T | None:
        """What is asked; None, and refused, when it is nothing or its key could name another subject."""
        try:
            asked = decoder.decode(message.data)
        except msgspec.MsgspecError as error:
            await self._send(message, self._refusal(request, "bad_message", str(error)))
            return None
        if cache_protocol.KEY_PATTERN.fullmatch(asked.key) is None:
            await self._send(message, self._refusal(request, "bad_key", "a key has three parts of letters and digits"))
            return None
        return asked

    async def _begin(
        self, hand: BoundedTasks, message: Msg, work: Callable[[], Awaitable[Reply]], *, request: str, size: int = 0
    ) -> None:
        """Answer beside the rest, or refuse at once when there is too much of that in hand."""
        if hand.full:
            self._metrics.refusals[request, "overloaded"] += 1
            await self._send(message, _OVERLOADED)
            return

        async def answer() -> None:
            try:
                data = cache_protocol.encode(await work())
            except Exception as error:
                data = self._failure(request, error, kind=cache_protocol.REFUSED)
            await self._send(message, data)

        hand.begin(answer(), size=size)

    def _failure(self, request: str, error: Exception, *, kind: str) -> bytes:
        if isinstance(error, Unkeepable):
            return self._refusal(request, "unkeepable", str(error))
        if isinstance(error, TimeoutError):
            return self._refusal(request, "timeout", "no answer from the stream in time", kind=kind)
        if not isinstance(error, Failed):
            log.error("a %s failed", request, exc_info=error)
        return self._refusal(request, "failed", f"{type(error).__name__} {error}"[:200], kind=kind)

    def _refusal(self, request: str, reason: str, detail: str, *, kind: str = cache_protocol.REFUSED) -> bytes:
        self._metrics.refusals[request, reason] += 1
        return cache_protocol.encode(Reply(kind, detail=detail))

    async def _send(self, message: Msg, data: bytes) -> None:
        """Reply, if somebody waits. What cannot be sent is lost: the other side has its own limit."""
        if message.reply:
            with contextlib.suppress(*Failed):
                await self._nc.publish(message.reply, data)
