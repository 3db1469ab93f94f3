"""Budgets: refuses requests beyond what their account may spend.

What is used is the published figure of the stored requests, plus what requests in progress are expected to use, here
and on the other gateways. Far from its end, a budget is checked in memory; nearer, each request is reserved in a
counter that all gateways share. A budget is thus crossed at most by what the requests in progress use more than
expected. A strict budget, which reserves their worst case, is never crossed.
"""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from nats.aio.client import Client

from services.gateway.limits import expected, holds_exchange
from services.gateway.limits.figures import Figures
from services.gateway.limits.holds import Hold, Holds, ShippedEvents
from services.gateway.limits.limiter import LimitSource
from services.gateway.limits.quotes import WAIT_SECONDS, Quotes
from services.gateway.limits.reservations import Reservations, Unavailable
from services.gateway.request.errors import Refusal
from shared.events import SUBSCRIPTION, Envelope
from shared.free_endpoints import is_certainly_free
from shared.limits import scopes, spend, wording
from shared.limits.model import COST, REQUESTS, Limit
from shared.limits.scopes import Covering
from shared.limits.spend import Quote
from shared.process import run_all

EXCEEDED = "budget_exceeded"
WARN_PERCENT = 90
SCARCE = 100  # requests: a budget with less left is shared out request by request
_RELEASE_SECONDS = 0.1
_DRAIN_SECONDS = 0.05  # between two looks whether anything is still reserved
_STRICT_SECONDS = 2.0  # for which a request of a strict budget waits for a quote
_ROLLING_RETRY_SECONDS = 3600  # a rolling budget has no end to wait for
_UNKNOWN_RETRY_SECONDS = 5  # for what cannot be checked at the moment


class Standing(NamedTuple):
    """A budget as far as this gateway knows, in whole units."""

    used: int | None  # by the stored requests; None: not known yet
    held: int  # by requests in progress
    resets_at: datetime | None  # None: rolling days


class Budgets:
    """Checks requests against the budgets of their account."""

    def __init__(self, source: LimitSource, events: ShippedEvents, *, name: str) -> None:
        """`name`: of this gateway instance, for the others."""
        self._source = source
        self._name = name
        self._quotes = Quotes()
        self._reservations = Reservations()
        self._budgets: dict[str, tuple[Sequence[Limit], list[Limit]]] = {}  # of all limits of an account
        self.figures = Figures()
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
        exchange = holds_exchange.follow(nc, self.holds, name=self._name)
        await run_all(self.figures.follow(nc), exchange, self._release_included(), self._reservations.keep_alive())

    async def _release_included(self) -> None:
        while True:
            for hold in self.holds.release_included(self.figures.progress, self.cover):
                self._give_back(hold)
            await asyncio.sleep(_RELEASE_SECONDS)

    async def check(self, request: Envelope, body: bytes | None) -> tuple[Hold | None, str]:
        """Return what the request holds from now on, and a warning for its response.

        `body`: decoded, if it is known. Refusal 429 for a request beyond a budget. A hold must be passed to `finish`.
        The warning is "" for none.
        """
        covering = scopes.applicable(self._of(request.account), request)
        if not covering:
            return None, ""
        if is_certainly_free(request.endpoint):
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

    def cover(self, account: str) -> bool:
        """Whether an account has budgets."""
        return bool(self._of(account))

    def _of(self, account: str) -> Sequence[Limit]:
        """Budgets of an account that can be computed here; remembered until its limits change."""
        limits = self._source.limits(account)
        if not limits:
            return ()
        kept = self._budgets.get(account)
        if kept is None or kept[0] is not limits:
            budgets = [limit for limit in limits if not limit.is_rate and self.figures.can_compute(limit)]
            kept = self._budgets[account] = (limits, budgets)
        return kept[1]

    async def drain(self, seconds: float) -> None:
        """Wait until everything that was reserved has been given back, at most so long.

        What a stopped gateway leaves reserved would be missing until the counters expire.
        """
        deadline = time.monotonic() + seconds
        while self._reservations.is_any and time.monotonic() < deadline:  # noqa: ASYNC110 — an event would cost each request time
            await asyncio.sleep(_DRAIN_SECONDS)

    @property
    def published(self) -> Mapping[str, bytes]:
        """Messages of the stream SPEND, by their subjects behind its prefix."""
        return self.figures.messages

    def standing(self, limit: Limit, each: tuple[str, ...]) -> Standing:
        """Return where a budget stands; ValueError unless it `is_known`."""
        counter = scopes.counter(limit, each)
        used = self.figures.used(limit, counter) if self.figures.include(limit) else None
        return Standing(used, self._held(counter), self.figures.span(limit).end)

    def is_known(self, limit: Limit) -> bool:
        """Whether the limit's period can be computed here."""
        return self.figures.can_compute(limit)

    def _wanted(
        self, covered: Covering, request: Envelope, quote: Quote | None, body: bytes | None, *, counter: str
    ) -> tuple[int, int]:
        """What to hold for a request, and what is left as far as this gateway knows; Refusal if that is not enough."""
        limit, each = covered
        known = self._quotes.default if quote is None else quote
        wanted = (
            self._worst(limit, request, quote, body) if limit.mode == "strict" else expected.typical(limit, known, body)
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
        if quote is None or not self.figures.include(limit):
            raise _unavailable(limit)
        worst = expected.upper_bound(limit, quote, body, request)
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
        spent = self.figures.in_period(limit, used)
        if spent + self.holds.total(counter) + reserved > spend.units(limit):
            raise self._refusal(limit, each, counter, wanted)

    def _left(self, limit: Limit, counter: str) -> int:
        """What is left of a budget as far as this gateway knows."""
        return spend.units(limit) - self.figures.used(limit, counter) - self._held(counter)

    def _held(self, counter: str) -> int:
        """What requests in progress hold, as far as this gateway knows."""
        return self.holds.total(counter) + self._reservations.own(counter)

    def _warning(self, limit: Limit, counter: str) -> str:
        percent = 100 * self.figures.used(limit, counter) // max(spend.units(limit), 1)
        return f"{limit.name}; used={percent}%" if percent >= WARN_PERCENT else ""

    def _refusal(self, limit: Limit, each: tuple[str, ...], counter: str, wanted: int) -> Refusal:
        self.refused += 1
        whom = f" for {', '.join(each)}" if each else ""
        used = wording.amount(limit, spend.amount(limit, self.figures.used(limit, counter)))
        held = wording.amount(limit, spend.amount(limit, self._held(counter)))
        own = wording.amount(limit, spend.amount(limit, wanted))
        end = self.figures.span(limit).end
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
    return Refusal(503, "budget_unavailable", message, retry_after=_UNKNOWN_RETRY_SECONDS)
