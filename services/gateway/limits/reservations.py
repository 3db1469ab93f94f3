"""Reservations of scarce budgets, in counters that all gateways share.

A reservation is raised before the figure is read, and lowered only after a figure that includes the request has been
published: whoever reads the figure after raising sees each request in one of the two.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections import Counter, deque

import msgspec
from nats.aio.client import Client
from nats.js.errors import APIError, NotFoundError

from shared.limits import spend
from shared.limits.model import RATE_SUBJECT
from shared.limits.spend import SPEND_STREAM, SPEND_SUBJECT, Used

log = logging.getLogger(__name__)

_SUBJECT = f"{RATE_SUBJECT}-reserved."  # + counter; no account's name begins with -
TIMEOUT_SECONDS = 0.5  # for which a request waits for NATS
REST_SECONDS = 1.0  # after a failure, in which only requests that cannot do without NATS wait for it
_RETRY_SECONDS = 0.25
_REPEAT_SECONDS = 50.0  # less than the stream's duplicate window
_REFRESH_SECONDS = 60.0  # counters expire after 200 s without a change


class Unavailable(Exception):
    """NATS did not respond in time."""


class _Debt(msgspec.Struct):
    """Units of a counter to be given back, under an id that NATS counts once."""

    counter: str
    units: int
    id: str
    raised_id: str = ""  # of the reservation, if NATS may not have counted it: it is repeated first
    until: float = 0.0  # monotonic time until which repeated messages are recognised; 0: none was sent


class Reservations:
    """Raises and lowers the shared counters.

    What stays uncertain is left raised: the budget is then too small until the counter expires, never too large.
    """

    def __init__(self) -> None:
        self._nc: Client | None = None
        self._debts: deque[_Debt] = deque()
        self._unsent: dict[str, _Debt] = {}  # of these, those that more can be added to
        self._own: Counter[str] = Counter()  # reserved here
        self._restored: set[str] = set()  # counters that NATS had lost, being raised again
        self._giving: asyncio.Task[None] | None = None
        self._retry_at = 0.0  # after a failure; 0: NATS responds

    def attach(self, nc: Client | None) -> None:
        """Use a connection to NATS, or none."""
        self._nc = nc

    def own(self, counter: str) -> int:
        """What is reserved by this gateway."""
        return self._own[counter]

    @property
    def is_any(self) -> bool:
        """Whether anything is reserved by this gateway, or still has to be given back."""
        return bool(self._own or self._debts)

    async def reserve(self, counter: str, units: int, *, is_needed: bool) -> tuple[int, Used | None]:
        """Reserve, and return what is reserved in all and the newest figure.

        Raises Unavailable if NATS is away or slow, and for a while after that unless it `is_needed`.
        """
        nc = self._nc
        now = time.monotonic()
        if nc is None or not nc.is_connected or (now < self._retry_at and not is_needed):
            raise Unavailable
        if self._retry_at:
            self._retry_at = now + REST_SECONDS  # one request tries, the others go on without
        debt = _Debt(counter, units, uuid.uuid4().hex, raised_id=uuid.uuid4().hex, until=now + _REPEAT_SECONDS)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                total = await self._change(nc, counter, units, change_id=debt.raised_id)
                debt.raised_id = ""
                self._own[counter] += units
                total = max(total, self._restore(counter, total))
                used = await self._newest(nc, counter)
        except BaseException as error:
            if not debt.raised_id:
                self.give_back(counter, units)
            elif not isinstance(error, APIError):  # NATS may have counted it
                self._owe(debt)
            if not isinstance(error, Exception):
                raise
            if not self._retry_at:
                log.warning("a budget cannot be checked with all gateways: %s", type(error).__name__)
            self._retry_at = time.monotonic() + REST_SECONDS
            raise Unavailable from None
        self._retry_at = 0.0
        return total, used

    def give_back(self, counter: str, units: int) -> None:
        """Lower a counter, as soon as NATS allows."""
        self._own[counter] -= units
        if not self._own[counter]:
            del self._own[counter]
        debt = self._unsent.get(counter)
        if debt is None:
            debt = self._unsent[counter] = _Debt(counter, 0, uuid.uuid4().hex)
            self._owe(debt)
        debt.units += units

    def _owe(self, debt: _Debt) -> None:
        self._debts.append(debt)
        if self._giving is None or self._giving.done():
            self._giving = asyncio.ensure_future(self._give_back())

    def _restore(self, counter: str, total: int) -> int:
        """Raise a counter that is below what is reserved here: NATS has lost it, or it has expired.

        `total`: what it has just said. Returns what is reserved here.
        """
        own = self._own[counter]
        if total < own and counter not in self._restored:
            self._restored.add(counter)
            self._owe(_Debt(counter, total - own, uuid.uuid4().hex))
        return own

    @staticmethod
    async def _change(nc: Client, counter: str, by: int, *, change_id: str) -> int:
        headers = {"Nats-Incr": str(by), "Nats-Msg-Id": change_id}
        ack = await nc.jetstream(timeout=TIMEOUT_SECONDS).publish(_SUBJECT + counter, b"", headers=headers)
        return int(ack.val or 0)

    @staticmethod
    async def _newest(nc: Client, counter: str) -> Used | None:
        try:
            message = await nc.jetstream(timeout=TIMEOUT_SECONDS).get_last_msg(SPEND_STREAM, SPEND_SUBJECT + counter)
        except NotFoundError:
            return None
        return spend.decode_used(message.data or b"")

    async def _give_back(self) -> None:
        while self._debts:
            debt = self._debts[0]
            try:
                await self._pay(debt)
            except Exception:
                if not debt.until or time.monotonic() < debt.until:
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                log.warning("a reservation was not given back; it expires")
            self._debts.popleft()
            if debt.units < 0:
                self._restored.discard(debt.counter)

    async def _pay(self, debt: _Debt) -> None:
        nc = self._nc
        if nc is None or not nc.is_connected:
            raise Unavailable
        if debt.raised_id:
            await self._change(nc, debt.counter, debt.units, change_id=debt.raised_id)
            debt.raised_id = ""
            debt.until = 0.0
        if self._unsent.get(debt.counter) is debt:
            del self._unsent[debt.counter]
        debt.until = debt.until or time.monotonic() + _REPEAT_SECONDS
        total = await self._change(nc, debt.counter, -debt.units, change_id=debt.id)
        self._restore(debt.counter, total)

    async def keep_alive(self) -> None:
        """Keep the counters of long requests from expiring, until cancelled."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            for counter in list(self._own):
                with contextlib.suppress(Exception):
                    if self._nc is not None and self._nc.is_connected:
                        self._restore(counter, await self._change(self._nc, counter, 0, change_id=uuid.uuid4().hex))
