"""A day of a plan in, the events that a gateway would have spooled out: numbered, with ids of their time, in messages.

Each day is a gateway instance of its own, so that it can be told from the others and completeness can be proven.
"""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec

from deploy.demo import month
from deploy.demo.books import HISTORY
from deploy.demo.cast import TOKENS
from deploy.demo.kinds import EMBEDDINGS, IMAGES
from deploy.demo.month import Moment, Plan
from deploy.demo.scene import CUT_MIDWAY, ERROR_MIDWAY, REFUSALS, Call
from deploy.demo.wire.evidence import evidence
from deploy.demo.wire.failure import failure
from shared import contract
from shared.contract import Envelope, Event, GatewayBeat, Origin, RequestEvent, ResponseEvent

MESSAGE_BYTES = 256 << 10  # as a gateway's
KEPT = timedelta(days=8)  # request events older than that would be deleted at once: nobody asks for them any more
_BEAT = timedelta(minutes=15)
_EPOCH = 1
_HIT_SECONDS = 0.004
_MAIN_TOKEN = "local"  # noqa: S105 — the name of a token
_VERSION_7, _VARIANT = 0x7, 0b10


class Message(msgspec.Struct, frozen=True):
    """What is published: frames, and an id that is the same for the same plan, day and numbers."""

    id: str
    data: bytes
    rows: int  # answers among its events
    events: int
    closing: bool = False  # it says that its day is whole: to be stored after all others of the day


class Ended(msgspec.Struct, frozen=True):
    """A call of the past with its end."""

    at: datetime
    moment: Moment
    latency: float  # seconds
    hit: bool


class Numbers:
    """The numbers that an instance gives its events, from 1."""

    def __init__(self, spool: str) -> None:
        self.spool, self.last = spool, 0

    def next(self) -> Origin:
        """The next event's."""
        self.last += 1
        return Origin(self.spool, _EPOCH, self.last)

    def beat(self, at: datetime, *, closing: bool = False) -> GatewayBeat:
        """How far they go at a moment."""
        return GatewayBeat(
            spool=self.spool,
            epoch=_EPOCH,
            gateway=HISTORY,
            at=at,
            sequence=self.last,
            dropped=0,
            closing=closing,
            pending_bytes=0,
        )


def spool(plan: Plan, number: int) -> str:
    """The instance of a day."""
    return f"{day_prefix(plan, number)}{plan.digest}"


def day_prefix(plan: Plan, number: int) -> str:
    """What the instances of this day begin with, whatever their plan."""
    return f"{HISTORY}-{plan.day(number):%Y%m%d}-"


def messages(plan: Plan, number: int, count: int, *, until: datetime) -> Iterator[Message]:
    """The messages of a day up to `until`; the last one closes the instance when the day is over."""
    name, frames, size, rows, first, last = spool(plan, number), list[bytes](), 0, 0, 1, 0
    for event in events(plan, number, count, until=until):
        body = contract.encode(event)
        frames += (contract.frame(body), body)
        size += len(body) + contract.FRAME.size
        rows += isinstance(event, ResponseEvent)
        last = event.sequence if isinstance(event, GatewayBeat) else event.origin.sequence
        if size >= MESSAGE_BYTES and isinstance(event, ResponseEvent):  # a pair stays together
            yield Message(f"{name}-{first}-{last}", b"".join(frames), rows, len(frames) // 2)
            frames, size, rows, first = [], 0, 0, last + 1
    if frames:
        over = _over(plan, number, until)
        key = f"{name}-{first}-{last}{'-closing' if over else ''}"
        yield Message(key, b"".join(frames), rows, len(frames) // 2, over)


def events(plan: Plan, number: int, count: int, *, until: datetime) -> Iterator[Event]:
    """Pairs of events in the order of their ends, beats among them."""
    numbers, asked = Numbers(spool(plan, number)), _asked(plan, number)
    midnight = datetime.combine(plan.day(number), datetime.min.time(), tzinfo=UTC)
    beat_at = midnight + _BEAT
    for end in _ends(plan, number, count):
        if end.at > until:
            break
        while beat_at <= end.at:
            yield numbers.beat(beat_at)
            beat_at += _BEAT
        yield from pair(end, numbers, asked=asked)
    if _over(plan, number, until):
        yield numbers.beat(midnight + timedelta(days=1), closing=True)
    elif until > midnight:
        yield numbers.beat(until)


def pair(end: Ended, numbers: Numbers, *, asked: bool) -> Iterator[RequestEvent | ResponseEvent]:
    """The two events of a call; what the cache answered was never sent, and has no first one."""
    rng = Random(f"{numbers.spool} {numbers.last}")  # noqa: S311 — chance that repeats
    envelope = _envelope(end.moment, rng)
    if asked and not end.hit:
        yield RequestEvent(numbers.next(), envelope)
    yield _response(end, numbers.next(), envelope)


def _asked(plan: Plan, number: int) -> bool:
    """Whether the day has request events: the plan's last days do, by its own dates and not by today's."""
    return plan.day(plan.days) - plan.day(number) <= KEPT


def _over(plan: Plan, number: int, until: datetime) -> bool:
    """Whether everything of the day lies before `until`, answers after midnight included."""
    return until >= datetime.combine(plan.day(number + 1), datetime.min.time(), tzinfo=UTC) + timedelta(minutes=30)


def _ends(plan: Plan, number: int, count: int) -> list[Ended]:
    rng, found = plan.rng(f"ends {number}"), []
    asked_before: set[tuple[str, str, int]] = set()
    for moment in sorted(month.moments(plan, number, count), key=lambda one: one.started_at):
        call = moment.call
        question = (call.requester.name, call.model, call.question)
        hit = call.cache and question in asked_before and call.leaves is None
        asked_before.add(question)
        seconds = _HIT_SECONDS * rng.uniform(0.5, 3) if hit else _seconds(call)
        found.append(Ended(moment.started_at + timedelta(seconds=seconds), moment, seconds, hit))
    return sorted(found, key=lambda one: one.at)


def _seconds(call: Call) -> float:
    scene = call.scene
    if scene.fate in REFUSALS:
        return scene.first_byte
    return scene.first_byte + scene.seconds * (0.5 if scene.fate in (ERROR_MIDWAY, CUT_MIDWAY) else 1)


def _envelope(moment: Moment, rng: Random) -> Envelope:
    call, who = moment.call, moment.call.requester
    return Envelope(
        id=uuid7(moment.started_at, rng),
        account=who.account,
        token=TOKENS.get(who.account, _MAIN_TOKEN),
        requester=who.name,
        metadata={"project": who.project, "feature": who.feature, "environment": who.environment},
        provider=call.kind.provider,
        dialect=call.kind.dialect,
        endpoint=call.kind.endpoint(stream=call.stream),
        model=call.model,
        stream=call.stream,
        started_at=moment.started_at,
        gateway=HISTORY,
    )


def _response(end: Ended, origin: Origin, envelope: Envelope) -> ResponseEvent:
    call, name = end.moment.call, envelope.id[-12:]
    scene = call.scene
    status, error, message = refusal(call)
    first_byte = end.latency if end.hit or status >= 400 or not call.stream else scene.first_byte
    left = call.leaves is not None
    outcome = {ERROR_MIDWAY: contract.UPSTREAM_ERROR, CUT_MIDWAY: contract.UPSTREAM_CLOSED}.get(scene.fate)
    output = scene.usage.output or 0
    return ResponseEvent(
        origin=origin,
        envelope=envelope,
        status=status,
        outcome=outcome or (contract.CLIENT_CLOSED if left else contract.COMPLETE),
        error_type="broken_off" if scene.fate == CUT_MIDWAY else error,
        error_message="The provider broke its answer off." if scene.fate == CUT_MIDWAY else message,
        provider_request_id=f"req_{name}",
        latency_ms=round(end.latency * 1000),
        ttfb_ms=round(first_byte * 1000),
        request_bytes=300 + 4 * (scene.usage.input or 0),
        response_bytes=400 if status >= 400 else _size(call, output),
        cache=("HIT" if end.hit else "MISS") if call.cache else "",
        drained=left,
        upstream=not end.hit,
        evidence=evidence(call.kind, scene, model=call.model, stream=call.stream, name=name),
    )


def refusal(call: Call) -> tuple[int, str, str]:
    """(status, error type, message) as a gateway reads them in the provider's answer; (200, "", "") for an answer."""
    if call.scene.fate not in REFUSALS:
        return 200, "", ""
    status, _, body = failure(call.kind.provider, call.scene.fate)
    error = body.get("error")
    if isinstance(error, dict):
        return status, error.get("type") or error.get("status") or "", error["message"]
    return status, body.get("type") or body.get("code") or "", error or body["message"]


def _size(call: Call, output: int) -> int:
    """About what the answer's bytes were."""
    if call.kind.style == IMAGES:
        return 1_400_000
    if call.kind.style == EMBEDDINGS:
        return 33_000
    return 600 + output * (180 if call.stream else 4)


def uuid7(at: datetime, rng: Random) -> str:
    """A UUID version 7 of this moment, its random part drawn."""
    milliseconds = (at - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)
    high = milliseconds << 16 | _VERSION_7 << 12 | rng.getrandbits(12)
    return str(uuid.UUID(int=high << 64 | _VARIANT << 62 | rng.getrandbits(62)))
