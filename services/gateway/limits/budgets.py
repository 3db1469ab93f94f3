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
from services.gateway.limits.limiter import LimitSource, scope_key
from services.gateway.limits.quotes import WAIT_SECONDS, Quotes
from services.gateway.limits.reservations import Reservations, Unavailable
from services.gateway.request.errors import Refusal
from shared.events import SUBSCRIPTION, Envelope
from shared.free_endpoints import is_certainly_free
from shared.limits import scopes, spend, wording
from shared.limits.model import COST, REQUESTS, Limit
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
_MOST_KNOWN = 10_000  # different requests whose budgets are remembered


class Standing(NamedTuple):
    """A budget as far as this gateway knows, in whole units."""

    used: int | None  # by the stored requests; None: not known yet
    held: int  # by requests in progress
    resets_at: datetime | None  # None: rolling days


class _Budget(NamedTuple):
    """A budget that covers a request, for one value of each EACH field."""

    limit: Limit
    each: tuple[str, ...]
    counter: str
    units: int


class _Covering(NamedTuple):
    """The budgets that cover a request, by the limits of its account."""

    limits: Sequence[Limit]
    budgets: list[_Budget]
    needs_quote: bool  # more than requests is counted
    is_strict: bool


class Budgets:
    """Checks requests against the budgets of their account."""

    def __init__(self, source: LimitSource, events: ShippedEvents, *, name: str) -> None:
        """`name`: of this gateway instance, for the others."""
        self._source = source
        self._name = name
        self._quotes = Quotes()
        self._reservations = Reservations()
        self._budgets: dict[str, tuple[Sequence[Limit], list[Limit]]] = {}  # of all limits of an account
        self._known: dict[tuple[object, ...], _Covering] = {}
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
        covering = self._covering(request)
        if not covering.budgets:
            return None, ""
        quote = None
        if covering.needs_quote:
            quote = await self._quotes.find(request, seconds=_STRICT_SECONDS if covering.is_strict else WAIT_SECONDS)
        hold = Hold(request.account)
        warning = ""
        scarce: list[tuple[_Budget, int]] = []
        for budget in covering.budgets:  # nothing is awaited between the look at a budget and its hold
            limit = budget.limit
            used = self.figures.used(limit, budget.counter)
            left = budget.units - used - self._held(budget.counter)
            wanted = self._wanted(budget, left, request, quote, body)
            if limit.mode == "strict" or (limit.mode != "warn" and left <= SCARCE * wanted):
                scarce.append((budget, wanted))
            elif limit.mode != "warn":
                hold.amounts[budget.counter] = wanted
            if limit.measure == REQUESTS:
                hold.counted.add(budget.counter)
            elif limit.measure == COST:
                hold.cost = max(hold.cost, wanted)
            if not warning and (percent := 100 * used // max(budget.units, 1)) >= WARN_PERCENT:
                warning = f"{limit.name}; used={percent}%"
        self.holds.add(hold)
        try:
            for budget, wanted in scarce:
                await self._reserve(hold, budget, wanted)
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

    def _covering(self, request: Envelope) -> _Covering:
        """Budgets that cover a request; remembered until its account's limits change."""
        limits = self._source.limits(request.account)
        is_free = is_certainly_free(request.endpoint)
        key = (is_free, request.billing, scope_key(request))
        known = self._known.get(key)
        if known is None or known.limits is not limits:
            found = scopes.applicable(self._of(request.account), request)
            if is_free:
                found = [each for each in found if each[0].measure == REQUESTS]
            elif request.billing == SUBSCRIPTION:
                found = [each for each in found if each[0].measure != COST]
            needs_quote = any(limit.measure != REQUESTS for limit, _ in found)
            is_strict = any(limit.mode == "strict" for limit, _ in found)
            budgets = [_Budget(limit, each, scopes.counter(limit, each), spend.units(limit)) for limit, each in found]
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[key] = _Covering(limits, budgets, needs_quote, is_strict)
        return known

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

    def _wanted(self, budget: _Budget, left: int, request: Envelope, quote: Quote | None, body: bytes | None) -> int:
        """What to hold for a request; Refusal if `left`, as far as this gateway knows, is not enough."""
        limit = budget.limit
        known = self._quotes.default if quote is None else quote
        if limit.mode == "strict":
            wanted = self._worst(limit, request, quote, body)
        else:
            wanted = expected.typical(limit, known, body)
        if limit.mode == "warn":
            return wanted
        if wanted > left and limit.mode != "strict":
            wanted = min(wanted, expected.allowed(limit, known, body))
        if wanted > left or left <= 0:
            raise self._refusal(budget, wanted)
        return wanted

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

    async def _reserve(self, hold: Hold, budget: _Budget, wanted: int) -> None:
        """Reserve with all gateways what a request may use of a budget that is nearly spent, or strict.

        Refusal if that is too much. Without NATS, budgets that are not strict go by what this gateway knows.
        """
        limit = budget.limit
        counter = budget.counter
        try:
            reserved, used = await self._reservations.reserve(counter, wanted, is_needed=limit.mode == "strict")
        except Unavailable:
            if limit.mode == "strict":
                raise _unavailable(limit) from None
            left = budget.units - self.figures.used(limit, counter) - self._held(counter)
            if wanted > left:  # others have passed meanwhile
                raise self._refusal(budget, wanted) from None
            self.holds.add_amount(hold, counter, wanted)
            return
        hold.reserved[counter] = wanted
        spent = self.figures.in_period(limit, used)
        if spent + self.holds.total(counter) + reserved > budget.units:
            raise self._refusal(budget, wanted)

    def _held(self, counter: str) -> int:
        """What requests in progress hold, as far as this gateway knows."""
        return self.holds.total(counter) + self._reservations.own(counter)

    def _refusal(self, budget: _Budget, wanted: int) -> Refusal:
        self.refused += 1
        limit, each, counter, _ = budget
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
