"""Messages with the events that a gateway would have recorded on a past day.

Each day is a gateway instance of its own, so that completeness can be verified per day.
"""

import uuid
import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from random import Random

import msgspec
from msgspec.structs import replace

from deploy.demo import month, responses
from deploy.demo.calls import CUT_MIDWAY, Call
from deploy.demo.cast import CAST, IMAGES
from deploy.demo.month import Plan
from services.gateway.accounting_failures import Failures
from services.gateway.exchange import Exchange
from services.gateway.request import client_info
from services.gateway.usage.tap import open_tap
from shared import events as event_types
from shared.events import Envelope, Event, GatewayBeat, Origin, ResponseEvent

GATEWAY = "history"  # the gateway's name in these events
_KEPT = timedelta(days=8)  # request events older than that would be deleted at once
_MESSAGE_EVENTS = 500
_BEAT = timedelta(minutes=15)
_LATE = timedelta(minutes=30)  # after midnight, when the last responses of a day have ended
_EPOCH = 1


class Message(msgspec.Struct, frozen=True):
    """A message to publish; its id is the same for the same events."""

    id: str
    data: bytes
    rows: int  # responses among its events
    events: int


class Events:
    """The events of an instance, as a gateway's outbox takes them."""

    def __init__(self, spool: str) -> None:
        self.taken: list[Event] = []
        self._spool = spool
        self._last = 0

    def origin(self) -> Origin:
        """Number the next event."""
        self._last += 1
        return Origin(self._spool, _EPOCH, self._last)

    def append(self, event: Event) -> bool:
        """Take an event."""
        self.taken.append(event)
        return True

    def count_dropped(self, origin: Origin) -> None:
        """Fail: none is dropped."""
        raise AssertionError(origin)

    def beat(self, at: datetime, *, closing: bool = False) -> None:
        """Take a progress report."""
        self.append(GatewayBeat(self._spool, _EPOCH, GATEWAY, at, self._last, 0, closing, 0))


def spool(plan: Plan, number: int) -> str:
    """The instance of a day."""
    return f"{GATEWAY}-{plan.day(number):%Y%m%d}-{plan.digest}"


def is_stored(plan: Plan, number: int, known: Mapping[str, bool]) -> bool:
    """Whether a day is stored: complete, or by another plan.

    `known`: spool → whether it is complete.
    """
    own = spool(plan, number)
    return known.get(own, any(name.startswith(own.removesuffix(plan.digest)) for name in known))


def messages(plan: Plan, number: int, count: int, *, until: datetime) -> Iterator[Message]:
    """A day's messages up to `until`; the last one marks a finished day as complete."""
    found = events(plan, number, count, until=until)
    for start in range(0, len(found), _MESSAGE_EVENTS):
        batch = found[start : start + _MESSAGE_EVENTS]
        data = b"".join(event_types.frame(body) + body for body in map(event_types.encode, batch))
        rows = sum(isinstance(event, ResponseEvent) for event in batch)
        yield Message(f"{spool(plan, number)}-{start}-{zlib.crc32(data):08x}", data, rows, len(batch))


def events(plan: Plan, number: int, count: int, *, until: datetime) -> list[Event]:
    """Pairs of events ordered by end time, with progress reports in between."""
    found, midnight = Events(spool(plan, number)), plan.midnight(number + 1)
    with_requests = plan.day(plan.days) - plan.day(number) <= _KEPT  # by the plan's dates, not today's
    beat_at = plan.midnight(number) + _BEAT
    for call in _in_order(plan, number, count):
        if call.ended_at > until:
            break
        while beat_at <= call.ended_at:
            found.beat(beat_at)
            beat_at += _BEAT
        record(call, found, with_request=with_requests)
    if until > plan.midnight(number):  # a later run may continue a day that is not over
        found.beat(midnight if until >= midnight + _LATE else until, closing=True)
    return found.taken


def _in_order(plan: Plan, number: int, count: int) -> list[Call]:
    """The calls of a day in the order in which they end; repeated ones are cache hits."""
    rng, found = plan.rng(f"ends {number}"), []
    asked_before: set[tuple[str, str, int]] = set()
    for call in sorted(month.calls(plan, number, count), key=lambda one: one.at):
        question = (call.requester.name, call.model, call.question)
        hit = call.cache and question in asked_before and call.leaves is None
        asked_before.add(question)
        found.append(replace(call, hit=True, first_byte=rng.uniform(0.002, 0.012), generation=0.0) if hit else call)
    return sorted(found, key=lambda one: one.ended_at)


def record(call: Call, found: Events, *, with_request: bool) -> None:
    """Append a call's events as a gateway's accounting makes them, at past times."""
    made = responses.respond(call, most=2)
    exchange = Exchange(_envelope(call), outbox=found, secrets=(), clock=0.0, failures=Failures())
    if with_request and not call.hit:
        exchange.begin()
    exchange.upstream = not call.hit
    exchange.status = made.status
    exchange.tap = open_tap(made.status, made.content_type, "", call.endpoint.dialect)
    exchange.cache = (event_types.HIT if call.hit else event_types.MISS) if call.cache else ""
    exchange.drained = call.leaves is not None
    exchange.provider_request_id = f"req_{call.name}"
    exchange.request_bytes = 300 + 4 * (call.usage.input_tokens or 0)
    exchange.request_notes = {"quality": "medium", "size": "1024x1024"} if call.endpoint.style == IMAGES else {}
    for part in made.parts:
        exchange.receive(part)
    if made.status == 200:
        text = (call.usage.output_tokens or 0) * (180 if call.stream else 4)
        exchange.response_bytes += call.endpoint.data_bytes or text
    if call.result == CUT_MIDWAY:
        exchange.finish(
            event_types.UPSTREAM_CLOSED, error_type="broken_off", message="The provider's response was cut off."
        )
    else:
        exchange.finish(event_types.CLIENT_CLOSED if exchange.drained else event_types.COMPLETE)
    event = found.taken[-1]
    assert isinstance(event, ResponseEvent)
    seconds = call.first_byte + call.seconds
    first_byte = call.first_byte if made.content_type == responses.EVENT_STREAM else seconds
    found.taken[-1] = replace(event, latency_ms=round(seconds * 1000), ttfb_ms=round(first_byte * 1000))


def _envelope(call: Call) -> Envelope:
    who, info = call.requester, client_info.read(call.session_headers())
    return Envelope(
        id=uuid7(call.at, Random(call.name)),  # noqa: S311 — chance that repeats
        account=who.account,
        token=CAST.tokens[who.account],
        requester=who.name,
        metadata=who.metadata,
        provider=call.endpoint.provider,
        dialect=call.endpoint.dialect,
        endpoint=call.endpoint.label(stream=call.stream),
        model=call.model,
        stream=call.stream,
        started_at=call.at,
        gateway=GATEWAY,
        client=info.client,
        client_version=info.client_version,
        session=info.session,
    )


def uuid7(at: datetime, rng: Random) -> str:
    """A UUIDv7 for this time, with a reproducible random part."""
    high = int(at.timestamp() * 1000) << 16 | 0x7 << 12 | rng.getrandbits(12)
    return str(uuid.UUID(int=high << 64 | 0b10 << 62 | rng.getrandbits(62)))
