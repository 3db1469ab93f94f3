"""Rows of ClickHouse tables: each Struct is a table, each field a column."""

import logging
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from services.logger import apply_estimate
from services.logger import usage as dialects
from shared import events
from shared.events import Envelope, GatewayBeat, RequestEvent, ResponseEvent
from shared.pricing import booking
from shared.pricing.booking import ZERO, Ending, Money
from shared.pricing.table import Table
from shared.usage import Usage

log = logging.getLogger(__name__)

VERSION_INTERRUPTED = 1
VERSION_ANSWERED = 2  # a request priced again gets 3 and up

REPORTED, DRAINED, ABSENT = "reported", "drained", "absent"


class RequestRow(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Table request_events."""

    id: str
    account: str
    token: str
    requester: str
    metadata: dict[str, str]
    provider: str
    dialect: str
    endpoint: str
    model_requested: str
    stream: bool
    started_at: datetime
    gateway: str
    spool: str
    epoch: int
    sequence: int


class ResponseRow(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Table response_events. Money in USD; None stands for what cannot be known."""

    id: str
    account: str
    token: str
    requester: str
    metadata: dict[str, str]
    provider: str
    dialect: str
    endpoint: str
    model_requested: str
    model: str = ""
    stream: bool
    started_at: datetime
    gateway: str
    status: int
    outcome: str
    error_type: str = ""
    error_message: str = ""
    provider_request_id: str = ""
    latency_ms: int = 0
    ttfb_ms: int | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    cache: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0  # of every lifetime
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0
    service_tier: str = ""
    usage_source: str = ABSENT
    usage_raw: str = ""
    usage: str = ""
    cost: Decimal | None = None
    cost_by_class: dict[str, Decimal] = {}
    unit_prices: dict[str, Decimal] = {}
    cost_source: str = ""
    cost_reason: str = ""
    cost_saved: Decimal | None = ZERO
    saved_input_tokens: int = 0  # of a kept answer: nobody was charged for them
    saved_output_tokens: int = 0
    price_version: str = ""
    version: int
    note: str = ""  # why a version of 3 and up is there
    spool: str
    epoch: int
    sequence: int


class BeatRow(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Table gateways."""

    spool: str
    epoch: int
    gateway: str
    at: datetime
    sequence: int
    dropped: int
    closing: bool
    pending_bytes: int


Row = RequestRow | ResponseRow | BeatRow
TABLES: dict[type[Row], str] = {RequestRow: "request_events", ResponseRow: "response_events", BeatRow: "gateways"}


def identity(row: Row) -> str:
    """What makes a row the same row: (id, version), or for a beat its instance and time."""
    if isinstance(row, ResponseRow):
        return f"{row.id} {row.version}"
    return f"{row.spool} {row.epoch} {row.at.timestamp()}" if isinstance(row, BeatRow) else f"{row.id} 0"


def row(event: events.Event, table: Table | None = None, *, estimate: bool = True) -> Row:
    """The row of an event, priced by `table` or else the built-in prices; `estimate` what no provider said, or not.

    Never raises for what the evidence says: what cannot be read is booked as unknown.
    """
    if isinstance(event, ResponseEvent):
        return answered(event, table, estimate=estimate)
    if isinstance(event, RequestEvent):
        origin = event.origin
        return RequestRow(**_envelope(event.envelope), spool=origin.spool, epoch=origin.epoch, sequence=origin.sequence)
    return _beat(event)


def answered(event: ResponseEvent, table: Table | None = None, *, estimate: bool = True) -> ResponseRow:
    """The row of a request that came to an end, with its usage and price."""
    used, money = _read(event, table, estimate=estimate)
    return ResponseRow(
        **_envelope(event.envelope),
        **(_saved(used) if event.cache == events.HIT else _consumed(used)),
        **msgspec.structs.asdict(money),
        model=used.model,
        status=event.status,
        outcome=event.outcome,
        error_type=event.error_type or used.error_type,
        error_message=event.error_message or used.error_message,
        provider_request_id=event.provider_request_id,
        latency_ms=event.latency_ms,
        ttfb_ms=event.ttfb_ms,
        request_bytes=event.request_bytes,
        response_bytes=event.response_bytes,
        cache=event.cache,
        usage_source=booking.usage_label(DRAINED if event.drained and used.source == REPORTED else used.source, money),
        version=VERSION_ANSWERED,
        spool=event.origin.spool,
        epoch=event.origin.epoch,
        sequence=event.origin.sequence,
    )


def interrupted(request: RequestRow) -> ResponseRow:
    """The row of a request whose gateway died before it ended: nothing is known, and it bears no number of its own."""
    return ResponseRow(
        **{name: getattr(request, name) for name in request.__struct_fields__ if name != "sequence"},
        status=0,
        outcome=events.INTERRUPTED,
        cost_reason=events.INTERRUPTED,
        version=VERSION_INTERRUPTED,
        sequence=0,
    )


def _read(event: ResponseEvent, table: Table | None, *, estimate: bool) -> tuple[Usage, Money]:
    ending = _ending(event)
    try:
        used = dialects.read(event)
        used = apply_estimate.fill_in(used, event) if estimate else used
    except Exception:
        log.exception("request %s: its usage could not be read", event.envelope.id)
        return Usage(), booking.unpriced(ending)
    try:
        return used, booking.book(used, ending, table)
    except Exception:
        log.exception("request %s: it could not be priced", event.envelope.id)
        return used, booking.unpriced(ending)


def _ending(event: ResponseEvent) -> Ending:
    return Ending(
        provider=event.envelope.provider,
        endpoint=event.envelope.endpoint,
        model_requested=event.envelope.model,
        started_at=event.envelope.started_at,
        status=event.status,
        outcome=event.outcome,
        error_type=event.error_type,
        cache=event.cache,
        upstream=event.upstream,
    )


def _consumed(used: Usage) -> dict[str, Any]:
    writes = (
        used.cache_write_5m_tokens
        + used.cache_write_1h_tokens
        + used.cache_write_30m_tokens
        + used.cache_write_12h_tokens
    )
    return {
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "cache_read_tokens": used.cache_read_tokens,
        "cache_write_tokens": writes,
        "cache_write_1h_tokens": used.cache_write_1h_tokens,
        "reasoning_tokens": used.reasoning_tokens,
        "audio_tokens": used.input_audio_tokens + used.output_audio_tokens,
        "image_tokens": used.input_image_tokens + used.output_image_tokens,
        "service_tier": used.service_tier,
        "usage_raw": used.raw,
        "usage": msgspec.json.encode(used).decode(),
    }


def _saved(used: Usage) -> dict[str, Any]:
    """The tokens of a kept answer stand apart: none were consumed."""
    return {
        "input_tokens": 0,
        "output_tokens": 0,
        "saved_input_tokens": used.input_tokens or 0,
        "saved_output_tokens": used.output_tokens or 0,
        "service_tier": used.service_tier,
        "usage_raw": used.raw,
        "usage": msgspec.json.encode(used).decode(),
    }


def _envelope(envelope: Envelope) -> dict[str, Any]:
    return {
        "id": envelope.id,
        "account": envelope.account,
        "token": envelope.token,
        "requester": envelope.requester,
        "metadata": envelope.metadata,
        "provider": envelope.provider,
        "dialect": envelope.dialect,
        "endpoint": envelope.endpoint,
        "model_requested": envelope.model,
        "stream": envelope.stream,
        "started_at": envelope.started_at,
        "gateway": envelope.gateway,
    }


def _beat(event: GatewayBeat) -> BeatRow:
    return BeatRow(
        spool=event.spool,
        epoch=event.epoch,
        gateway=event.gateway,
        at=event.at,
        sequence=event.sequence,
        dropped=event.dropped,
        closing=event.closing,
        pending_bytes=event.pending_bytes,
    )
