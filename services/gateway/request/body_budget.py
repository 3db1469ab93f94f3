"""Memory and time that request bodies may take: a budget for all together, a share per account, a moving deadline."""

import asyncio
from collections import Counter
from collections.abc import Callable

import aiohttp
from aiohttp import web

from services.gateway.request.errors import CLIENT_LEFT, Refusal

SMALL = 64 << 10  # bytes of a body that does not wait for room: it gets it or is refused, and is free if it is here
_LEAST_PROGRESS = 64 << 10  # bytes that have to come within a deadline for it to move on
_STEP = 1 << 20  # bytes by which the room of a body of unknown length grows
_MOST_WAITING = 256  # bodies that wait for room; each holds what has come of it, at most some 100 KB


class Reservation:
    """Room in the budget, until it is released."""

    __slots__ = ("_account", "_budget", "size")

    def __init__(self, budget: "BodyBudget", account: str, size: int) -> None:
        self._budget = budget
        self._account = account
        self.size = size

    def grow(self, size: int) -> None:
        """Reserve more for a body whose length nobody stated; Refusal 503 where there is no room."""
        if size > self.size:
            self._budget.grow(self._account, size - self.size)
            self.size = size

    def release(self) -> None:
        """Give the room back; a second time does nothing."""
        self._budget.give_back(self._account, self.size)
        self.size = 0


class Pace:
    """Deadline of a body: it moves on when enough has come since."""

    __slots__ = ("_due", "_got", "_loop", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._due = self._loop.time() + seconds
        self._got = 0

    async def read(self, content: aiohttp.StreamReader) -> bytes:
        """The next piece of a body, b"" at its end.

        Refusal 408 when it comes too slowly, 400 when it is wrongly framed, 499 when the client leaves.
        """
        try:
            async with asyncio.timeout_at(self._due):
                data = await content.readany()
        except TimeoutError:
            raise Refusal(408, "body_timeout", "The request's body did not arrive in time.") from None
        except (aiohttp.ClientError, web.RequestPayloadError):
            raise Refusal(400, "broken_body", "The request's body broke off or is wrongly framed.") from None
        except ConnectionError:
            raise Refusal(CLIENT_LEFT, "client_closed", "The client left before its request was whole.") from None
        self._got += len(data)
        if self._got >= _LEAST_PROGRESS:
            self._got = 0
            self._due = self._loop.time() + self._seconds
        return data


class BodyBudget:
    """What all request bodies that are held in memory may take together, and one account half of it.

    A body has its room from its first byte until it is sent. One that does not fit waits: what is let in comes whole.
    """

    def __init__(self, max_bytes: int, *, seconds: float) -> None:
        self._max_bytes = max_bytes
        self.seconds = seconds
        self.used = 0
        self.refused = 0
        self._accounts: Counter[str] = Counter()
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []

    def pace(self) -> Pace:
        """The deadline of a body that begins now."""
        return Pace(self.seconds)

    def hold(self, account: str, size: int) -> Reservation:
        """Count a body that has come whole already: refusing it would free nothing sooner."""
        self._take(account, size)
        return Reservation(self, account, size)

    async def reserve(self, account: str, size: int) -> Reservation:
        """Room for a body of `size` bytes that is still to come; Refusal 503 when there is none in time."""
        if not self._fits(account, size):
            if size <= SMALL or len(self._waiting) >= _MOST_WAITING:
                raise self._full()
            waiter = (account, size, asyncio.get_running_loop().create_future())
            self._waiting.append(waiter)
            try:
                async with asyncio.timeout(self.seconds):
                    await waiter[2]
            except TimeoutError:
                if not waiter[2].done() or waiter[2].cancelled():
                    raise self._full() from None
            except asyncio.CancelledError:
                if waiter[2].done() and not waiter[2].cancelled():
                    self.give_back(account, size)
                raise
            finally:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
        else:
            self._take(account, size)
        return Reservation(self, account, size)

    async def read(
        self, request: web.BaseRequest, *, account: str, limit: int, reserved: Callable[[Reservation], None]
    ) -> bytes:
        """The whole body of a request. Refusal 503 without room, 413 above `limit`, 408 or 400 when it does not come.

        `reserved` gets the reservation as soon as it is made; releasing it is up to the caller, whatever happens.
        """
        length = request.content_length
        reservation = await self.reserve(account, SMALL if length is None else length)
        reserved(reservation)
        pace = self.pace()
        pieces: list[bytes] = []
        size = 0
        while data := await pace.read(request.content):
            size += len(data)
            if size > limit:
                raise too_large(limit)
            if size > reservation.size:
                reservation.grow(size + _STEP)
            pieces.append(data)
        return b"".join(pieces)

    def grow(self, account: str, size: int) -> None:
        """Take more room without waiting, for what holds some already must not wait for others that do."""
        if not self._fits(account, size):
            raise self._full()
        self._take(account, size)

    def give_back(self, account: str, size: int) -> None:
        """Free room, and let in what has waited for it."""
        self.used -= size
        self._accounts[account] -= size
        if not self._accounts[account]:
            del self._accounts[account]
        if self._waiting and size:
            self._let_in()

    def _let_in(self) -> None:
        for waiter in list(self._waiting):
            account, size, future = waiter
            if not future.done() and self._fits(account, size):
                self._take(account, size)
                self._waiting.remove(waiter)
                future.set_result(None)

    def _take(self, account: str, size: int) -> None:
        self.used += size
        self._accounts[account] += size

    def _fits(self, account: str, size: int) -> bool:
        own = self._accounts.get(account, 0)
        total = self.used + size <= self._max_bytes or not self.used
        return total and (own + size <= self._max_bytes // 2 or not own)

    def _full(self) -> Refusal:
        self.refused += 1
        return Refusal(
            503, "body_budget_full", "The gateway holds as many request bodies as it may; try again.", retry_after=1
        )


def too_large(limit: int) -> Refusal:
    """The refusal of a body that is larger than one may be."""
    return Refusal(413, "body_too_large", f"JSON bodies of at most {limit} bytes are taken.")
