"""What requests hold of budgets until their rows are in the published figures."""

import time
from collections import Counter, deque
from collections.abc import Callable, Container, Mapping
from typing import NamedTuple, Protocol

import msgspec

from shared.limits.spend import Held

SILENCE_SECONDS = 3.0  # after which another gateway's requests no longer count
GIVE_UP_SECONDS = 120.0  # of regular figures, after which they must include a request that NATS has stored
REGULAR_SECONDS = 90.0  # between two figures, at most; a logger publishes them at least once a minute
MOST_WAITING = 1000  # finished requests of an account that are kept one by one

Position = tuple[int, int]


class ShippedEvents(Protocol):
    """How far events have been stored: services.gateway.outbox.outbox.Outbox."""

    def position(self) -> Position:
        """Return the position behind the newest event."""
        ...

    def stored(self, position: Position) -> int:
        """Return a stream sequence number that all events before a position are below.

        0 if NATS has not stored all of them.
        """
        ...


class KnownFigures(NamedTuple):
    """How far an account's figures go, and when this gateway heard so."""

    through: int = 0  # sequence number in the stream
    at: float = 0.0  # monotonic
    since: float = 0.0  # from which on they came regularly

    def next(self, through: int) -> "KnownFigures":
        """The next figures, heard now."""
        now = time.monotonic()
        return KnownFigures(through, now, self.since if now - self.at < REGULAR_SECONDS else now)


NEVER = KnownFigures()


class Hold(msgspec.Struct):
    """What one request holds of each budget that covers it, in units by counter."""

    account: str
    amounts: dict[str, int] = {}
    cost: int = 0  # billionths of a dollar that it is expected to cost, if a budget of cost covers it
    reserved: dict[str, int] = {}  # in the counters that all gateways share
    counted: set[str] = set()  # the counters of requests, which count whether or not a provider is called
    position: Position = (0, 0)  # behind its last event
    sequence: int = 0  # in the stream
    stored_at: float = 0.0  # monotonic
    requests: int = 1

    def split(self) -> "Hold":
        """Leave only what is counted; returns the rest."""
        rest = Hold(
            self.account, _without(self.amounts, self.counted), self.cost, _without(self.reserved, self.counted)
        )
        self.amounts = _without(self.amounts, rest.amounts)
        self.reserved = _without(self.reserved, rest.reserved)
        self.cost = 0
        return rest

    def absorb(self, later: "Hold") -> None:
        """Add what a later request holds, until that is released."""
        for own, others in ((self.amounts, later.amounts), (self.reserved, later.reserved)):
            for counter, units in others.items():
                own[counter] = own.get(counter, 0) + units
        self.counted |= later.counted
        self.cost += later.cost
        self.requests += later.requests
        self.position = later.position
        self.sequence = later.sequence
        self.stored_at = later.stored_at


def _without(amounts: Mapping[str, int], counters: Container[str]) -> dict[str, int]:
    return {counter: units for counter, units in amounts.items() if counter not in counters}


class Holds:
    """Sums of what is held, here and by other gateways."""

    def __init__(self, events: ShippedEvents) -> None:
        self._events = events
        self.own: Counter[str] = Counter()
        self.cost = 0  # held here, in billionths of a dollar
        self._others: dict[str, tuple[float, Mapping[str, int]]] = {}
        self._foreign: Counter[str] = Counter()  # the sums of others
        # Finished requests by account, in the order of their positions.
        self._unstored: dict[str, deque[Hold]] = {}
        self._stored: dict[str, deque[Hold]] = {}  # stored in NATS

    def total(self, counter: str) -> int:
        """What is held of a budget, by all gateways."""
        return self.own[counter] + self._foreign.get(counter, 0)  # a Counter calls Python for what it lacks

    def add(self, hold: Hold) -> None:
        """Count a request that begins."""
        self.cost += hold.cost
        for counter, units in hold.amounts.items():
            self.own[counter] += units

    def add_amount(self, hold: Hold, counter: str, units: int) -> None:
        """Count more of a request that has begun."""
        hold.amounts[counter] = units
        self.own[counter] += units

    def finish(self, hold: Hold) -> None:
        """Keep a request whose last event is written until its row is in the figures."""
        hold.position = self._events.position()
        _append(self._unstored, hold)

    def release(self, hold: Hold) -> None:
        """Count a request no longer."""
        self.cost -= hold.cost
        for counter, units in hold.amounts.items():
            _lower(self.own, counter, units)

    def release_included(self, figures: Mapping[str, KnownFigures], is_covered: Callable[[str], bool]) -> list[Hold]:
        """Release requests that the figures include; returns what they held.

        `figures`: how far they go, by account. `is_covered`: whether an account still has budgets.
        """
        now = time.monotonic()
        for account, waiting in list(self._unstored.items()):
            while waiting and (sequence := self._events.stored(waiting[0].position)):
                hold = waiting.popleft()
                hold.sequence = sequence
                hold.stored_at = now
                _append(self._stored, hold)
            if not waiting:
                del self._unstored[account]
        released = []
        for account, waiting in list(self._stored.items()):
            heard = figures.get(account, NEVER)
            is_needed = is_covered(account)
            while waiting and (not is_needed or _is_included(waiting[0], heard)):
                hold = waiting.popleft()
                self.release(hold)
                released.append(hold)
            if not waiting:
                del self._stored[account]
        return released

    @property
    def waiting(self) -> int:
        """Number of finished requests that the figures do not include yet."""
        queues = (*self._unstored.values(), *self._stored.values())
        return sum(hold.requests for waiting in queues for hold in waiting)

    def update(self, held: Held) -> None:
        """Replace what another gateway holds."""
        self._drop(held.gateway)
        self._others[held.gateway] = (time.monotonic(), held.amounts)
        for counter, units in held.amounts.items():
            self._foreign[counter] += units

    def forget_silent(self) -> None:
        """Drop gateways that have not been heard for a while."""
        oldest = time.monotonic() - SILENCE_SECONDS
        for name in [name for name, (at, _) in self._others.items() if at < oldest]:
            self._drop(name)

    def _drop(self, gateway: str) -> None:
        _, amounts = self._others.pop(gateway, (0.0, {}))
        for counter, units in amounts.items():
            _lower(self._foreign, counter, units)


def _lower(sums: Counter[str], counter: str, units: int) -> None:
    left = sums[counter] - units
    if left:
        sums[counter] = left
    else:
        del sums[counter]


def _append(queues: dict[str, deque[Hold]], hold: Hold) -> None:
    """Add to the queue of an account.

    One that is long, because NATS or the logger is away, grows no further.
    """
    waiting = queues.setdefault(hold.account, deque())
    if len(waiting) < MOST_WAITING:
        waiting.append(hold)
    else:
        waiting[-1].absorb(hold)


def _is_included(hold: Hold, heard: KnownFigures) -> bool:
    """Whether figures include a request, or have come for so long without it that they never will."""
    return hold.sequence <= heard.through or heard.at - max(hold.stored_at, heard.since) > GIVE_UP_SECONDS
