"""Budgets: refuses requests beyond what their account may spend.

What is used is the published figure of the stored requests, plus what requests in progress are expected to use, here
and on the other gateways. Far from its end, a budget is checked in memory; nearer, each request is reserved in a
counter that all gateways share. A budget is thus crossed at most by what the requests in progress use more than
expected. A strict budget, which reserves their worst case, is never crossed.
"""

import asyncio
import contextlib
import logging
import math
import time
from datetime import UTC, datetime

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from services.gateway.limits import expected
from services.gateway.limits.holds import NEVER, Heard, Hold, Holds, ShippedEvents
from services.gateway.limits.limiter import LimitSource
from services.gateway.limits.quotes import WAIT_SECONDS, Quotes
from services.gateway.limits.reservations import Reservations, Unavailable
from services.gateway.request.errors import Refusal
from shared.events import SUBSCRIPTION, Envelope
from shared.limits import periods, scopes, spend, wording
from shared.limits.model import COST, REQUESTS, Limit
from shared.limits.periods import Span
from shared.limits.scopes import Covering
from shared.limits.spend import HELD_SUBJECT, SPEND_STREAM, SPEND_SUBJECT, Held, Quote, Used
from shared.process import run_all
from shared.stream_watch import StreamWatch

log = logging.getLogger(__name__)

EXCEEDED = "budget_exceeded"
BEAT_SECONDS = 0.05  # between two messages to the other gateways while what is held changes
REPEAT_SECONDS = 1.0  # while it does not
_BEAT_LOAD = 20  # a message is followed by a pause of this many times its duration
WARN_PERCENT = 90
_SETTLE_SECONDS = 0.1
SCARCE = 100  # requests: a budget with less left is shared out request by request
_MOST_HELD = 2000  # counters in a message to the other gateways
_STRICT_SECONDS = 2.0  # for which a request of a strict budget waits for a quote
_ROLLING_RETRY_SECONDS = 3600  # a rolling budget has no end to wait for


class Budgets:
    """Checks requests against the budgets of their account."""

    def __init__(self, source: LimitSource, events: ShippedEvents, *, name: str) -> None:
        """`name`: of this gateway instance, for the others."""
        self._source = source
        self._name = name
        self._quotes = Quotes()
        self._reservations = Reservations()
        self._used: dict[str, Used] = {}
        self._booked: dict[str, Heard] = {}
        self._watch = StreamWatch(SPEND_STREAM, SPEND_SUBJECT, self._put)
        self._spans: dict[tuple[str, str], Span] = {}
        self._unknown: set[Limit] = set()
        self.holds = Holds(events)
        self.refused = 0

    @property
    def quotes_failed(self) -> int:
        """Number of quotes that the logger did not give."""
        return self._quotes.failures

    def attach(self, nc: Client | None) -> None:
        """Use a connection to NATS, or none."""
        self._quotes.attach(nc)
        self._reservations.attach(nc)

    async def follow(self, nc: Client) -> None:
        """Follow the published figures and the other gateways until cancelled."""
        await nc.subscribe(HELD_SUBJECT, cb=self._hear)
        await run_all(self._watch.follow(nc), self._tell(nc), self._settle(), self._reservations.keep_alive())

    async def wait_until_loaded(self, seconds: float) -> bool:
        """Wait until the published figures have been read once; False after `seconds`."""
        try:
            await asyncio.wait_for(self._watch.loaded.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _put(self, key: str, value: bytes | None) -> None:
        if key.startswith("-"):
            return
        if value is None:
            self._used.pop(key, None)
        elif "." in key:
            self._used[key] = spend.decode_used(value)
        else:
            self._booked[key] = self._booked.get(key, NEVER).then(spend.decode_booked(value).through)

    async def _hear(self, message: Msg) -> None:
        with contextlib.suppress(Exception):  # from a later version
            held = spend.decode_held(message.data)
            if held.gateway != self._name:
                self.holds.hear(held)

    async def _tell(self, nc: Client) -> None:
        """Tell the other gateways what is held here; once more when it is nothing."""
        told: dict[str, int] = {}
        told_at = 0.0
        while True:
            own = self.holds.own
            now = time.monotonic()
            if nc.is_connected and (own != told or (own and now - told_at >= REPEAT_SECONDS)):
                told, told_at = dict(own), now
                amounts = told if len(told) <= _MOST_HELD else dict(own.most_common(_MOST_HELD))
                with contextlib.suppress(NatsError):
                    await nc.publish(HELD_SUBJECT, spend.encode(Held(self._name, amounts)))
            self.holds.forget_silent()
            await asyncio.sleep(max(BEAT_SECONDS, _BEAT_LOAD * (time.monotonic() - now)))

    async def _settle(self) -> None:
        while True:
            for hold in self.holds.settle(self._booked, self._has_budgets):
                self._give_back(hold)
            await asyncio.sleep(_SETTLE_SECONDS)

    async def check(self, request: Envelope, body: bytes | None) -> tuple[Hold | None, str]:
        """Return what the request holds from now on, and a warning for its response.

        `body`: decoded, if it is known. Refusal 429 for a request beyond a budget. A hold must be passed to `finish`.
        The warning is "" for none.
        """
        limits = [
            limit for limit in self._source.limits(request.account) if not limit.is_rate and self._is_known(limit)
        ]
        covering = scopes.applicable(limits, request) if limits else []
        if not covering:
            return None, ""
        if expected.is_free(request.endpoint):
            covering = [found for found in covering if found[0].measure == REQUESTS]
        elif request.billing == SUBSCRIPTION:
            covering = [found for found in covering if found[0].measure != COST]
        if not covering:
            return None, ""
        quote = None
        if any(limit.measure != REQUESTS for limit, _ in covering):
            is_strict = any(limit.mode == "strict" for limit, _ in covering)
            quote = await self._quotes.find(request, seconds=_STRICT_SECONDS if is_strict else WAIT_SECONDS)
        hold = Hold(request.account)
        warning = ""
        scarce: list[tuple[Covering, str, int]] = []
        for covered in covering:  # nothing is awaited between the look at a budget and its hold
            limit, each = covered
            counter = scopes.counter(limit, each)
            wanted, left = self._wanted(covered, request, quote, body, counter=counter)
            if limit.mode == "strict" or (limit.mode != "warn" and left <= SCARCE * wanted):
                scarce.append((covered, counter, wanted))
            elif limit.mode != "warn":
                hold.amounts[counter] = wanted
            if limit.measure == REQUESTS:
                hold.counted.add(counter)
            elif limit.measure == COST:
                hold.cost = max(hold.cost, wanted)
            warning = warning or self._warning(limit, counter)
        self.holds.add(hold)
        try:
            for covered, counter, wanted in scarce:
                await self._reserve(hold, covered, counter, wanted)
        except BaseException:
            self._let_go(hold)
            raise
        return hold, warning

    def finish(self, hold: Hold, *, is_sent: bool) -> None:
        """Keep a hold until the request's row is in the figures.

        `is_sent`: a provider was called; else it costs nothing, but is a request.
        """
        if not is_sent:
            self._let_go(hold.split())
        if hold.amounts or hold.reserved:
            self.holds.finish(hold)

    def _let_go(self, hold: Hold) -> None:
        self.holds.release(hold)
        self._give_back(hold)

    def _give_back(self, hold: Hold) -> None:
        for counter, units in hold.reserved.items():
            self._reservations.give_back(counter, units)

    def _has_budgets(self, account: str) -> bool:
        return any(not limit.is_rate for limit in self._source.limits(account))

    async def drain(self, seconds: float) -> None:
        """Wait until everything that was reserved has been given back, at most so long.

        What a stopped gateway leaves reserved would be missing until the counters expire.
        """
        deadline = time.monotonic() + seconds
        while self._reservations.is_any and time.monotonic() < deadline:  # noqa: ASYNC110 — an event would cost each request time
            await asyncio.sleep(BEAT_SECONDS)

    def used(self, limit: Limit, counter: str) -> int:
        """What the stored requests have used of a budget in its present period."""
        used = self._used.get(counter)
        if used is None:
            return 0
        return used.used if self._is_present(limit, used) else 0

    def _is_present(self, limit: Limit, used: Used) -> bool:
        span = self._span(limit)
        return span.end is None or used.start == span.start

    def _is_known(self, limit: Limit) -> bool:
        """Whether the limit's period can be computed here; its time zone may be newer than this machine's."""
        try:
            self._span(limit)
        except ValueError as error:
            if limit not in self._unknown:
                self._unknown.add(limit)
                log.error("budget %s of account %s is ignored: %s", limit.name, limit.account, error)
            return False
        return True

    def _span(self, limit: Limit) -> Span:
        key = (limit.period, limit.timezone)
        now = datetime.now(UTC)
        span = self._spans.get(key)
        if span is None or span.end is None or now >= span.end:
            span = self._spans[key] = periods.span(limit.period, limit.timezone, now)
        return span

    def _wanted(
        self, covered: Covering, request: Envelope, quote: Quote | None, body: bytes | None, *, counter: str
    ) -> tuple[int, int]:
        """What to hold for a request, and what is left as far as this gateway knows; Refusal if that is not enough."""
        limit, each = covered
        known = self._quotes.default if quote is None else quote
        wanted = (
            self._worst(limit, request, quote, body) if limit.mode == "strict" else expected.usual(limit, known, body)
        )
        left = self._left(limit, counter)
        if limit.mode == "warn":
            return wanted, left
        if wanted > left and limit.mode != "strict":
            wanted = min(wanted, expected.allowed(limit, known, body))
        if wanted > left or left <= 0:
            raise self._refusal(limit, each, counter, wanted)
        return wanted, left

    def _worst(self, limit: Limit, request: Envelope, quote: Quote | None, body: bytes | None) -> int:
        if quote is None:
            raise _unavailable(limit)
        worst = expected.at_worst(limit, quote, body, request)
        if worst is None:
            raise Refusal(
                400,
                "budget_needs_maximum",
                f"The budget {limit.name} is strict: the request must state the most tokens of its response "
                "(such as max_tokens) once, must not continue a stored conversation, and its model must have a known "
                "price.",
            )
        return worst

    async def _reserve(self, hold: Hold, covered: Covering, counter: str, wanted: int) -> None:
        """Reserve with all gateways what a request may use of a budget that is nearly spent, or strict.

        Refusal if that is too much. Without NATS, budgets that are not strict go by what this gateway knows.
        """
        limit, each = covered
        try:
            reserved, used = await self._reservations.reserve(counter, wanted, is_needed=limit.mode == "strict")
        except Unavailable:
            if limit.mode == "strict":
                raise _unavailable(limit) from None
            if wanted > self._left(limit, counter):  # others have passed meanwhile
                raise self._refusal(limit, each, counter, wanted) from None
            self.holds.add_amount(hold, counter, wanted)
            return
        hold.reserved[counter] = wanted
        spent = used.used if used is not None and self._is_present(limit, used) else 0
        if spent + self.holds.total(counter) + reserved > spend.units(limit):
            raise self._refusal(limit, each, counter, wanted)

    def _left(self, limit: Limit, counter: str) -> int:
        """What is left of a budget as far as this gateway knows."""
        return spend.units(limit) - self.used(limit, counter) - self._held(counter)

    def _held(self, counter: str) -> int:
        """What requests in progress hold, as far as this gateway knows."""
        return self.holds.total(counter) + self._reservations.own(counter)

    def _warning(self, limit: Limit, counter: str) -> str:
        percent = 100 * self.used(limit, counter) // max(spend.units(limit), 1)
        return f"{limit.name}; used={percent}%" if percent >= WARN_PERCENT else ""

    def _refusal(self, limit: Limit, each: tuple[str, ...], counter: str, wanted: int) -> Refusal:
        self.refused += 1
        whom = f" for {', '.join(each)}" if each else ""
        used = wording.amount(limit, spend.amount(limit, self.used(limit, counter)))
        held = wording.amount(limit, spend.amount(limit, self._held(counter)))
        own = wording.amount(limit, spend.amount(limit, wanted))
        end = self._span(limit).end
        if end is None:
            seconds = _ROLLING_RETRY_SECONDS
            resets = f"it covers the last {limit.period.removesuffix('d')} days"
        else:
            seconds = math.ceil(end.timestamp() - time.time())
            resets = f"it resets at {end:%Y-%m-%dT%H:%MZ}"
        return Refusal(
            429,
            EXCEEDED,
            f"The budget {limit.name} of {wording.text(limit)}{whom} does not allow this request: {used} used, "
            f"{held} held by requests in progress, {own} needed for this one; {resets}.",
            retry_after=max(seconds, 1),
        )


def _unavailable(limit: Limit) -> Refusal:
    message = f"The strict budget {limit.name} cannot be checked; try again later."
    return Refusal(503, "budget_unavailable", message, retry_after=5)
