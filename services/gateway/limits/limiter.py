"""Rate limits: refuses requests beyond the limits of their account."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import APIError

from services.gateway.limits import headers
from services.gateway.limits.window import FAILED, TIMEOUT_SECONDS, Window
from services.gateway.request.errors import Refusal
from shared.events import Envelope
from shared.limits import scopes, wording
from shared.limits.model import ALIVE_SUBJECT, RATE_SUBJECT, Limit

log = logging.getLogger(__name__)

BEAT_SECONDS = 3.0  # between two signs of life
SILENCE_SECONDS = 10.0  # after which a gateway no longer counts
_MINUTE = 60


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
        self._name = name
        self._nc: Client | None = None
        self._current: dict[tuple[str, str, tuple[str, ...]], _Counted] = {}  # by account, limit, values of EACH
        self._minute = 0
        self._seen: dict[str, float] = {}  # other gateways, with the monotonic time of their last sign
        self._warned_minute = 0
        self.refused = 0
        self.leases = 0
        self.granted_alone = 0  # in the minutes before this one

    def attach(self, nc: Client | None) -> None:
        """Use a connection to NATS, or none."""
        self._nc = nc

    async def follow(self, nc: Client) -> None:
        """Tell the other gateways that this one runs, and listen to them."""
        await nc.subscribe(ALIVE_SUBJECT, cb=self._hear)
        while not nc.is_closed:
            if nc.is_connected:
                with contextlib.suppress(NatsError):  # the connection was lost just now
                    await nc.publish(ALIVE_SUBJECT, self._name.encode())
            await asyncio.sleep(BEAT_SECONDS)

    async def _hear(self, message: Msg) -> None:
        self._seen[message.data.decode(errors="replace")[:200]] = time.monotonic()

    def gateways(self) -> int:
        """Number of gateways that were running lately, this one included."""
        oldest = time.monotonic() - SILENCE_SECONDS
        for name in [name for name, at in self._seen.items() if at < oldest]:
            if self._nc is not None and self._nc.is_connected:  # without NATS, nobody can be heard
                del self._seen[name]
        return len(self._seen.keys() | {self._name})

    @property
    def all_granted_alone(self) -> int:
        """Requests allowed on this gateway's own share while NATS did not respond."""
        return self.granted_alone + sum(one.window.granted_alone for one in self._current.values())

    async def check(self, request: Envelope, limit_headers: headers.LimitHeaders) -> None:
        """Refusal 429 for a request beyond a limit.

        Adds to `limit_headers` what the response says about the limits. A request that one limit allows and another
        refuses has used a permit of the first.
        """
        limits = self._source.limits(request.account)
        if not limits:
            return
        covering = [found for found in scopes.applicable(limits, request) if found[0].is_rate]
        if not covering:
            return
        now = time.time()
        seconds = _MINUTE - int(now) % _MINUTE
        counted = [self._counted(limit, each, now) for limit, each in covering]
        try:
            for one in counted:
                if not await one.window.take():
                    self.refused += 1
                    raise _refusal(one, seconds=seconds)
        finally:
            standings = [(one.labels, one.window.remaining, seconds) for one in counted]
            limit_headers += headers.describe(standings, dialect=request.dialect, now=now)

    def _counted(self, limit: Limit, each: tuple[str, ...], now: float) -> "_Counted":
        """What is counted of a limit in this minute."""
        minute = int(now) // _MINUTE
        if minute != self._minute:
            self.granted_alone = self.all_granted_alone
            self._current = {}
            self._minute = minute
        key = (limit.account, limit.name, each)
        found = self._current.get(key)
        if found is None or not (found.limit is limit or found.limit == limit):
            amount = int(limit.amount)
            window = self._leased(f"{RATE_SUBJECT}{scopes.counter(limit, each)}.{minute}", amount)
            labels = headers.Labels(name=limit.name, measure=limit.measure, amount=amount)
            found = self._current[key] = _Counted(limit, each, window, labels)
        return found

    def _leased(self, subject: str, amount: int) -> Window:
        async def increment(by: int) -> int:
            nc = self._nc
            if nc is None or not nc.is_connected:
                raise FAILED[0]("no connection to NATS")
            self.leases += 1
            js = nc.jetstream(timeout=TIMEOUT_SECONDS)
            try:  # without `stream`: a counter accepts no header that says what is expected
                return int((await js.publish(subject, b"", headers={"Nats-Incr": str(by)})).val or 0)
            except APIError as error:
                self._warn(error)
                raise

        return Window(amount, increment, share=lambda limit: max(limit // self.gateways(), 1))

    def _warn(self, error: APIError) -> None:
        """Log, once a minute, that NATS refuses to count; each gateway then grants its share."""
        if self._warned_minute != self._minute:
            self._warned_minute = self._minute
            log.error("rate limits: NATS refuses to count: %s", str(error)[:200])


class _Counted(NamedTuple):
    """One limit in this minute, for one value of each EACH field."""

    limit: Limit
    each: tuple[str, ...]
    window: Window
    labels: headers.Labels


def _refusal(counted: _Counted, *, seconds: int) -> Refusal:
    limit = counted.limit
    whom = f" for {', '.join(counted.each)}" if counted.each else ""
    return Refusal(
        429,
        "rate_limit_exceeded",
        f"The limit {limit.name} of {wording.text(limit)}{whom} is reached; try again in {seconds} s.",
        retry_after=seconds,
    )
