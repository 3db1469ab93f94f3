"""The gateway's side of the cache: a key goes in; a kept answer, or leave to call the provider, comes out.

Nobody waits for a broken cache: a question is given 250 ms, and after repeated silence none is asked for a while.
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

from shared import cache_protocol
from shared.cache_protocol import HELD, HIT, LEASED, STORED, Lease, Lookup, Reply, Store
from shared.events import Evidence

log = logging.getLogger(__name__)

ANSWER_S = 0.25  # how long the service may take to answer, unless set
STORE_S = 2.0  # nobody waits for a store but the requests that are alike
WAIT_S = 60.0  # how long a request waits for one that is alike
LOOK_S = 0.25  # between two looks whether the one that is waited for was killed
RENEW_S = 1.0  # between two renewals of a lease

SILENCES = 5  # unanswered questions in a row that open the breaker
OPEN_S = 5.0  # how long no question is asked then

# What became of a question, for the metrics.
TIMEOUT, UNAVAILABLE, BROKEN, WAITED, GAVE_UP = "timeout", "unavailable", "broken", "waited", "gave_up"
OUTCOMES = (HIT, LEASED, TIMEOUT, UNAVAILABLE, BROKEN, WAITED, GAVE_UP)


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A kept answer, as its provider sent it, uncompressed. Append-only, as in shared.events."""

    status: int
    form: str  # services.gateway.cache.key: json, events, array
    content_type: str
    body: bytes
    evidence: Evidence  # what it said about money
    usage: bool = False  # a chat stream that bears its usage chunk
    answered_at: float = 0.0  # Unix time


class Permit:
    """Leave to call the provider. With a lease others wait for what comes of it: `Cache.settle` must end it."""

    __slots__ = ("flight", "key", "lease", "over", "renewing")

    def __init__(self, key: str, *, flight: "_Flight | None" = None, lease: int = 0) -> None:
        self.key, self.flight, self.lease = key, flight, lease
        self.over = asyncio.Event()  # the provider has answered
        self.renewing: asyncio.Task[None] | None = None


class _Flight:
    """Requests of this gateway that are alike: one asks the cache or the provider, the others wait for `ended`.

    Then there is an `entry`; or none, and those who waited call the provider themselves; or, with `again`, one of
    them takes the place of the one that gave up.
    """

    __slots__ = ("again", "ended", "entry")

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.entry: Entry | None = None
        self.again = False

    def end(self, *, entry: Entry | None = None, again: bool = False) -> None:
        self.entry, self.again = entry, again
        self.ended.set()


class Breaker:
    """Opens after silences in a row: nothing is asked then, but one question now and then that tries."""

    def __init__(self) -> None:
        self._silences, self._until = 0, 0.0

    @property
    def open(self) -> bool:
        """Whether the service counts as broken."""
        return self._silences >= SILENCES

    def refuses(self) -> bool:
        """Whether this question is not to be asked."""
        if not self.open:
            return False
        now = time.monotonic()
        if now < self._until:
            return True
        self._until = now + OPEN_S  # this one tries, the others go on without
        return False

    def answered(self) -> None:
        """The service lives."""
        self._silences = 0

    def silent(self) -> None:
        """A question stayed without an answer."""
        self._silences += 1
        if self._silences == SILENCES:
            self._until = time.monotonic() + OPEN_S


class CacheClient:
    """Kept answers and single flight. Works, as an always empty cache, without NATS too."""

    def __init__(self, *, wait: float = WAIT_S, answer: float = ANSWER_S) -> None:
        """`wait`: seconds for a request that is alike; `answer`: seconds for an answer of the service."""
        self._nc: Client | None = None
        self._wait, self._answer = wait, answer
        self._flights: dict[str, _Flight] = {}
        self._settling: set[asyncio.Task[None]] = set()
        self.breaker = Breaker()
        self.outcomes: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self.stored = self.refused = 0

    def attach(self, nc: Client | None) -> None:
        """Ask over this connection from now on; over none with None."""
        self._nc = nc

    @property
    def flights(self) -> int:
        """Answers that are being fetched and that requests alike would wait for."""
        return len(self._flights)

    async def obtain(self, key: str) -> Entry | Permit:
        """The kept answer, or leave to call the provider. Waits at most `wait` seconds for a request that is alike."""
        deadline = time.monotonic() + self._wait
        while (flight := self._flights.get(key)) is not None:
            try:
                await asyncio.wait_for(flight.ended.wait(), max(deadline - time.monotonic(), 0))
            except TimeoutError:
                self.outcomes[GAVE_UP] += 1
                return Permit(key)
            if flight.entry is not None:
                self.outcomes[WAITED] += 1
                return flight.entry
            if not flight.again:
                return Permit(key)
        flight = self._flights[key] = _Flight()
        found: Entry | Permit | None = None
        try:
            found = await self._lead(key, flight, deadline)
            return found
        finally:
            if not (isinstance(found, Permit) and found.flight is flight):
                entry = found if isinstance(found, Entry) else None
                self._end(key, flight, entry=entry, again=found is None)

    def settle(self, ticket: Permit, make: Callable[[], Entry | None], *, ttl: int, again: bool = False) -> None:
        """The provider was called. In the background: keep for `ttl` seconds what `make` makes of its answer, free the
        lease, wake who waits.

        `again`: nothing is kept, but another request that is alike may have more luck.
        """
        task = asyncio.create_task(self._settle(ticket, make, ttl=ttl, again=again))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def close(self, seconds: float = STORE_S) -> None:
        """Give what is being kept its time."""
        if self._settling:
            await asyncio.wait(set(self._settling), timeout=seconds)

    async def _lead(self, key: str, flight: _Flight, deadline: float) -> Entry | Permit:
        """Ask the service, until it has the answer, grants the lease or is no help."""
        reply = await self._ask(cache_protocol.LOOKUP, Lookup(key, lease=True))
        waited = reply is not None and reply.kind == HELD
        if waited:
            reply = await self._outwait(key, deadline)
        if reply is not None and reply.kind == HIT and (entry := _readable(reply.entry)) is not None:
            self.outcomes[WAITED if waited else HIT] += 1
            return entry
        if reply is None or reply.kind != LEASED:
            return Permit(key)
        self.outcomes[LEASED] += 1
        ticket = Permit(key, flight=flight, lease=reply.lease)
        ticket.renewing = asyncio.create_task(self._renew(ticket))
        return ticket

    async def _outwait(self, key: str, deadline: float) -> Reply | None:
        """Somebody else calls the provider: ask again when that came to something, and now and then in case it died."""
        async with self._changes(key) as changed:
            while True:
                changed.clear()
                reply = await self._ask(cache_protocol.LOOKUP, Lookup(key, lease=True))
                if reply is None or reply.kind != HELD:
                    return reply
                left = deadline - time.monotonic()
                if left <= 0:
                    self.outcomes[GAVE_UP] += 1
                    return None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), min(LOOK_S, left))

    @contextlib.asynccontextmanager
    async def _changes(self, key: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever the service says that something happened under a key."""
        changed = asyncio.Event()

        async def heard(_: Msg) -> None:
            changed.set()

        subscription: Subscription | None = None
        with contextlib.suppress(NatsError, OSError):
            if self._nc is not None:
                subscription = await self._nc.subscribe(
                    f"{cache_protocol.CHANGED}.{cache_protocol.digest(key)}", cb=heard
                )
        try:
            yield changed
        finally:
            if subscription is not None:
                with contextlib.suppress(NatsError, OSError):
                    await subscription.unsubscribe()

    async def _renew(self, ticket: Permit) -> None:
        """Hold the lease until the ticket is over; a renewal under way is waited for, for it changes the number."""
        while ticket.lease:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ticket.over.wait(), RENEW_S)
                return
            reply = await self._ask(cache_protocol.RENEW, Lease(ticket.key, ticket.lease))
            if reply is not None:  # refused: it expired, and may be another's by now
                ticket.lease = reply.lease if reply.kind == LEASED else 0

    async def _settle(self, ticket: Permit, make: Callable[[], Entry | None], *, ttl: int, again: bool) -> None:
        entry: Entry | None = None
        try:
            entry = make()
        finally:
            if ticket.flight is not None:
                self._end(ticket.key, ticket.flight, entry=entry, again=again)
            ticket.over.set()
        if ticket.renewing is not None:
            await ticket.renewing
        data = b"" if entry is None else cache_protocol.encode(entry)
        if 0 < len(data) <= cache_protocol.LARGEST_ENTRY:
            reply = await self._ask(cache_protocol.STORE, Store(ticket.key, data, ttl, ticket.lease), seconds=STORE_S)
            kept = reply is not None and reply.kind == STORED
            self.stored += kept
            self.refused += not kept
        elif ticket.lease:
            await self._ask(cache_protocol.RELEASE, Lease(ticket.key, ticket.lease))

    def _end(self, key: str, flight: _Flight, *, entry: Entry | None, again: bool) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        flight.end(entry=entry, again=again)

    async def _ask(self, subject: str, question: msgspec.Struct, *, seconds: float = 0) -> Reply | None:
        """The service's reply; None when there is none in time, nobody to ask, or the breaker is open."""
        nc = self._nc
        if self.breaker.refuses():
            self.outcomes[BROKEN] += 1
            return None
        if nc is None or not nc.is_connected:
            self.outcomes[UNAVAILABLE] += 1
            return None
        try:
            message = await nc.request(subject, cache_protocol.encode(question), timeout=seconds or self._answer)
            reply = _reply(message.data)
        except TimeoutError:  # nats-py's own is one
            self.breaker.silent()
            self.outcomes[TIMEOUT] += 1
            return None
        except (NoRespondersError, NatsError, OSError, msgspec.MsgspecError):
            self.outcomes[UNAVAILABLE] += 1
            return None
        self.breaker.answered()
        return reply


def _readable(data: bytes) -> Entry | None:
    try:
        return _entry(data)
    except msgspec.MsgspecError:
        log.error("an entry of the cache cannot be read")
        return None


_entry = msgspec.msgpack.Decoder(Entry).decode
_reply = msgspec.msgpack.Decoder(Reply).decode
