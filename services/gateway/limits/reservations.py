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
from nats.js.errors import NotFoundError

from shared.limits import spend
from shared.limits.model import RATE_SUBJECT
from shared.limits.spend import SPEND_STREAM, SPEND_SUBJECT, Used

log = logging.getLogger(__name__)

_SUBJECT = f"{RATE_SUBJECT}-reserved."  # + counter; no account's name begins with -
TIMEOUT_SECONDS = 0.5  # for which a request waits for NATS
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
    until: float  # monotonic time until which a repeated message is recognised


class Reservations:
    """Raises and lowers the shared counters.

    Whatever is uncertain is left raised: the budget is then too small until the counter expires, never too large.
    """

    def __init__(self) -> None:
        self._nc: Client | None = None
        self._debts: deque[_Debt] = deque()
        self._own: Counter[str] = Counter()  # reserved here
        self._giving: asyncio.Task[None] | None = None

    def attach(self, nc: Client | None) -> None:
        """Use a connection to NATS, or none."""
        self._nc = nc

    def own(self, counter: str) -> int:
        """What is reserved by this gateway."""
        return self._own[counter]

    async def reserve(self, counter: str, units: int) -> tuple[int, Used | None]:
        """Reserve, and return what is reserved in all and the newest figure.

        Raises Unavailable if NATS is away or slow.
        """
        nc = self._nc
        if nc is None or not nc.is_connected:
            raise Unavailable
        try:
            total = await self._raise(nc, counter, {"Nats-Incr": str(units)})
        except Exception as error:
            log.warning("a budget cannot be checked with all gateways: %s", type(error).__name__)
            raise Unavailable from None
        self._own[counter] += units
        try:
            message = await nc.jetstream(timeout=TIMEOUT_SECONDS).get_last_msg(SPEND_STREAM, SPEND_SUBJECT + counter)
        except NotFoundError:
            return total, None
        except Exception as error:
            self.give_back(counter, units)
            log.warning("a budget cannot be checked with all gateways: %s", type(error).__name__)
            raise Unavailable from None
        return total, spend.decode_used(message.data or b"")

    def give_back(self, counter: str, units: int) -> None:
        """Lower a counter, as soon as NATS allows."""
        self._own[counter] -= units
        if not self._own[counter]:
            del self._own[counter]
        self._debts.append(_Debt(counter, units, uuid.uuid4().hex, time.monotonic() + _REPEAT_SECONDS))
        if self._giving is None or self._giving.done():
            self._giving = asyncio.ensure_future(self._give_back())

    @staticmethod
    async def _raise(nc: Client, counter: str, headers: dict[str, str]) -> int:
        ack = await nc.jetstream(timeout=TIMEOUT_SECONDS).publish(_SUBJECT + counter, b"", headers=headers)
        return int(ack.val or 0)

    async def _give_back(self) -> None:
        while self._debts:
            debt = self._debts[0]
            nc = self._nc
            try:
                if nc is None or not nc.is_connected:
                    raise Unavailable
                await self._raise(nc, debt.counter, {"Nats-Incr": str(-debt.units), "Nats-Msg-Id": debt.id})
            except Exception:
                if time.monotonic() < debt.until:
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                log.warning("a reservation was not given back; it expires")
            self._debts.popleft()

    async def keep_alive(self) -> None:
        """Keep the counters of long requests from expiring, until cancelled."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            for counter in list(self._own):
                with contextlib.suppress(Exception):
                    if self._nc is not None and self._nc.is_connected:
                        await self._raise(self._nc, counter, {"Nats-Incr": "0"})
