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


class _Repayment(msgspec.Struct):
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
        self._repayments: deque[_Repayment] = deque()
        self._unsent: dict[tuple[str, int], _Repayment] = {}  # of these, those that more can be added to
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
        return bool(self._own or self._repayments)

    async def reserve(self, counter: str, units: int, *, is_needed: bool) -> tuple[int, Used | None]:
        """Reserve an amount; returns the total reserved and the newest figure.

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
        repayment = _Repayment(counter, minute, units, uuid.uuid4().hex, raised_id=uuid.uuid4().hex, until=until)
        try:
            total = await self._change(nc, counter, minute, units, change_id=repayment.raised_id) or 0
        except BaseException as error:
            if not isinstance(error, APIError):
                self._enqueue(repayment)
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
            self._add_repayment(counter, minute, part)
            if not units:
                break
        if not own:
            del self._own[counter]

    def _add_repayment(self, counter: str, minute: int, units: int) -> None:
        repayment = self._unsent.get((counter, minute))
        if repayment is None:
            repayment = self._unsent[counter, minute] = _Repayment(counter, minute, 0, uuid.uuid4().hex)
            self._enqueue(repayment)
        repayment.units += units

    def _enqueue(self, repayment: _Repayment) -> None:
        self._repayments.append(repayment)
        if self._giving is None or self._giving.done():
            self._giving = asyncio.ensure_future(self._give_back())

    def _restore(self, counter: str, minute: int, total: int) -> int:
        """Raise a counter that is below what is reserved here: NATS has lost it.

        `total`: what it has just said. Returns what it should have said at least.
        """
        own = self._own[counter][minute] if counter in self._own else 0
        if total < own and (counter, minute) not in self._restored:
            self._restored.add((counter, minute))
            self._enqueue(_Repayment(counter, minute, total - own, uuid.uuid4().hex))
        return max(total, own)

    @staticmethod
    async def _change(nc: Client, counter: str, minute: int, by: int, *, change_id: str) -> int | None:
        """Change a counter and return its total; None if NATS had counted this change already."""
        headers = {"Nats-Incr": str(by), "Nats-Msg-Id": change_id}
        subject = f"{_SUBJECT}{counter}.{minute}"
        ack = await nc.jetstream(timeout=TIMEOUT_SECONDS).publish(subject, b"", headers=headers)
        return None if ack.duplicate else int(ack.val or 0)

    @classmethod
    async def _total(cls, nc: Client, counter: str, minute: int) -> int:
        """Read a minute's counter.

        Raised by 0: unlike a read, that is answered by the stream's leader, who knows the last total.
        """
        return await cls._change(nc, counter, minute, 0, change_id=uuid.uuid4().hex) or 0

    @staticmethod
    async def _newest(nc: Client, counter: str) -> Used | None:
        try:
            message = await nc.jetstream(timeout=TIMEOUT_SECONDS).get_last_msg(SPEND_STREAM, SPEND_SUBJECT + counter)
        except NotFoundError:
            return None
        return spend.decode_used(message.data or b"")

    async def _give_back(self) -> None:
        while self._repayments:
            repayment = self._repayments[0]
            try:
                await self._repay(repayment)
            except Exception:
                if not repayment.until or time.monotonic() < repayment.until:
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                log.warning("a reservation was not released; it will expire")
            self._repayments.popleft()
            if repayment.units < 0:
                self._restored.discard((repayment.counter, repayment.minute))

    async def _repay(self, repayment: _Repayment) -> None:
        nc = self._nc
        if nc is None or not nc.is_connected:
            raise Unavailable
        if repayment.raised_id:
            await self._change(nc, repayment.counter, repayment.minute, repayment.units, change_id=repayment.raised_id)
            repayment.raised_id = ""
            repayment.until = 0.0
        if self._unsent.get((repayment.counter, repayment.minute)) is repayment:
            del self._unsent[repayment.counter, repayment.minute]
        repayment.until = repayment.until or time.monotonic() + _REPEAT_SECONDS
        total = await self._change(nc, repayment.counter, repayment.minute, -repayment.units, change_id=repayment.id)
        if total is not None:
            self._restore(repayment.counter, repayment.minute, total)

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
