"""A call of the past in, the two events that a gateway would have spooled for it out, with an id of its time."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec

from deploy.demo.books import HISTORY
from deploy.demo.cast import TOKENS
from deploy.demo.kinds import EMBEDDINGS, IMAGES
from deploy.demo.month import Moment
from deploy.demo.scene import CUT_MIDWAY, ERROR_MIDWAY, REFUSALS, Call
from deploy.demo.wire.evidence import evidence
from deploy.demo.wire.failure import failure
from shared import contract
from shared.contract import Envelope, GatewayBeat, Origin, RequestEvent, ResponseEvent

_EPOCH = 1
_MAIN_TOKEN = "local"  # noqa: S105 — the name of a token
_VERSION_7, _VARIANT = 0x7, 0b10


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


def pair(end: Ended, numbers: Numbers, *, asked: bool) -> Iterator[RequestEvent | ResponseEvent]:
    """The two events of a call; what the cache answered was never sent, and has no first one."""
    rng = Random(f"{numbers.spool} {numbers.last}")  # noqa: S311 — chance that repeats
    envelope = _envelope(end.moment, rng)
    if asked and not end.hit:
        yield RequestEvent(numbers.next(), envelope)
    yield _response(end, numbers.next(), envelope)


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
