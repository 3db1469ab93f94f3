"""Memory and time limits of request bodies: a shared budget and a moving deadline."""

import asyncio
import io
from collections import Counter, deque
from collections.abc import Callable

import aiohttp
import msgspec
from aiohttp import web

from services.gateway.request.errors import CLIENT_LEFT, Refusal

SMALL = 64 << 10  # bytes of a body that never waits for room, and needs none if it has arrived already
_LEAST_PROGRESS = 64 << 10  # bytes that must arrive before the deadline to extend it
_STEP = 1 << 20  # bytes by which the reservation of a body of unknown length grows
_CONNECTION = 32 << 10  # memory of a waiting request besides its body
_LEAST_WAITING = 32 << 20  # minimum for waiting bodies, however small the budget is


class Reservation:
    """A share of the budget, until it is released."""

    __slots__ = ("_account", "_budget", "size")

    def __init__(self, budget: "BodyBudget", account: str, size: int) -> None:
        self._budget = budget
        self._account = account
        self.size = size

    def grow(self, size: int) -> None:
        """Reserve more for a body of unknown length; Refusal 503 if there is no room."""
        if size > self.size:
            self._budget.grow(self._account, size - self.size)
            self.size = size

    def release(self) -> None:
        """Return the room to the budget; a second call does nothing."""
        self._budget.give_back(self._account, self.size)
        self.size = 0


class Pace:
    """Deadline of one body: it moves on with every 64 KB that arrive."""

    __slots__ = ("_due", "_got", "_loop", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._due = self._loop.time() + seconds
        self._got = 0

    async def read(self, content: aiohttp.StreamReader) -> bytes:
        """Read the next chunk of a body, b"" at its end.

        Refusal 408 if it is late, 400 if it is framed wrongly, 499 if the client disconnects.
        """
        try:
            async with asyncio.timeout_at(self._due):
                data = await content.readany()
        except TimeoutError:
            raise Refusal(408, "body_timeout", "The request's body did not arrive in time.") from None
        except (aiohttp.ClientError, web.RequestPayloadError):
            raise Refusal(400, "broken_body", "The request's body is incomplete or incorrectly framed.") from None
        except ConnectionError:
            raise Refusal(CLIENT_LEFT, "client_closed", "The client disconnected during its request.") from None
        self._got += len(data)
        if self._got >= _LEAST_PROGRESS:
            self._got = 0
            self._due = self._loop.time() + self._seconds
        return data


class _Waiter(msgspec.Struct, eq=False):
    """A body that waits for room in the budget."""

    account: str
    size: int
    taken: int  # bytes of memory that it takes already
    admitted: asyncio.Future[None]


class BodyBudget:
    """Memory budget of all buffered request bodies: at most twice `max_bytes`.

    One half is for bodies that were admitted: they have their room from the first byte until they are sent. The other
    half is for what connections buffer of bodies that still wait for room. One account may use all of it but `reserve`,
    so that others are served at once. Waiting bodies of the accounts that hold least are admitted first.
    """

    def __init__(self, max_bytes: int, *, seconds: float, reserve: int) -> None:
        self._max_bytes = max_bytes
        self._max_waiting = max(max_bytes, _LEAST_WAITING)
        self._most_of_one = max_bytes - min(reserve, max_bytes // 2)
        self._most_waiting_of_one = self._max_waiting - min(reserve, self._max_waiting // 2)
        self.seconds = seconds
        self.reserved_bytes = 0
        self.refused = 0
        self._accounts: Counter[str] = Counter()
        self._waiting: dict[str, deque[_Waiter]] = {}
        self._waiting_bytes: Counter[str] = Counter()  # by account

    def pace(self) -> Pace:
        """Start the deadline of a body."""
        return Pace(self.seconds)

    def hold(self, account: str, size: int) -> Reservation:
        """Account for a body that has arrived already: refusing it would not help."""
        self._take(account, size)
        return Reservation(self, account, size)

    async def reserve(self, account: str, size: int, *, buffered: int = 0) -> Reservation:
        """Reserve room for a body of `size` bytes; Refusal 503 if there is none in time.

        `buffered`: bytes of it that have arrived already. No more of it may arrive while it waits.
        """
        if self._fits(account, size):
            self._take(account, size)
        elif size > SMALL and self._may_wait(account, buffered + _CONNECTION):
            admitted = asyncio.get_running_loop().create_future()
            await self._wait(_Waiter(account, size, buffered + _CONNECTION, admitted))
        else:
            raise self._full()
        return Reservation(self, account, size)

    async def _reserve_for(self, request: web.BaseRequest, *, account: str) -> Reservation:
        """Reserve room for a request's body. While it waits, nothing more of it is read than was counted."""
        size = SMALL if request.content_length is None else request.content_length
        if self._fits(account, size):
            return await self.reserve(account, size)
        request.protocol.pause_reading()
        try:
            return await self.reserve(account, size, buffered=request.content.total_bytes)
        finally:
            if request.transport is not None:
                request.protocol.resume_reading()

    async def _wait(self, waiter: _Waiter) -> None:
        """Wait until the room is reserved; Refusal 503 if there is none in time."""
        self._waiting.setdefault(waiter.account, deque()).append(waiter)
        self._waiting_bytes[waiter.account] += waiter.taken
        try:
            async with asyncio.timeout(self.seconds):
                await waiter.admitted
        except TimeoutError:
            if not waiter.admitted.done() or waiter.admitted.cancelled():
                raise self._full() from None
        except asyncio.CancelledError:
            if waiter.admitted.done() and not waiter.admitted.cancelled():
                self.give_back(waiter.account, waiter.size)
            raise
        finally:
            if self._leave(waiter):
                self._admit_waiting()  # those behind it may be small enough

    def _leave(self, waiter: _Waiter) -> bool:
        """Remove a waiter; False if it was removed before."""
        queue = self._waiting.get(waiter.account)
        if queue is None or waiter not in queue:
            return False
        queue.remove(waiter)
        self._waiting_bytes[waiter.account] -= waiter.taken
        if not queue:
            del self._waiting[waiter.account], self._waiting_bytes[waiter.account]
        return True

    async def read(
        self, request: web.BaseRequest, *, account: str, limit: int, reserved: Callable[[Reservation], None]
    ) -> bytes:
        """Read the whole body of a request.

        `reserved` gets the reservation as soon as it is made; the caller must release it, whatever happens. Refusal 503
        without room, 413 above `limit`, and those of `Pace.read`.
        """
        reservation = await self._reserve_for(request, account=account)
        reserved(reservation)
        pace = self.pace()
        body = io.BytesIO()  # at its end it gives its memory away; joined pieces would be in memory twice
        while data := await pace.read(request.content):
            size = body.tell() + len(data)
            if size > limit:
                raise too_large(limit)
            if size > reservation.size:
                reservation.grow(size + _STEP)
            body.write(data)
        return body.getvalue()

    def grow(self, account: str, size: int) -> None:
        """Reserve more without waiting, because a body that holds room must not wait."""
        if not self._fits(account, size):
            raise self._full()
        self._take(account, size)

    def give_back(self, account: str, size: int) -> None:
        """Return room, and admit bodies that wait for it."""
        self.reserved_bytes -= size
        self._accounts[account] -= size
        if not self._accounts[account]:
            del self._accounts[account]
        if self._waiting and size:
            self._admit_waiting()

    def _admit_waiting(self) -> None:
        """Admit waiters that fit now: first in, first out per account, accounts that hold least first."""
        for account in sorted(self._waiting, key=lambda name: self._accounts.get(name, 0)):
            queue = self._waiting[account]
            while queue and (queue[0].admitted.done() or self._fits(account, queue[0].size)):
                waiter = queue[0]
                self._leave(waiter)
                if not waiter.admitted.done():
                    self._take(account, waiter.size)
                    waiter.admitted.set_result(None)

    def _take(self, account: str, size: int) -> None:
        self.reserved_bytes += size
        self._accounts[account] += size

    def _fits(self, account: str, size: int) -> bool:
        own = self._accounts.get(account, 0)
        total = self.reserved_bytes + size <= self._max_bytes or not self.reserved_bytes
        return total and (own + size <= self._most_of_one or not own)

    def _may_wait(self, account: str, taken: int) -> bool:
        total = self._waiting_bytes.total() + taken
        own = self._waiting_bytes.get(account, 0) + taken
        return total <= self._max_waiting and own <= self._most_waiting_of_one

    def _full(self) -> Refusal:
        self.refused += 1
        return Refusal(
            503,
            "body_budget_full",
            "Too many request bodies are in memory; try again.",
            retry_after=1,
        )


def too_large(limit: int) -> Refusal:
    """Build the refusal of a body above the size limit."""
    return Refusal(413, "body_too_large", f"A JSON body may have at most {limit} bytes.")
