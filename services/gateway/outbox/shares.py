"""Fair shares of the outbox, by account, for when NATS stores nothing."""

from shared import events
from shared.events import GatewayBeat, RequestEvent, ResponseEvent

# An account may hold this many times what is still free. The fuller the outbox, the less each may have: an account
# that fills it alone ends at three quarters, and others still find room.
_ACCOUNT = 3.0
_REFUSALS = 1 / 16  # the same for rows of refused requests, which cost their sender nothing

Owner = str | tuple[str]  # an account, or (account,) for its refused requests


class Shares:
    """Bytes on disk by account. What earlier starts left belongs to no account."""

    __slots__ = ("_denied", "_held", "_segments")

    def __init__(self) -> None:
        self._held: dict[Owner, int] = {}
        self._denied: set[str] = set()  # accounts whose last event had no room
        self._segments: dict[int, dict[Owner, int]] = {}  # by number: a segment is deleted as a whole

    def take(self, event: events.Event, size: int, *, segment: int, free: int, reserve: int) -> bool:
        """Count an event if its account's share allows it; False if not.

        `free`: bytes left in the outbox. `reserve`: bytes kept for the ends of requests that have begun, because half a
        request is worth less than none.
        """
        if isinstance(event, GatewayBeat):
            return True
        owner = _owner(event) if isinstance(event, ResponseEvent) else event.envelope.account
        held = self._held.get(owner, 0) + size
        if isinstance(owner, tuple):
            if held > free * _REFUSALS:
                return False
        elif held > free * _ACCOUNT and (
            isinstance(event, RequestEvent) or held > free * _ACCOUNT + reserve * (1 + _ACCOUNT)
        ):
            self._denied.add(owner)
            return False
        elif self._denied:
            self._denied.discard(event.envelope.account)
        self._held[owner] = held
        in_segment = self._segments.get(segment)
        if in_segment is None:
            in_segment = self._segments[segment] = {}
        in_segment[owner] = in_segment.get(owner, 0) + size
        return True

    def give_back(self, event: events.Event, size: int, *, segment: int) -> None:
        """Undo `take` for an event that could not be written."""
        if not isinstance(event, GatewayBeat):
            owner = _owner(event) if isinstance(event, ResponseEvent) else event.envelope.account
            self._segments[segment][owner] -= size
            self._release(owner, size)

    def is_full(self, account: str) -> bool:
        """Whether an account had no room for its last event."""
        return account in self._denied

    @property
    def any_full(self) -> bool:
        """Whether any account had no room for its last event."""
        return bool(self._denied)

    def free(self, segment: int) -> None:
        """Release the bytes of a deleted segment."""
        self._denied.clear()
        for owner, size in self._segments.pop(segment, {}).items():
            self._release(owner, size)

    def _release(self, owner: Owner, size: int) -> None:
        left = self._held.pop(owner, 0) - size
        if left > 0:
            self._held[owner] = left


def _owner(event: ResponseEvent) -> Owner:
    refused = not event.upstream and event.cache != events.HIT
    return (event.envelope.account,) if refused else event.envelope.account
