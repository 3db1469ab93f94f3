"""Permits of one limit within one minute, leased from NATS."""

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

PREFETCH_SHARE = 100  # a lease ahead of need is at most this part of the limit
TIMEOUT_SECONDS = 0.05  # for which a request waits for NATS
RETRY_SECONDS = 0.25  # between two attempts while NATS does not respond
CLOSED_SECONDS = (0.05, 1.0)  # for which a used-up window refuses without asking NATS: at least and at most
MINUTE_SECONDS = 60


class Counter(Protocol):
    """A limit's counter, shared by all gateways: services.gateway.limits.counters."""

    async def add(self, by: int) -> int:
        """Raise this minute's counter and return its new total; raises without NATS."""
        ...

    async def previous(self) -> int:
        """Return the total of the minute before."""
        ...


class Window:
    """One minute of one limit, sliding over the minute before.

    Of that minute counts the share that lies within the last 60 seconds. Each lease raises the shared counter; what the
    returned total shows beyond the limit is not granted but given back, so all gateways together grant exactly the
    limit. While NATS does not respond, this gateway grants its share of the limit on its own and adds it to the counter
    with its next lease.
    """

    __slots__ = (
        "_ahead",
        "_closed_for",
        "_closed_until",
        "_counted",
        "_counter",
        "_is_low",
        "_leasing",
        "_low",
        "_now",
        "_owed",
        "_permits",
        "_previous",
        "_retry_at",
        "_share",
        "_total",
        "_waiting",
        "allowed_alone",
        "granted_alone",
        "limit",
        "start",
    )

    def __init__(
        self, limit: int, *, start: int, counter: Counter, share: Callable[[int], int], ahead: int = 1
    ) -> None:
        """`start`: of the minute, in seconds since the epoch. `ahead`: permits of the first lease."""
        self.limit = limit
        self.start = start
        self.granted_alone = 0  # permits granted while NATS did not respond
        self.allowed_alone = 0  # requests that got them
        self._counter = counter
        self._share = share
        self._now = float(start)  # when a permit was last wanted
        self._permits = 0
        self._ahead = ahead  # permits to lease at a time: doubled with each lease, up to a part of the limit
        self._low = self._lowest()  # with fewer permits than that, more are leased ahead of need
        self._is_low = False  # permits are to be leased although nobody waits
        self._total = 0  # of the counter, as far as known
        self._previous: int | None = None  # total of the minute before; None: not known yet
        self._counted = 0  # what this gateway has added to the counter: less in it means that NATS has lost it
        self._owed = 0  # what the counter does not know: permits granted alone, or, below 0, to be given back
        self._closed_until = 0.0  # requests for `_closed_for` permits or more are refused until then
        self._closed_for = 1
        self._retry_at = 0.0
        self._waiting: list[tuple[int, asyncio.Future[bool]]] = []
        self._leasing: asyncio.Task[None] | None = None

    @property
    def ahead(self) -> int:
        """Permits that are leased at a time."""
        return self._ahead

    def take_leased(self, now: float, amount: int = 1) -> bool:
        """Take permits that are there; False if they have to be leased.

        `now`: seconds since the epoch.
        """
        if self._permits < amount:
            return False
        self._permits -= amount
        if self._permits < self._low and now >= self._closed_until:
            self._now = now
            self._is_low = True
            self._schedule_lease()  # ahead of need, so that hardly a request waits
        return True

    async def take(self, now: float, amount: int = 1) -> bool:
        """Take permits; False if the limit is reached. `now`: seconds since the epoch."""
        if self.take_leased(now, amount):
            return True
        if now < self._closed_until and amount >= self._closed_for:
            return False
        loop = asyncio.get_running_loop()
        if loop.time() < self._retry_at:
            return self._take_alone(amount)
        self._now = now
        waiting: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((amount, waiting))
        self._schedule_lease()
        return await waiting

    def put_back(self, amount: int) -> None:
        """Return permits that were not needed after all."""
        self._permits += amount
        self._closed_until = min(self._closed_until, self._now)
        self._return_surplus(above=2 * self._ahead)  # not each time: it takes a message to NATS
        if self._owed:
            self._schedule_lease()

    def take_more(self, amount: int) -> None:
        """Count permits that were used without having been taken, even beyond the limit."""
        own = min(amount, self._permits)
        self._permits -= own
        self._owed += amount - own
        self._total += amount - own
        if self._owed:
            self._schedule_lease()

    async def close(self) -> None:
        """Give all unused permits back to the other gateways."""
        if self._leasing is not None:
            await self._leasing
        self._owed -= self._permits
        self._permits = 0
        self._is_low = False
        if self._owed:
            await self._lease()

    def remaining(self, now: float) -> int:
        """Permits that are left, as far as this gateway knows."""
        left = (self._cap(now) if self._previous else self.limit) - self._total
        return left + self._permits if left > 0 else self._permits

    async def ask_remaining(self, now: float) -> int:
        """Permits that are left by the shared counter.

        Without NATS, as far as this gateway knows.
        """
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                previous, total = await asyncio.gather(self._counter.previous(), self._counter.add(0))
        except Exception:  # whatever is wrong with NATS
            return self.remaining(now)
        if self._previous is None:
            self._previous = min(max(previous, 0), self.limit)
        return max(self._cap(now) - total - self._owed, 0) + self._permits

    def opens_at(self, now: float, amount: int = 1) -> float:
        """Seconds since the epoch at which so many permits will be left, if none is taken."""
        missing = amount - self._permits
        room = self.limit - self._total - missing
        if room >= 0:
            previous = self._previous or 0
            slid = MINUTE_SECONDS - MINUTE_SECONDS * (room + 1) / previous if previous else 0.0
            return max(self.start + slid, now)
        used = max(self._total, 1)
        slid = MINUTE_SECONDS - MINUTE_SECONDS * (self.limit - missing + 1) / used
        return self.start + MINUTE_SECONDS + max(slid, 0.0)

    def _cap(self, now: float) -> int:
        """Permits that this minute may have granted by now.

        A request passes while the weighted number of those before it is below the limit.
        """
        if not self._previous:
            return self.limit
        left = MINUTE_SECONDS * 1000 - min(max(int((now - self.start) * 1000), 0), MINUTE_SECONDS * 1000)
        return self.limit - self._previous * left // (MINUTE_SECONDS * 1000)

    def _take_alone(self, amount: int) -> bool:
        if self.granted_alone >= self._share(self.limit):
            return False
        self.granted_alone += amount
        self.allowed_alone += 1
        self._owed += amount
        self._total += amount
        return True

    def _schedule_lease(self) -> None:
        if self._leasing is None or self._leasing.done():
            self._leasing = asyncio.ensure_future(self._lease())

    async def _lease(self) -> None:
        """Lease permits until no request waits, and report uncounted ones to the counter."""
        size = self._wanted()
        while size or self._owed:
            owed = self._owed
            adding = asyncio.ensure_future(self._add(size + owed))
            await asyncio.wait({adding}, timeout=TIMEOUT_SECONDS)
            if not adding.done():
                self._retry_at = math.inf  # until the reply comes after all: what it grants must not be lost
                self._serve_waiting_alone()
            try:
                total = await adding
            except Exception:  # whatever is wrong with NATS is no reason to fail a request
                if owed < 0:
                    self._owed -= owed  # it may have been counted: giving it back twice would exceed the limit
                    self._counted += owed
                self._retry_at = asyncio.get_running_loop().time() + RETRY_SECONDS
                self._serve_waiting_alone()
                return
            self._retry_at = 0.0
            self._owed -= owed
            self._counted += size + owed
            self._grant(size, self._restored(total))
            size = self._wanted()

    def _restored(self, total: int) -> int:
        """Return a counter's total, raised to what this gateway has added; what NATS has lost of it is owed."""
        lost = self._counted - total
        if lost <= 0:
            return total
        self._counted = total
        self._owed += lost
        return total + lost

    async def _add(self, by: int) -> int:
        """Raise the counter, and learn the total of the minute before if it is unknown or has led to a refusal.

        That total may have been read while a gateway was still giving permits of that minute back.
        """
        if self._previous is None or self._closed_until:
            previous, total = await asyncio.gather(self._counter.previous(), self._counter.add(by))
            self._previous = min(max(previous, 0), self.limit)
            return total
        return await self._counter.add(by)

    def _wanted(self) -> int:
        """Number of permits to lease now; no more than seem to be left, but enough for one who waits."""
        self._waiting = [one for one in self._waiting if not one[1].done()]
        room = self._cap(self._now) - self._total
        if self._waiting:
            missing = sum([amount for amount, _ in self._waiting]) - self._permits
            return min(max(missing, self._ahead), max(room, self._waiting[0][0] - self._permits))
        is_low = self._is_low
        self._is_low = False
        return min(self._ahead, max(room, 0)) if is_low else 0

    def _lowest(self) -> int:
        return max(self._ahead // 2, min(self.limit // PREFETCH_SHARE, 1))

    def _grant(self, size: int, total: int) -> None:
        """Grant of a lease what lies below the limit, and serve those who wait."""
        others = total - size
        granted = min(max(self._cap(self._now) - others, 0), size)
        self._permits += granted
        self._owed -= size - granted
        self._total = others + granted
        if size:
            self._ahead = max(min(self._ahead * 2, self.limit // PREFETCH_SHARE), 1)
            self._low = self._lowest()
        refused = []
        for amount, waiting in self._waiting:
            if waiting.done():
                continue
            if amount <= self._permits:
                self._permits -= amount
                waiting.set_result(True)
            elif granted < size:
                refused.append((amount, waiting))
        if granted == size:
            if size:
                self._closed_until = 0.0
            self._return_surplus(above=2 * self._ahead)  # those for whom it was may have got permits alone
            return
        self._return_surplus(above=self._ahead)
        self._closed_for = min([amount for amount, _ in refused], default=1)
        shortest, longest = CLOSED_SECONDS
        opens_in = self.opens_at(self._now, self._closed_for) - self._now
        self._closed_until = self._now + min(max(opens_in, shortest), longest)
        for _, waiting in refused:
            waiting.set_result(False)

    def _return_surplus(self, *, above: int) -> None:
        """If there are more permits than that, owe the counter those that exceed what is leased ahead."""
        if self._permits > above:
            surplus = self._permits - self._ahead
            self._permits -= surplus
            self._owed -= surplus
            self._total -= surplus

    def _serve_waiting_alone(self) -> None:
        waiting, self._waiting = self._waiting, []
        for amount, future in waiting:
            if not future.done():
                future.set_result(self._take_alone(amount))
