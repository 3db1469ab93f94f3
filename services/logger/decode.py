"""A message's bytes go in, its events come out, and beside them the pieces that are none, each with a reason."""

from typing import NamedTuple

import msgspec

from shared import events as event_types

BAD_FRAME, BAD_EVENT = "bad_frame", "bad_event"
BAD_ROW = "bad_row"  # an event that ClickHouse does not take, or that becomes no row


class BadEvent(NamedTuple):
    """Bytes that cannot become a row; `reason` is the last token of their subject in the dead-letter stream."""

    reason: str
    detail: str
    data: bytes


def unpack(data: bytes) -> tuple[list[event_types.Event], list[BadEvent]]:
    """Every event that can be read. A changed frame costs itself only, as long as its length still makes sense."""
    events: list[event_types.Event] = []
    poison: list[BadEvent] = []
    position = 0
    while position < len(data):
        try:
            for body in event_types.frames(data[position:]):
                position += event_types.FRAME.size + len(body)
                _decode(body, events, poison)
        except event_types.BadFrame as error:
            end = _next(data, position)
            poison.append(BadEvent(BAD_FRAME, str(error), data[position:end]))
            position = end
    return events, poison


def _decode(body: bytes, events: list[event_types.Event], poison: list[BadEvent]) -> None:
    try:
        events.append(event_types.decode(body))
    except (msgspec.MsgspecError, ValueError) as error:
        poison.append(BadEvent(BAD_EVENT, str(error), body))


def _next(data: bytes, position: int) -> int:
    """Where the frame after the broken one at `position` begins, or the end when its header cannot be believed."""
    if position + event_types.FRAME.size > len(data):
        return len(data)
    length, _ = event_types.FRAME.unpack_from(data, position)
    return min(position + event_types.FRAME.size + int(length), len(data))
