"""Rate limits: refuses requests beyond the limits of their account."""

import asyncio
import math
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from nats.aio.client import Client

from services.gateway.limits import headers
from services.gateway.limits.counters import Counter, Counters
from services.gateway.limits.peers import Peers
from services.gateway.limits.tokens import TokenEstimates, TokenHold
from services.gateway.limits.window import MINUTE_SECONDS, PREFETCH_SHARE, Window
from services.gateway.request.errors import Refusal
from services.gateway.usage.used_tokens import UsedTokens
from shared.events import Envelope
from shared.free_endpoints import is_certainly_free
from shared.limits import scopes, wording
from shared.limits.model import TOKENS, Limit

_CLOSE_SECONDS = 1.0  # for all counters together
_MOST_KNOWN = 10_000  # different requests of a minute whose limits are remembered
_MOST_COUNTED = 20_000  # limits in a minute, with each value of EACH: about 3 KB each


def scope_key(request: Envelope) -> tuple[object, ...]:
    """Return what scopes depend on: requests with the same key have the same limits."""
    fields = (request.account, request.token, request.requester, request.provider, request.model)
    return (*fields, *request.metadata.items()) if request.metadata else fields


class LimitSource(Protocol):
    """Source of limits: services.gateway.accounts_mirror.Mirror."""

    def limits(self, account: str) -> Sequence[Limit]:
        """Return the limits of an account."""
        ...


class Limiter:
    """Checks requests against their account's limits, with all other gateways."""

    def __init__(self, source: LimitSource, *, name: str) -> None:
        """`name`: of this gateway instance, for the others."""
        self._source = source
        self._peers = Peers(name)
        self._counters = Counters()
        self._estimates = TokenEstimates()
        self._current: dict[tuple[str, str, tuple[str, ...]], _Counted] = {}  # by account, limit, values of EACH
        self._ahead: dict[tuple[str, str, tuple[str, ...]], int] = {}  # permits leased at a time in the minute before
        self._closing: set[asyncio.Future[None]] = set()  # windows that give their permits back
        self._known: dict[tuple[object, ...], tuple[Sequence[Limit], list[_Counted], bool]] = {}
        self._minute = 0
        self.refused = 0
        self._allowed_alone = 0  # in the minutes before this one

    def attach(self, nc: Client | None) -> None:
        """Use a connection to NATS, or none."""
        self._counters.nc = nc

    async def follow(self, nc: Client) -> None:
        """Tell the other gateways that this one runs, and listen to them."""
        await self._peers.follow(nc)

    async def close(self) -> None:
        """Give unused permits back to the other gateways."""
        for one in self._current.values():
            self._close(one.window)
        if self._closing:
            await asyncio.wait(self._closing, timeout=_CLOSE_SECONDS)

    def _close(self, window: Window) -> None:
        closing = asyncio.ensure_future(window.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def gateways(self) -> int:
        """Number of gateways that were running lately, this one included."""
        return self._peers.count()

    @property
    def leases(self) -> int:
        """Leases requested from NATS."""
        return self._counters.leases

    @property
    def allowed_alone(self) -> int:
        """Requests allowed on this gateway's own share while NATS did not respond."""
        return self._allowed_alone + sum(one.window.allowed_alone for one in self._current.values())

    async def check(
        self, request: Envelope, limit_headers: headers.LimitHeaders, *, body: bytes | None = None
    ) -> TokenHold | None:
        """Refusal 429 for a request beyond a limit.

        Adds to `limit_headers` what the response says about the limits. `body`: decoded, if it is known. A hold must be
        passed to `settle`.
        """
        limits = self._source.limits(request.account)
        if not limits:
            return None
        now = time.time()
        counted, has_tokens = self._covering(limits, request, now)
        hold = None
        if has_tokens:
            if is_certainly_free(request.endpoint):
                counted = [one for one in counted if one.limit.measure != TOKENS]
            else:
                hold = self._estimates.hold(request, body)
        if not counted:
            return None
        seconds = MINUTE_SECONDS - int(now) % MINUTE_SECONDS
        refusing: _Counted | None = None
        if len(counted) == 1:  # as nearly always
            (one,) = counted
            if hold is not None or not one.window.take_leased(now):
                refusing = await _take(counted, hold, now)
            remaining = one.window.remaining(now)
            limit_headers += one.labels.alone(remaining, seconds, now=now, dialect=request.dialect)
        else:
            refusing = await _take(counted, hold, now)
            standings = [(one.labels, one.window.remaining(now), seconds) for one in counted]
            limit_headers += headers.describe(standings, dialect=request.dialect, now=now)
        if refusing is not None:
            self.refused += 1
            raise _refusal(refusing, hold, now)
        return hold

    def settle(self, hold: TokenHold, used: UsedTokens | None) -> None:
        """Correct what a request has reserved to what it used; None: unknown."""
        if used is not None:
            if any(used):
                self._estimates.record(hold, used)
            hold.settle(sum(used), time.time())

    def _covering(self, limits: Sequence[Limit], request: Envelope, now: float) -> tuple[list["_Counted"], bool]:
        """Limits per minute that cover a request, and whether tokens are among them.

        Remembered until the minute ends, for requests that no scope can tell apart.
        """
        minute = self._turn(now)
        key = scope_key(request)
        known = self._known.get(key)
        if known is None or known[0] is not limits:
            covering = [found for found in scopes.applicable(limits, request) if found[0].is_rate]
            counted = [self._counted(limit, each, minute) for limit, each in covering]
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[key] = (limits, counted, any(one.limit.measure == TOKENS for one in counted))
        return known[1], known[2]

    async def remaining(self, limit: Limit, each: tuple[str, ...], *, now: float) -> int:
        """Return what remains of a limit in this minute, by the counter of all gateways."""
        return await self._counted(limit, each, self._turn(now)).window.ask_remaining(now)

    def _turn(self, now: float) -> int:
        """Return the present minute, and forget the one before when it has turned."""
        minute = int(now) // MINUTE_SECONDS
        if minute != self._minute:
            self._allowed_alone = self.allowed_alone
            self._ahead = {key: one.window.ahead for key, one in self._current.items() if one.window.ahead > 1}
            self._current = {}
            self._known = {}
            self._minute = minute
        return minute

    def _counted(self, limit: Limit, each: tuple[str, ...], minute: int) -> "_Counted":
        """What is counted of a limit in this minute."""
        key = (limit.account, limit.name, each)
        found = self._current.get(key)
        if found is not None and found.limit == limit:
            return found
        if found is not None:  # it was changed
            self._drop(key)
        elif len(self._current) >= _MOST_COUNTED:
            self._drop(next(iter(self._current)))  # the counter in NATS knows what it has granted
        found = self._current[key] = self._count(limit, each, minute)
        return found

    def _drop(self, key: tuple[str, str, tuple[str, ...]]) -> None:
        window = self._current.pop(key).window
        self._allowed_alone += window.allowed_alone
        self._close(window)

    def _count(self, limit: Limit, each: tuple[str, ...], minute: int) -> "_Counted":
        amount = int(limit.amount)
        before = self._ahead.get((limit.account, limit.name, each), 0)
        ahead = max(min(before // 4, amount // PREFETCH_SHARE), 1)  # a quarter: a quieter minute leases less
        counter = Counter(self._counters, scopes.counter(limit, each), minute=minute)
        window = Window(amount, start=minute * MINUTE_SECONDS, counter=counter, share=self._share, ahead=ahead)
        return _Counted(limit, each, window, headers.Labels(name=limit.name, measure=limit.measure, amount=amount))

    def _share(self, amount: int) -> int:
        return max(amount // self._peers.count(), 1)


class _Counted(NamedTuple):
    """One limit in this minute, for one value of each EACH field."""

    limit: Limit
    each: tuple[str, ...]
    window: Window
    labels: headers.Labels


def _amount(counted: _Counted, hold: TokenHold | None) -> int:
    """Permits that a request needs; more than the limit would never be granted."""
    if hold is None or counted.limit.measure != TOKENS:
        return 1
    return min(hold.expected, counted.window.limit)


async def _take(counted: list[_Counted], hold: TokenHold | None, now: float) -> _Counted | None:
    """Take permits of each limit; if one refuses, put the others back and return it."""
    for number, one in enumerate(counted):
        amount = 1 if hold is None else _amount(one, hold)
        if not await one.window.take(now, amount):
            for other in counted[:number]:
                other.window.put_back(_amount(other, hold))
            return one
        if hold is not None and one.limit.measure == TOKENS:
            hold.windows.append((one.window, amount))
    return None


def _refusal(counted: _Counted, hold: TokenHold | None, now: float) -> Refusal:
    limit = counted.limit
    whom = f" for {', '.join(counted.each)}" if counted.each else ""
    seconds = max(math.ceil(counted.window.opens_at(now, _amount(counted, hold)) - now), 1)
    return Refusal(
        429,
        "rate_limit_exceeded",
        f"The limit {limit.name} of {wording.text(limit)}{whom} is reached; try again in {seconds} s.",
        retry_after=seconds,
    )
