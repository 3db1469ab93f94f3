"""Reservations of scarce budgets, in counters that all gateways share.

A reservation is raised before the figure is read, and lowered only after a figure that includes the request has been
published: whoever reads the figure after raising sees each request in one of the two.

Each budget has a counter for each minute, of which the present one and its neighbours count. A gateway moves what it
has reserved on to the present minute, so what a killed gateway has left drops out after two minutes.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable

import msgspec
from nats.aio.client import Client
from nats.js.errors import APIError, NotFoundError

from shared.limits import spend
from shared.limits.model import RATE_SUBJECT
from shared.limits.spend import SPEND_STREAM, SPEND_SUBJECT, Used

log = logging.getLogger(__name__)

_SUBJECT = f"{RATE_SUBJECT}-reserved."  # + counter.minute; no account's name begins with -
MINUTE_SECONDS = 60
TIMEOUT_SECONDS = 0.5  # for which a request waits for NATS
REST_SECONDS = 1.0  # after a failure, in which only requests that cannot do without NATS wait for it
_RETRY_SECONDS = 0.25
_REPEAT_SECONDS = 50.0  # less than the stream's duplicate window
_MOVE_SECONDS = 5.0  # between two looks for reservations of another minute


class Unavailable(Exception):
    """NATS did not respond in time."""


class _Debt(msgspec.Struct):
    """Units of a minute's counter to be given back, under an id that NATS counts once."""

    counter: str
    minute: int
    units: int
    id: str
    raised_id: str = ""  # of the reservation, if NATS may not have counted it: it is repeated first
    until: float = 0.0  # monotonic time until which repeated messages are recognised; 0: none was sent


class Reservations:
    """Raises and lowers the shared counters.

    What stays uncertain is left raised: the budget is then too small for up to two minutes, never too large.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since the epoch; clocks of gateways may differ by less than a minute."""
        self._clock = clock
        self._nc: Client | None = None
        self._debts: deque[_Debt] = deque()
        self._unsent: dict[tuple[str, int], _Debt] = {}  # of these, those that more can be added to
        self._own: defaultdict[str, Counter[int]] = defaultdict(Counter)  # reserved here: units by counter and minute
        self._restored: set[tuple[str, int]] = set()  # counters that NATS had lost, being raised again
        self._giving: asyncio.Task[None] | None = None
        self._retry_at = 0.0  # after a failure; 0: NATS responds

    def attach(self, nc: Client | None) -> None:
        """Use a connection to NATS, or none."""
        self._nc = nc

    def own(self, counter: str) -> int:
        """What is reserved by this gateway."""
        return self._own[counter].total() if counter in self._own else 0

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
        is_raised = False
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                minute, total = await self._raise(nc, counter, units)
                is_raised = True
                own = self.own(counter)  # now: those who come later are not in the way of this request
                before, after, used = await asyncio.gather(
                    self._total(nc, counter, minute - 1),
                    self._total(nc, counter, minute + 1),
                    self._newest(nc, counter),
                )
        except BaseException as error:
            if is_raised:
                self.give_back(counter, units)
            if not isinstance(error, Exception):
                raise
            if not self._retry_at:
                log.warning("a budget cannot be checked with all gateways: %s", type(error).__name__)
            self._retry_at = time.monotonic() + REST_SECONDS
            raise Unavailable from None
        self._retry_at = 0.0
        return max(before + total + after, own), used

    async def _raise(self, nc: Client, counter: str, units: int) -> tuple[int, int]:
        """Raise this minute's counter; returns the minute and the counter's total.

        After a failure it is lowered again, as NATS may have counted it.
        """
        minute = self._minute()
        until = time.monotonic() + _REPEAT_SECONDS
        debt = _Debt(counter, minute, units, uuid.uuid4().hex, raised_id=uuid.uuid4().hex, until=until)
        try:
            total = await self._change(nc, counter, minute, units, change_id=debt.raised_id)
        except BaseException as error:
            if not isinstance(error, APIError):
                self._owe(debt)
            raise
        self._own[counter][minute] += units
        return minute, self._restore(counter, minute, total)

    def _minute(self) -> int:
        return int(self._clock()) // MINUTE_SECONDS

    def give_back(self, counter: str, units: int) -> None:
        """Lower a counter, that of the farthest minute first, as soon as NATS allows."""
        own = self._own[counter]
        present = self._minute()
        for minute in sorted(own, key=lambda one: -abs(one - present)):
            part = min(units, own[minute])
            units -= part
            own[minute] -= part
            if not own[minute]:
                del own[minute]
            self._owe_more(counter, minute, part)
            if not units:
                break
        if not own:
            del self._own[counter]

    def _owe_more(self, counter: str, minute: int, units: int) -> None:
        debt = self._unsent.get((counter, minute))
        if debt is None:
            debt = self._unsent[counter, minute] = _Debt(counter, minute, 0, uuid.uuid4().hex)
            self._owe(debt)
        debt.units += units

    def _owe(self, debt: _Debt) -> None:
        self._debts.append(debt)
        if self._giving is None or self._giving.done():
            self._giving = asyncio.ensure_future(self._give_back())

    def _restore(self, counter: str, minute: int, total: int) -> int:
        """Raise a counter that is below what is reserved here: NATS has lost it.

        `total`: what it has just said. Returns what it should have said at least.
        """
        own = self._own[counter][minute] if counter in self._own else 0
        if total < own and (counter, minute) not in self._restored:
            self._restored.add((counter, minute))
            self._owe(_Debt(counter, minute, total - own, uuid.uuid4().hex))
        return max(total, own)

    @staticmethod
    async def _change(nc: Client, counter: str, minute: int, by: int, *, change_id: str) -> int:
        headers = {"Nats-Incr": str(by), "Nats-Msg-Id": change_id}
        subject = f"{_SUBJECT}{counter}.{minute}"
        ack = await nc.jetstream(timeout=TIMEOUT_SECONDS).publish(subject, b"", headers=headers)
        return int(ack.val or 0)

    @classmethod
    async def _total(cls, nc: Client, counter: str, minute: int) -> int:
        """Read a minute's counter.

        Raised by 0: unlike a read, that is answered by the stream's leader, who knows the last total.
        """
        return await cls._change(nc, counter, minute, 0, change_id=uuid.uuid4().hex)

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
                self._restored.discard((debt.counter, debt.minute))

    async def _pay(self, debt: _Debt) -> None:
        nc = self._nc
        if nc is None or not nc.is_connected:
            raise Unavailable
        if debt.raised_id:
            await self._change(nc, debt.counter, debt.minute, debt.units, change_id=debt.raised_id)
            debt.raised_id = ""
            debt.until = 0.0
        if self._unsent.get((debt.counter, debt.minute)) is debt:
            del self._unsent[debt.counter, debt.minute]
        debt.until = debt.until or time.monotonic() + _REPEAT_SECONDS
        total = await self._change(nc, debt.counter, debt.minute, -debt.units, change_id=debt.id)
        self._restore(debt.counter, debt.minute, total)

    async def keep_alive(self) -> None:
        """Keep reservations of long requests visible to other gateways, until cancelled."""
        while True:
            await asyncio.sleep(_MOVE_SECONDS)
            await self.move()

    async def move(self) -> None:
        """Move what is reserved on to the present minute; what fails is tried again."""
        for counter, own in list(self._own.items()):
            units = own.total() - own[self._minute()]
            if not units or self._nc is None or not self._nc.is_connected:
                continue
            with contextlib.suppress(Exception):
                await self._raise(self._nc, counter, units)  # twice for a moment rather than not at all
                self.give_back(counter, units)
