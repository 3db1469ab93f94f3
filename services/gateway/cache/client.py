"""Client of the cache service, with single flight for identical requests.

A broken cache delays nobody for long: a query times out after 250 ms, and after repeated timeouts a circuit breaker
skips queries for a while.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from services.gateway.cache.breaker import Breaker
from services.gateway.cache.requester import Requester
from shared import cache_protocol
from shared.cache_protocol import HELD, HIT, LEASED, STORED, Lease, Lookup, Reply, Store
from shared.events import Evidence

log = logging.getLogger(__name__)

TIMEOUT_S = 0.25  # default time for the service to reply
STORE_S = 2.0  # the same for a store, which delays nobody but identical requests; at least as long as a lookup's
WAIT_S = 60.0  # default time to wait for an identical in-flight request
POLL_S = 0.25  # interval at which a waiter checks whether the leader's process died
RENEW_S = 1.0  # interval between two renewals of a lease

# Outcomes of queries, for the metrics.
TIMEOUT, UNAVAILABLE, BROKEN, WAITED, GAVE_UP = "timeout", "unavailable", "broken", "waited", "gave_up"
OUTCOMES = (HIT, LEASED, TIMEOUT, UNAVAILABLE, BROKEN, WAITED, GAVE_UP)


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A cached response, decompressed. Append-only, as in shared.events."""

    status: int
    format: str  # services.gateway.cache.key: json, events, array
    content_type: str
    body: bytes
    evidence: Evidence  # what it said about usage and cost
    usage: bool = False  # a chat stream that includes its usage chunk
    answered_at: float = 0.0  # Unix time


class Permit:
    """Permission to call the provider. Identical requests wait until `complete`."""

    __slots__ = ("completed", "flight", "key", "lease", "renewal")

    def __init__(self, key: str, *, flight: "_Flight | None" = None, lease: int = 0) -> None:
        self.key = key
        self.flight = flight
        self.lease = lease
        self.completed = asyncio.Event()  # the provider has responded
        self.renewal: asyncio.Task[None] | None = None


class _Flight:
    """Identical requests of this gateway: the leader queries the cache or the provider, the others wait.

    They then get its `entry`. If there is none they call the provider themselves or, with `retry`, one of them becomes
    the new leader.
    """

    __slots__ = ("done", "entry", "retry")

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.entry: Entry | None = None
        self.retry = False

    def finish(self, *, entry: Entry | None = None, retry: bool = False) -> None:
        self.entry = entry
        self.retry = retry
        self.done.set()


class CacheClient:
    """Cached responses and single flight. Without NATS, every lookup is a miss."""

    def __init__(self, *, wait: float = WAIT_S, timeout: float = TIMEOUT_S) -> None:
        """`wait`: seconds to wait for an identical request; `timeout`: seconds for the service to reply."""
        self._requester: Requester | None = None
        self._wait = wait
        self._timeout = timeout
        self._store_timeout = max(timeout, STORE_S)
        self._flights: dict[str, _Flight] = {}
        self._completing: set[asyncio.Task[None]] = set()
        self.breaker = Breaker()
        self.outcomes: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self.stored = 0
        self.refused = 0

    def attach(self, nc: Client | None) -> None:
        """Use this connection from now on; None for no connection."""
        self._requester = None if nc is None else Requester(nc)

    @property
    def flights(self) -> int:
        """Number of responses being fetched that identical requests would wait for."""
        return len(self._flights)

    async def get_or_lead(self, key: str) -> Entry | Permit:
        """Return the cached response, or permission to call the provider.

        Waits for an identical in-flight request for at most `wait` seconds.
        """
        deadline = time.monotonic() + self._wait
        while (flight := self._flights.get(key)) is not None:
            try:
                await asyncio.wait_for(flight.done.wait(), max(deadline - time.monotonic(), 0))
            except TimeoutError:
                self.outcomes[GAVE_UP] += 1
                return Permit(key)
            if flight.entry is not None:
                self.outcomes[WAITED] += 1
                return flight.entry
            if not flight.retry:
                return Permit(key)
        flight = self._flights[key] = _Flight()
        result: Entry | Permit | None = None
        try:
            result = await self._lead(key, flight, deadline)
            return result
        finally:
            if not (isinstance(result, Permit) and result.flight is flight):
                entry = result if isinstance(result, Entry) else None
                self._land(key, flight, entry=entry, retry=result is None)

    def complete(self, permit: Permit, make: Callable[[], Entry | None], *, ttl: int, retry: bool = False) -> None:
        """End a permit after the provider was called, in the background.

        Stores the entry that `make` returns for `ttl` seconds, releases the lease and wakes the waiters.
        `retry`: nothing is stored, but another identical request may have more luck.
        """
        task = asyncio.create_task(self._complete(permit, make, ttl=ttl, retry=retry))
        self._completing.add(task)
        task.add_done_callback(self._completing.discard)

    async def close(self, seconds: float = 0) -> None:
        """Wait for stores in progress, by default as long as one may take."""
        if self._completing:
            await asyncio.wait(set(self._completing), timeout=seconds or self._store_timeout)

    async def _lead(self, key: str, flight: _Flight, deadline: float) -> Entry | Permit:
        """Query the service until it has the response, grants the lease, or is of no help."""
        reply = await self._request(cache_protocol.LOOKUP, Lookup(key, lease=True))
        waited = reply is not None and reply.kind == HELD
        if waited:
            reply = await self._wait_for_leader(key, deadline)
        if reply is not None and reply.kind == HIT and (entry := _decode_entry(reply.entry)) is not None:
            self.outcomes[WAITED if waited else HIT] += 1
            return entry
        if reply is None or reply.kind != LEASED:
            return Permit(key)
        self.outcomes[LEASED] += 1
        permit = Permit(key, flight=flight, lease=reply.lease)
        permit.renewal = asyncio.create_task(self._renew(permit))
        return permit

    async def _wait_for_leader(self, key: str, deadline: float) -> Reply | None:
        """Query again whenever the key changes while another gateway calls the provider, and at intervals."""
        async with self._changes(key) as changed:
            while True:
                changed.clear()
                reply = await self._request(cache_protocol.LOOKUP, Lookup(key, lease=True))
                if reply is None or reply.kind != HELD:
                    return reply
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    self.outcomes[GAVE_UP] += 1
                    return None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), min(POLL_S, remaining))

    @contextlib.asynccontextmanager
    async def _changes(self, key: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever the service announces a change of a key."""
        changed = asyncio.Event()

        async def on_change(_: Msg) -> None:
            changed.set()

        subscription: Subscription | None = None
        with contextlib.suppress(NatsError, OSError):
            if self._requester is not None:
                subject = f"{cache_protocol.CHANGED}.{cache_protocol.digest(key)}"
                subscription = await self._requester.nc.subscribe(subject, cb=on_change)
        try:
            yield changed
        finally:
            if subscription is not None:
                with contextlib.suppress(NatsError, OSError):
                    await subscription.unsubscribe()

    async def _renew(self, permit: Permit) -> None:
        """Renew the lease until the permit is completed. Await it before using the lease: a renewal changes it."""
        while permit.lease:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(permit.completed.wait(), RENEW_S)
                return
            reply = await self._request(cache_protocol.RENEW, Lease(permit.key, permit.lease))
            if reply is not None:  # refused if it expired, and may belong to another gateway by now
                permit.lease = reply.lease if reply.kind == LEASED else 0

    async def _complete(self, permit: Permit, make: Callable[[], Entry | None], *, ttl: int, retry: bool) -> None:
        entry: Entry | None = None
        try:
            entry = make()
        finally:
            if permit.flight is not None:
                self._land(permit.key, permit.flight, entry=entry, retry=retry)
            permit.completed.set()
        if permit.renewal is not None:
            await permit.renewal
        data = b"" if entry is None else cache_protocol.encode(entry)
        if 0 < len(data) <= cache_protocol.LARGEST_ENTRY:
            store = Store(permit.key, data, ttl, permit.lease)
            reply = await self._request(cache_protocol.STORE, store, seconds=self._store_timeout)
            stored = reply is not None and reply.kind == STORED
            self.stored += stored
            self.refused += not stored
        elif permit.lease:
            await self._request(cache_protocol.RELEASE, Lease(permit.key, permit.lease))

    def _land(self, key: str, flight: _Flight, *, entry: Entry | None, retry: bool) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        flight.finish(entry=entry, retry=retry)

    async def _request(self, subject: str, query: msgspec.Struct, *, seconds: float = 0) -> Reply | None:
        """The service's reply; None on a timeout, without a service, or while the breaker is open."""
        requester = self._requester
        if self.breaker.refuses():
            self.outcomes[BROKEN] += 1
            return None
        if requester is None or not requester.nc.is_connected:
            self.outcomes[UNAVAILABLE] += 1
            return None
        try:
            data = cache_protocol.encode(query)
            reply = _reply(await requester.request(subject, data, seconds=seconds or self._timeout))
        except TimeoutError:  # base class of nats-py's own
            self.breaker.record_timeout()
            self.outcomes[TIMEOUT] += 1
            return None
        except (NoRespondersError, NatsError, OSError, msgspec.MsgspecError):
            self.outcomes[UNAVAILABLE] += 1
            return None
        self.breaker.record_reply()
        return reply


def _decode_entry(data: bytes) -> Entry | None:
    try:
        return _entry(data)
    except msgspec.MsgspecError:
        log.error("a cache entry cannot be decoded")
        return None


_entry = msgspec.msgpack.Decoder(Entry).decode
_reply = msgspec.msgpack.Decoder(Reply).decode
