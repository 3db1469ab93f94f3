"""Messages with the events that a gateway would have recorded on a past day.

Each day is a gateway instance of its own, so that completeness can be verified per day.
"""

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec

from deploy.demo import month, responses
from deploy.demo.calls import CUT_MIDWAY, ERROR_MIDWAY, REFUSALS, Call
from deploy.demo.cast import CAST, EMBEDDINGS, IMAGES
from deploy.demo.month import Plan
from services.gateway import upstream_error
from services.gateway.request import client_info
from shared import events as event_types
from shared.events import Envelope, Event, GatewayBeat, Origin, RequestEvent, ResponseEvent

GATEWAY = "history"  # the gateway's name in these events
MESSAGE_BYTES = 256 << 10  # as a gateway's
KEPT = timedelta(days=8)  # request events older than that would be deleted at once
CLOSING = "-closing"  # ends the id of the message that marks its day as complete and is stored last
_BEAT = timedelta(minutes=15)
_HIT_SECONDS = 0.004
_EPOCH = 1
_UNIX = datetime.fromtimestamp(0, UTC)
_OUTCOMES = {ERROR_MIDWAY: event_types.UPSTREAM_ERROR, CUT_MIDWAY: event_types.UPSTREAM_CLOSED}
_BROKEN_OFF = ("broken_off", "The provider's response was cut off.")


class Message(msgspec.Struct, frozen=True):
    """A message to publish; its id is the same for the same plan, day and numbers."""

    id: str
    data: bytes
    rows: int  # responses among its events
    events: int


class Past(msgspec.Struct, frozen=True):
    """A call of the past."""

    call: Call
    started_at: datetime
    seconds: float  # until the response ended
    hit: bool = False

    @property
    def ended_at(self) -> datetime:
        """When the response ended."""
        return self.started_at + timedelta(seconds=self.seconds)


def spool(plan: Plan, number: int) -> str:
    """The instance of a day."""
    return f"{day_prefix(plan, number)}{plan.digest}"


def day_prefix(plan: Plan, number: int) -> str:
    """Prefix of the instance names of this day, for any plan."""
    return f"{GATEWAY}-{plan.day(number):%Y%m%d}-"


def is_stored(plan: Plan, number: int, known: Mapping[str, bool]) -> bool:
    """Whether a day is stored: complete, or by another plan.

    `known`: spool → whether it is complete.
    """
    own = spool(plan, number)
    return known.get(own, False) or any(name.startswith(day_prefix(plan, number)) and name != own for name in known)


def messages(plan: Plan, number: int, count: int, *, until: datetime) -> Iterator[Message]:
    """A day's messages up to `until`; the last one marks a finished day as complete."""
    name, frames, size, rows, first, last = spool(plan, number), list[bytes](), 0, 0, 1, 0
    for event in events(plan, number, count, until=until):
        body = event_types.encode(event)
        frames += (event_types.frame(body), body)
        size += len(body) + event_types.FRAME.size
        rows += isinstance(event, ResponseEvent)
        last = event.sequence if isinstance(event, GatewayBeat) else event.origin.sequence
        if size >= MESSAGE_BYTES and isinstance(event, ResponseEvent):  # keep pairs together
            yield Message(f"{name}-{first}-{last}", b"".join(frames), rows, len(frames) // 2)
            frames, size, rows, first = [], 0, 0, last + 1
    if frames:
        closing = CLOSING if _is_over(plan, number, until) else ""
        yield Message(f"{name}-{first}-{last}{closing}", b"".join(frames), rows, len(frames) // 2)


def events(plan: Plan, number: int, count: int, *, until: datetime) -> Iterator[Event]:
    """Pairs of events ordered by end time, with progress reports in between."""
    name, last = spool(plan, number), 0
    with_requests = plan.day(plan.days) - plan.day(number) <= KEPT  # by the plan's dates, not today's
    beat_at = plan.midnight(number) + _BEAT

    def beat(at: datetime, *, closing: bool = False) -> GatewayBeat:
        return GatewayBeat(name, _EPOCH, GATEWAY, at, sequence=last, dropped=0, closing=closing, pending_bytes=0)

    for past in _past(plan, number, count):
        if past.ended_at > until:
            break
        while beat_at <= past.ended_at:
            yield beat(beat_at)
            beat_at += _BEAT
        for event in pair(past, name, last + 1, with_request=with_requests):
            last = event.origin.sequence
            yield event
    if _is_over(plan, number, until):
        yield beat(plan.midnight(number + 1), closing=True)
    elif until > plan.midnight(number):
        yield beat(until, closing=True)  # stop here; a later run may continue


def _is_over(plan: Plan, number: int, until: datetime) -> bool:
    """Whether the whole day, including responses after midnight, is before `until`."""
    return until >= plan.midnight(number + 1) + timedelta(minutes=30)


def _past(plan: Plan, number: int, count: int) -> list[Past]:
    """The calls of a day in the order in which they ended."""
    rng, found = plan.rng(f"ends {number}"), []
    asked_before: set[tuple[str, str, int]] = set()
    for started_at, call in sorted(month.calls(plan, number, count), key=lambda one: one[0]):
        question = (call.requester.name, call.model, call.question)
        hit = call.cache and question in asked_before and call.leaves is None
        asked_before.add(question)
        seconds = call.reply.first_byte + (0 if call.reply.result in REFUSALS else call.reply.sending_seconds)
        found.append(Past(call, started_at, _HIT_SECONDS * rng.uniform(0.5, 3) if hit else seconds, hit))
    return sorted(found, key=lambda one: one.ended_at)


def pair(past: Past, name: str, number: int, *, with_request: bool) -> Iterator[RequestEvent | ResponseEvent]:
    """The two events of a call, numbered from here; a cache hit has no request event."""
    envelope = _envelope(past, Random(f"{name} {number - 1}"))  # noqa: S311 — chance that repeats
    if with_request and not past.hit:
        yield RequestEvent(Origin(name, _EPOCH, number), envelope)
        number += 1
    yield _response(past, Origin(name, _EPOCH, number), envelope)


def _envelope(past: Past, rng: Random) -> Envelope:
    call, who = past.call, past.call.requester
    info = client_info.read(who.session_headers(past.started_at))
    return Envelope(
        id=uuid7(past.started_at, rng),
        account=who.account,
        token=CAST.tokens[who.account],
        requester=who.name,
        metadata={"project": who.project, "feature": who.feature, "environment": who.environment},
        provider=call.endpoint.provider,
        dialect=call.endpoint.dialect,
        endpoint=call.endpoint.label(stream=call.stream),
        model=call.model,
        stream=call.stream,
        started_at=past.started_at,
        gateway=GATEWAY,
        client=info.client,
        client_version=info.client_version,
        session=info.session,
    )


def _response(past: Past, origin: Origin, envelope: Envelope) -> ResponseEvent:
    call, name = past.call, envelope.id[-12:]
    reply = call.reply
    status, error, message = refusal(call)
    if reply.result == CUT_MIDWAY:
        error, message = _BROKEN_OFF
    whole = past.hit or status >= 400 or not call.stream
    left = call.leaves is not None
    return ResponseEvent(
        origin=origin,
        envelope=envelope,
        status=status,
        outcome=_OUTCOMES.get(reply.result, event_types.CLIENT_CLOSED if left else event_types.COMPLETE),
        error_type=error,
        error_message=message,
        provider_request_id=f"req_{name}",
        latency_ms=round(past.seconds * 1000),
        ttfb_ms=round((past.seconds if whole else reply.first_byte) * 1000),
        request_bytes=300 + 4 * (reply.usage.input_tokens or 0),
        response_bytes=400 if status >= 400 else _size(call),
        cache=(event_types.HIT if past.hit else event_types.MISS) if call.cache else "",
        drained=left,
        upstream=not past.hit,
        evidence=responses.evidence(call.endpoint, reply, model=call.model, stream=call.stream, name=name),
    )


def refusal(call: Call) -> tuple[int, str, str]:
    """(status, error type, message) as the gateway reads them; (200, "", "") if fine."""
    if call.reply.result not in REFUSALS:
        return 200, "", ""
    status, body = responses.error(call.endpoint.provider, call.reply.result)
    return status, *upstream_error.parse(body)


def _size(call: Call) -> int:
    """Approximate size of the response in bytes."""
    if call.endpoint.style in (IMAGES, EMBEDDINGS):
        return 1_400_000 if call.endpoint.style == IMAGES else 33_000
    return 600 + (call.reply.usage.output_tokens or 0) * (180 if call.stream else 4)


def uuid7(at: datetime, rng: Random) -> str:
    """A UUIDv7 for this time, with a reproducible random part."""
    milliseconds = (at - _UNIX) // timedelta(milliseconds=1)
    high = milliseconds << 16 | 0x7 << 12 | rng.getrandbits(12)
    return str(uuid.UUID(int=high << 64 | 0b10 << 62 | rng.getrandbits(62)))
