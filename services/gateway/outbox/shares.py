"""How much of the outbox one account may fill while NATS stores nothing."""

from shared import events
from shared.events import GatewayBeat, ResponseEvent

# An account may hold so many times what is still free. The more is taken, the less each may have: one that fills the
# outbox alone ends at three quarters, and whoever comes later still finds room.
_ACCOUNT = 3.0
_REFUSALS = 1 / 16  # the same, for rows of requests that were refused: they cost their sender nothing

Owner = tuple[str, bool]  # account, and whether these are its refused requests


class Shares:
    """Bytes of events on the disk by account. What an earlier start left is nobody's."""

    __slots__ = ("_denied", "_held", "_segments")

    def __init__(self) -> None:
        self._held: dict[Owner, int] = {}
        self._denied: set[str] = set()  # accounts whose last event had no room
        self._segments: dict[int, dict[Owner, int]] = {}  # by number: a segment is freed as a whole

    def take(self, event: events.Event, size: int, *, segment: int, free: int, reserve: int) -> bool:
        """Count an event of `size` bytes, where its account's share of an outbox with `free` bytes left allows it.

        `reserve` is for the ends of requests that have begun: half a request is worth less than none.
        """
        if isinstance(event, GatewayBeat):
            return True
        is_end = refused = False
        if isinstance(event, ResponseEvent):
            is_end = True
            refused = not event.upstream and event.cache != events.HIT
        account = event.envelope.account
        owner = account, refused
        held = self._held.get(owner, 0) + size
        if refused:
            if held > free * _REFUSALS:
                return False
        elif held > free * _ACCOUNT + (reserve * (1 + _ACCOUNT) if is_end else 0):
            self._denied.add(account)
            return False
        elif self._denied:
            self._denied.discard(account)
        self._held[owner] = held
        in_segment = self._segments.get(segment)
        if in_segment is None:
            in_segment = self._segments[segment] = {}
        in_segment[owner] = in_segment.get(owner, 0) + size
        return True

    def give_back(self, event: events.Event, size: int, *, segment: int) -> None:
        """An event that was counted could not be written."""
        if not isinstance(event, GatewayBeat):
            refused = isinstance(event, ResponseEvent) and not event.upstream and event.cache != events.HIT
            owner = event.envelope.account, refused
            self._segments[segment][owner] -= size
            self._let_go(owner, size)

    def is_full(self, account: str) -> bool:
        """Whether an account had no room for its last event."""
        return account in self._denied

    @property
    def any_full(self) -> bool:
        """Whether some account had no room for its last event."""
        return bool(self._denied)

    def free(self, segment: int) -> None:
        """A segment was deleted."""
        self._denied.clear()
        for owner, size in self._segments.pop(segment, {}).items():
            self._let_go(owner, size)

    def _let_go(self, owner: Owner, size: int) -> None:
        left = self._held.pop(owner, 0) - size
        if left > 0:
            self._held[owner] = left
