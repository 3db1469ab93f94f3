"""How much of the outbox one account may fill while NATS stores nothing."""

from collections import Counter

from shared import contract
from shared.contract import ResponseEvent

# An account may hold so many times what is still free. The more is taken, the less each may have: one that fills the
# outbox alone ends at three quarters, and whoever comes later still finds room.
_ACCOUNT = 3.0
_REFUSALS = 1 / 16  # the same, for rows of requests that were refused: they cost their sender nothing

Owner = tuple[str, bool]  # account, and whether these are its refused requests


class Shares:
    """Bytes of events on the disk by account. What an earlier start left is nobody's."""

    __slots__ = ("_denied", "_held", "_segments")

    def __init__(self) -> None:
        self._held: Counter[Owner] = Counter()
        self._denied: set[str] = set()  # accounts whose last event had no room
        self._segments: dict[int, Counter[Owner]] = {}  # by number: a segment is freed as a whole

    def allows(self, event: contract.Event, size: int, *, free: int, reserve: int) -> bool:
        """Whether an event of `size` bytes is within its account's share of an outbox with `free` bytes left.

        `reserve` is for the ends of requests that have begun: half a request is worth less than none.
        """
        owner = owner_of(event)
        if owner is None:
            return True
        account, refused = owner
        if refused:
            return self._held[owner] + size <= free * _REFUSALS
        extra = reserve * (1 + _ACCOUNT) if isinstance(event, ResponseEvent) else 0
        if self._held[owner] + size <= free * _ACCOUNT + extra:
            if self._denied:
                self._denied.discard(account)
            return True
        self._denied.add(account)
        return False

    def is_full(self, account: str) -> bool:
        """Whether an account had no room for its last event."""
        return account in self._denied

    @property
    def any_full(self) -> bool:
        """Whether some account had no room for its last event."""
        return bool(self._denied)

    def add(self, event: contract.Event, size: int, *, segment: int) -> None:
        """An event was written to a segment."""
        owner = owner_of(event)
        if owner is None:
            return
        self._held[owner] += size
        held = self._segments.get(segment)
        if held is None:
            held = self._segments[segment] = Counter()
        held[owner] += size

    def free(self, segment: int) -> None:
        """A segment was deleted."""
        self._denied.clear()
        for owner, size in self._segments.pop(segment, Counter()).items():
            self._held[owner] -= size
            if self._held[owner] <= 0:
                del self._held[owner]


def owner_of(event: contract.Event) -> Owner | None:
    """Whose share an event counts against; None for a beat."""
    if isinstance(event, contract.GatewayBeat):
        return None
    refused = isinstance(event, ResponseEvent) and not event.upstream and event.cache != "HIT"
    return event.envelope.account, refused
