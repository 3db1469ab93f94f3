"""Rows of the ClickHouse tables: one Struct per table, one field per column."""

import logging
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from services.logger import apply_estimate
from services.logger import usage as dialects
from shared import events
from shared.events import Envelope, GatewayBeat, RequestEvent, ResponseEvent
from shared.pricing import cost_columns
from shared.pricing.cost import CostColumns
from shared.pricing.cost_columns import ZERO, RequestOutcome
from shared.pricing.table import Table
from shared.usage import Usage

log = logging.getLogger(__name__)

VERSION_INTERRUPTED = 1
VERSION_ANSWERED = 2  # repricing writes versions from 3

# Values of usage_source.
REPORTED = "reported"
DRAINED = "drained"
ABSENT = "absent"
IMPORTED = cost_columns.IMPORTED


class RequestRow(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Table request_events."""

    id: str
    account: str
    token: str
    requester: str
    metadata: dict[str, str]
    client: str = ""
    client_version: str = ""
    session: str = ""
    agent: str = ""
    billing: str = ""
    connection: str = ""
    turn: str = ""
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
    """Table response_events; amounts in USD, None means unknown."""

    id: str
    account: str
    token: str
    requester: str
    metadata: dict[str, str]
    client: str = ""
    client_version: str = ""
    session: str = ""
    agent: str = ""
    billing: str = ""
    connection: str = ""
    turn: str = ""
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
    cache_write_tokens: int = 0  # the sum over all lifetimes
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
    cost_equivalent: Decimal | None = ZERO  # of a subscription's request, by the API's prices
    saved_input_tokens: int = 0  # of a cached response: nothing was charged for them
    saved_output_tokens: int = 0
    price_version: str = ""
    version: int
    note: str = ""  # reason for a version of 3 or higher
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
    """Identity of a row: id and version, or for a beat its gateway instance and time."""
    if isinstance(row, ResponseRow):
        return f"{row.id} {row.version}"
    return f"{row.spool} {row.epoch} {row.at.timestamp()}" if isinstance(row, BeatRow) else f"{row.id} 0"


def row(event: events.Event, table: Table | None = None, *, estimate: bool = True) -> Row:
    """Convert an event to a row, priced with `table`, by default the built-in prices.

    `estimate`: whether the gateway's estimate replaces missing usage. Never raises because of the evidence: usage that
    cannot be read is stored as unknown.
    """
    if isinstance(event, ResponseEvent):
        return response_row(event, table, estimate=estimate)
    if isinstance(event, RequestEvent):
        origin = event.origin
        return RequestRow(**_envelope(event.envelope), spool=origin.spool, epoch=origin.epoch, sequence=origin.sequence)
    return _beat(event)


def response_row(event: ResponseEvent, table: Table | None = None, *, estimate: bool = True) -> ResponseRow:
    """Build the row of a finished request, with its usage and cost."""
    usage, cost = _read(event, table, estimate=estimate)
    source = DRAINED if event.drained and usage.source == REPORTED else usage.source
    if event.imported:
        source = IMPORTED
    return ResponseRow(
        **_envelope(event.envelope),
        **(_saved(usage) if event.cache == events.HIT else _consumed(usage)),
        **msgspec.structs.asdict(cost),
        model=usage.model,
        status=event.status,
        outcome=event.outcome,
        error_type=event.error_type or usage.error_type,
        error_message=event.error_message or usage.error_message,
        provider_request_id=event.provider_request_id,
        latency_ms=event.latency_ms,
        ttfb_ms=event.ttfb_ms,
        request_bytes=event.request_bytes,
        response_bytes=event.response_bytes,
        cache=event.cache,
        usage_source=cost_columns.usage_source(source, cost),
        version=VERSION_ANSWERED,
        spool=event.origin.spool,
        epoch=event.origin.epoch,
        sequence=event.origin.sequence,
    )


def interrupted(request: RequestRow) -> ResponseRow:
    """Build the row of a request whose gateway died before its end.

    It has no sequence number, and everything about the response is unknown.
    """
    unknown = CostColumns(cost=None, cost_reason=events.INTERRUPTED)
    return ResponseRow(
        **{name: getattr(request, name) for name in request.__struct_fields__ if name != "sequence"},
        status=0,
        outcome=events.INTERRUPTED,
        **msgspec.structs.asdict(cost_columns.billed(unknown, request.billing)),
        version=VERSION_INTERRUPTED,
        sequence=0,
    )


def _read(event: ResponseEvent, table: Table | None, *, estimate: bool) -> tuple[Usage, CostColumns]:
    request = _request_outcome(event)
    try:
        usage = dialects.read(event)
        if estimate:
            usage = apply_estimate.fill_in(usage, event)
    except Exception:
        log.exception("request %s: its usage could not be read", event.envelope.id)
        return Usage(), cost_columns.internal_error(request)
    try:
        return usage, cost_columns.compute(usage, request, table)
    except Exception:
        log.exception("request %s: it could not be priced", event.envelope.id)
        return usage, cost_columns.internal_error(request)


def _request_outcome(event: ResponseEvent) -> RequestOutcome:
    return RequestOutcome(
        provider=event.envelope.provider,
        endpoint=event.envelope.endpoint,
        model_requested=event.envelope.model,
        started_at=event.envelope.started_at,
        status=event.status,
        outcome=event.outcome,
        error_type=event.error_type,
        cache=event.cache,
        upstream=event.upstream,
        billing=event.envelope.billing,
    )


def _consumed(usage: Usage) -> dict[str, Any]:
    writes = (
        usage.cache_write_5m_tokens
        + usage.cache_write_1h_tokens
        + usage.cache_write_30m_tokens
        + usage.cache_write_12h_tokens
    )
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": writes,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "audio_tokens": usage.input_audio_tokens + usage.output_audio_tokens,
        "image_tokens": usage.input_image_tokens + usage.output_image_tokens,
        "service_tier": usage.service_tier,
        "usage_raw": usage.raw,
        "usage": msgspec.json.encode(usage).decode(),
    }


def _saved(usage: Usage) -> dict[str, Any]:
    """Columns of a cache hit: its tokens are saved, none are consumed."""
    return {
        "input_tokens": 0,
        "output_tokens": 0,
        "saved_input_tokens": usage.input_tokens or 0,
        "saved_output_tokens": usage.output_tokens or 0,
        "service_tier": usage.service_tier,
        "usage_raw": usage.raw,
        "usage": msgspec.json.encode(usage).decode(),
    }


def _envelope(envelope: Envelope) -> dict[str, Any]:
    return {
        "id": envelope.id,
        "account": envelope.account,
        "token": envelope.token,
        "requester": envelope.requester,
        "metadata": envelope.metadata,
        "client": envelope.client,
        "client_version": envelope.client_version,
        "session": envelope.session,
        "agent": envelope.agent,
        "billing": envelope.billing,
        "connection": envelope.connection,
        "turn": envelope.turn,
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
