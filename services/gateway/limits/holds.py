"""What requests hold of budgets until their rows are in the published figures."""

import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Protocol

import msgspec

from shared.limits.spend import Held

SILENCE_SECONDS = 3.0  # after which another gateway's requests no longer count
GIVE_UP_SECONDS = 120.0  # after which the figures must have included a request that NATS has stored

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


class Hold(msgspec.Struct):
    """What one request holds of each budget that covers it."""

    account: str
    amounts: list[tuple[str, int]]  # (counter, units)
    cost: int = 0  # billionths of a dollar that it is expected to cost, if a budget of cost covers it
    reserved: list[tuple[str, int]] = []  # of strict budgets, in the shared counters
    position: Position = (0, 0)  # behind its last event
    sequence: int = 0  # in the stream
    stored_at: float = 0.0  # monotonic


class Holds:
    """Sums of what is held, here and by other gateways."""

    def __init__(self, events: ShippedEvents) -> None:
        self._events = events
        self.own: Counter[str] = Counter()
        self.cost = 0  # held here, in billionths of a dollar
        self._others: dict[str, tuple[float, Mapping[str, int]]] = {}
        self._foreign: Counter[str] = Counter()  # the sums of others
        self._unstored: deque[Hold] = deque()  # finished requests, in the order of their positions
        self._unbooked: dict[str, deque[Hold]] = {}  # by account, stored in NATS

    def total(self, counter: str) -> int:
        """What is held of a budget, by all gateways."""
        return self.own[counter] + self._foreign[counter]

    def add(self, hold: Hold) -> None:
        """Count a request that begins."""
        self.cost += hold.cost
        for counter, units in hold.amounts:
            self.own[counter] += units

    def add_amount(self, hold: Hold, counter: str, units: int) -> None:
        """Count more of a request that has begun."""
        hold.amounts.append((counter, units))
        self.own[counter] += units

    def finish(self, hold: Hold) -> None:
        """Keep a request whose last event is written until its row is in the figures."""
        hold.position = self._events.position()
        self._unstored.append(hold)

    def release(self, hold: Hold) -> None:
        """Count a request no longer."""
        self.cost -= hold.cost
        for counter, units in hold.amounts:
            left = self.own[counter] - units
            if left:
                self.own[counter] = left
            else:
                del self.own[counter]

    def settle(self, booked: Mapping[str, int]) -> list[Hold]:
        """Release what the figures include.

        `booked`: up to which sequence number they go, by account.
        """
        now = time.monotonic()
        while self._unstored and (sequence := self._events.stored(self._unstored[0].position)):
            hold = self._unstored.popleft()
            hold.sequence = sequence
            hold.stored_at = now
            self._unbooked.setdefault(hold.account, deque()).append(hold)
        released = []
        for account, waiting in list(self._unbooked.items()):
            through = booked.get(account, 0)
            while waiting and (waiting[0].sequence <= through or waiting[0].stored_at < now - GIVE_UP_SECONDS):
                hold = waiting.popleft()
                self.release(hold)
                released.append(hold)
            if not waiting:
                del self._unbooked[account]
        return released

    @property
    def waiting(self) -> int:
        """Number of finished requests that the figures do not include yet."""
        return len(self._unstored) + sum(map(len, self._unbooked.values()))

    def hear(self, held: Held) -> None:
        """Take over what another gateway holds."""
        self._others[held.gateway] = (time.monotonic(), held.amounts)
        self._sum_others()

    def forget_silent(self) -> None:
        """Drop gateways that have not been heard for a while."""
        oldest = time.monotonic() - SILENCE_SECONDS
        silent = [name for name, (at, _) in self._others.items() if at < oldest]
        for name in silent:
            del self._others[name]
        if silent:
            self._sum_others()

    def _sum_others(self) -> None:
        self._foreign = Counter()
        for _, amounts in self._others.values():
            self._foreign.update(amounts)
