"""Decodes a message into events and the pieces that are not valid events."""

from typing import NamedTuple

import msgspec

from shared import events as event_types

# Reasons of dead letters.
BAD_FRAME = "bad_frame"
BAD_EVENT = "bad_event"
BAD_ROW = "bad_row"  # an event that cannot be converted to a row, or whose row ClickHouse refuses


class BadEvent(NamedTuple):
    """Bytes that cannot be stored; `reason` is part of the dead letter's subject."""

    reason: str
    detail: str
    data: bytes


def unpack(data: bytes) -> tuple[list[event_types.Event], list[BadEvent]]:
    """Decode all readable events; a corrupt frame of sane length affects no others."""
    events: list[event_types.Event] = []
    bad: list[BadEvent] = []
    position = 0
    while position < len(data):
        try:
            for body in event_types.frames(data[position:]):
                position += event_types.FRAME.size + len(body)
                _decode(body, events, bad)
        except event_types.BadFrame as error:
            end = _next(data, position)
            bad.append(BadEvent(BAD_FRAME, str(error), data[position:end]))
            position = end
    return events, bad


def _decode(body: bytes, events: list[event_types.Event], bad: list[BadEvent]) -> None:
    try:
        events.append(event_types.decode(body))
    except (msgspec.MsgspecError, ValueError) as error:
        bad.append(BadEvent(BAD_EVENT, str(error), body))


def _next(data: bytes, position: int) -> int:
    """Start of the frame after the corrupt one at `position`; the end if its length is implausible."""
    if position + event_types.FRAME.size > len(data):
        return len(data)
    length, _ = event_types.FRAME.unpack_from(data, position)
    return min(position + event_types.FRAME.size + int(length), len(data))
