"""Serves cache requests over NATS from memory, the stream and leases.

Every request gets one reply; changes are announced to the other replicas.
"""

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
from services.cache.store import Failed, NotStorable, Store
from shared import cache_protocol
from shared.cache_protocol import Lease, Lookup, Purge, Reply, Stats

log = logging.getLogger(__name__)
T = TypeVar("T", Lookup, cache_protocol.Store, Lease)

STORE_BYTES = 64 << 20  # entries being written to the stream

_MISS = cache_protocol.encode(Reply(cache_protocol.MISS))
_OVERLOADED_MISS = cache_protocol.encode(Reply(cache_protocol.MISS, detail="overloaded"))
_OVERLOADED = cache_protocol.encode(Reply(cache_protocol.REFUSED, detail="overloaded"))

_lookup = msgspec.msgpack.Decoder(Lookup)
_store = msgspec.msgpack.Decoder(cache_protocol.Store)
_lease = msgspec.msgpack.Decoder(Lease)
_purge = msgspec.msgpack.Decoder(Purge)


class Server:
    """One replica. Handlers never await NATS, which would delay all later requests."""

    def __init__(
        self,
        nc: Client,
        store: Store,
        memory: LRU,
        *,
        metrics: Metrics,
        replica: str,
        concurrency: int,
        timeout: float,
    ) -> None:
        """`concurrency`: requests of each type that may wait for NATS; `timeout`: seconds for a lookup."""
        self._nc = nc
        self._store = store
        self._memory = memory
        self._leases = Leases(nc, timeout=timeout)
        self._metrics = metrics
        self._replica = replica
        self._timeout = timeout
        self.lookups = BoundedTasks(max_tasks=concurrency, max_bytes=1)
        self.stores = BoundedTasks(max_tasks=concurrency, max_bytes=STORE_BYTES)
        self.leases = BoundedTasks(max_tasks=concurrency, max_bytes=1)  # never blocked by other requests
        self._subscriptions: list[Subscription] = []

    async def start(self) -> None:
        """Subscribe to all subjects."""
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
        for subject, handler in everyone.items():  # before the first entry is in memory
            self._subscriptions.append(await self._nc.subscribe(subject, cb=handler))
        for subject, handler in shared.items():
            self._subscriptions.append(await self._nc.subscribe(subject, queue=cache_protocol.QUEUE, cb=handler))
        await self._nc.flush()

    async def stop(self, seconds: float) -> None:
        """Unsubscribe, finish requests in progress, log those cut off after `seconds`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if self._nc.is_connected:
            with contextlib.suppress(*Failed):
                async with asyncio.timeout(seconds):
                    await self._unsubscribe()
        # In this order, since lookups and stores free leases when they finish.
        unfinished = [
            await tasks.finish(max(0.0, until - loop.time())) for tasks in (self.lookups, self.stores, self.leases)
        ]
        if any(unfinished):
            log.warning("stopped with %d lookups, %d stores and %d leases unfinished", *unfinished)
        with contextlib.suppress(*Failed):
            await self._nc.flush(timeout=1)

    async def _unsubscribe(self) -> None:
        """Unsubscribe and wait until all received messages have reached their handlers.

        nats-py's drain would lose messages: its PING overtakes the UNSUB, and what arrives in between is discarded.
        """
        for subscription in self._subscriptions:
            await self._nc._send_unsubscribe(subscription._id)
        await self._nc.flush()  # a round trip, during which the lines above are written
        await self._nc.flush()  # and another one after them
        while any(subscription.pending_msgs for subscription in self._subscriptions):  # noqa: ASYNC110 — their tasks only need a turn
            await asyncio.sleep(0)

    async def _on_lookup(self, message: Msg) -> None:
        began = time.perf_counter()
        lookup = await self._decoded(message, _lookup, request="lookup")
        if lookup is None:
            return
        entry = self._store.cached(lookup.key)
        if entry is not None:
            await self._send(message, cache_protocol.encode(Reply(cache_protocol.HIT, entry)))
            self._metrics.looked_up(outcomes.MEMORY, time.perf_counter() - began)
        elif self.lookups.is_full:
            self._metrics.refusals["lookup", "overloaded"] += 1
            await self._send(message, _OVERLOADED_MISS)
        else:
            self.lookups.start(self._look_up(message, lookup, began))

    async def _look_up(self, message: Msg, lookup: Lookup, began: float) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                reply, outcome = await self._find(lookup)
        except Exception as error:
            await self._send(message, self._failure("lookup", error, kind=cache_protocol.MISS))
            return
        await self._send(message, cache_protocol.encode(reply))
        self._metrics.looked_up(outcome, time.perf_counter() - began)

    async def _find(self, lookup: Lookup) -> tuple[Reply, str]:
        entry = await self._store.load(lookup.key)
        if entry is not None:
            return Reply(cache_protocol.HIT, entry), outcomes.STREAM
        if not lookup.lease:
            return Reply(cache_protocol.MISS), outcomes.MISS
        number = await self._leases.take(lookup.key)
        if number is None:
            return Reply(cache_protocol.HELD), outcomes.HELD
        granted = False
        try:
            # the previous holder may have stored the entry just before it freed the lease
            entry = await self._store.read(lookup.key)
            granted = entry is None
        finally:
            if not granted:
                self.leases.start(self._free(lookup.key, number))
        if entry is None:
            return Reply(cache_protocol.LEASED, lease=number), outcomes.LEASED
        return Reply(cache_protocol.HIT, entry), outcomes.STREAM

    async def _on_store(self, message: Msg) -> None:
        store = await self._decoded(message, _store, request="store")
        if store is not None:
            await self._begin(self.stores, message, lambda: self._put(store), request="store", size=len(message.data))

    async def _put(self, store: cache_protocol.Store) -> Reply:
        """Store an entry. The lease is freed before the change is announced to those that got HELD."""
        try:
            await self._store.put(store.key, store.entry, ttl=store.ttl)
        finally:
            await self._free(store.key, store.lease)
        self._metrics.stores += 1
        return Reply(cache_protocol.STORED)

    async def _on_renew(self, message: Msg) -> None:
        lease = await self._decoded(message, _lease, request="renew")
        if lease is not None:
            await self._begin(self.leases, message, lambda: self._renew(lease), request="renew")

    async def _renew(self, lease: Lease) -> Reply:
        number = await self._leases.renew(lease.key, lease.lease)
        if number is None:
            self._metrics.refusals["renew", "not_held"] += 1
            return Reply(cache_protocol.REFUSED, detail="the lease is not held any more")
        self._metrics.renewed += 1
        return Reply(cache_protocol.LEASED, lease=number)

    async def _on_release(self, message: Msg) -> None:
        lease = await self._decoded(message, _lease, request="release")
        if lease is not None:
            await self._begin(self.leases, message, lambda: self._release(lease), request="release")

    async def _release(self, lease: Lease) -> Reply:
        await self._free(lease.key, lease.lease)
        self._metrics.released += 1
        return Reply(cache_protocol.MISS)

    async def _on_changed(self, message: Msg) -> None:
        if message.data != self._replica.encode():  # our own changes are in memory already
            self._store.invalidate(message.subject.removeprefix(cache_protocol.CHANGED + "."))

    async def _on_purge(self, message: Msg) -> None:
        try:
            pattern = _purge.decode(message.data).pattern
        except msgspec.MsgspecError:
            pattern = ""
        if cache_protocol.PURGE_PATTERN.fullmatch(pattern) is None:
            await self._send(message, self._refusal("purge", "bad_message", "not a pattern of three parts"))
            return
        self._store.purge(pattern)
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
        """End the lease and announce the change of its key; a lease that cannot be freed expires."""
        try:
            await self._leases.free(key, number)
        except Failed as error:
            log.warning("a lease was not freed: %s", type(error).__name__)
        with contextlib.suppress(*Failed):
            await self._nc.publish(f"{cache_protocol.CHANGED}.{cache_protocol.digest(key)}", self._replica.encode())

    async def _decoded(self, message: Msg, decoder: msgspec.msgpack.Decoder[T], *, request: str) -> T | None:
        """Decode a request; refuses it and returns None if it is invalid or its key is not a plain key."""
        try:
            decoded = decoder.decode(message.data)
        except msgspec.MsgspecError as error:
            await self._send(message, self._refusal(request, "bad_message", str(error)))
            return None
        if cache_protocol.KEY_PATTERN.fullmatch(decoded.key) is None:
            await self._send(message, self._refusal(request, "bad_key", "a key has three parts of letters and digits"))
            return None
        return decoded

    async def _begin(
        self, tasks: BoundedTasks, message: Msg, work: Callable[[], Awaitable[Reply]], *, request: str, size: int = 0
    ) -> None:
        """Reply from a background task, or refuse at once if there are too many of them."""
        if tasks.is_full:
            self._metrics.refusals[request, "overloaded"] += 1
            await self._send(message, _OVERLOADED)
            return

        async def respond() -> None:
            try:
                data = cache_protocol.encode(await work())
            except Exception as error:
                data = self._failure(request, error, kind=cache_protocol.REFUSED)
            await self._send(message, data)

        tasks.start(respond(), size=size)

    def _failure(self, request: str, error: Exception, *, kind: str) -> bytes:
        if isinstance(error, NotStorable):
            return self._refusal(request, "unkeepable", str(error))
        if isinstance(error, TimeoutError):
            return self._refusal(request, "timeout", "the stream did not respond in time", kind=kind)
        if not isinstance(error, Failed):
            log.error("a %s failed", request, exc_info=error)
        return self._refusal(request, "failed", f"{type(error).__name__} {error}"[:200], kind=kind)

    def _refusal(self, request: str, reason: str, detail: str, *, kind: str = cache_protocol.REFUSED) -> bytes:
        self._metrics.refusals[request, reason] += 1
        return cache_protocol.encode(Reply(kind, detail=detail))

    async def _send(self, message: Msg, data: bytes) -> None:
        """Reply if requested. A reply that cannot be sent is dropped: the client has its own timeout."""
        if message.reply:
            with contextlib.suppress(*Failed):
                await self._nc.publish(message.reply, data)
