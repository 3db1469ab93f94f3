"""Events go in, rows of ClickHouse tables come out: each Struct here is one table, each field one column."""

import logging
from datetime import datetime
from decimal import Context, Decimal
from typing import Any

import msgspec

from services.logger import estimates
from services.logger import usage as dialects
from shared import contract, pricing
from shared.contract import Envelope, GatewayBeat, RequestEvent, ResponseEvent
from shared.pricing.table import Table
from shared.usage import Usage

log = logging.getLogger(__name__)

VERSION_INTERRUPTED = 1
VERSION_ANSWERED = 2  # a request priced again gets 3 and up

REPORTED, DRAINED, ABSENT = "reported", "drained", "absent"
INTERNAL_ERROR, REFUSED, CACHE_HIT = "internal_error", "refused", "cache_hit"

BROKEN = "broken_stream"
_OURS = frozenset({499, 502, 504})  # statuses that the gateway booked for want of an answer
NEVER_SENT = frozenset({"unreachable", "connect_timeout"})  # the provider never saw the request

SCALE = Decimal("1E-12")  # of the money columns, Decimal(38, 12)
MONEY = Context(prec=38)
ZERO = Decimal(0).quantize(SCALE)


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
    price_version: str = ""
    version: int
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


def row(event: contract.Event, table: Table | None = None, *, estimate: bool = True) -> Row:
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
    used, price = _read(event, table, estimate=estimate)
    return ResponseRow(
        **_envelope(event.envelope),
        **_consumed(used),
        **_money(event, price),
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
        usage_source=DRAINED if event.drained and used.source == REPORTED else used.source,
        unit_prices=price.unit_prices,
        price_version=price.version,
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
        outcome=contract.INTERRUPTED,
        cost_reason=contract.INTERRUPTED,
        version=VERSION_INTERRUPTED,
        sequence=0,
    )


def _read(event: ResponseEvent, table: Table | None, *, estimate: bool) -> tuple[Usage, pricing.Price]:
    envelope = event.envelope
    try:
        used = dialects.read(event)
        used = estimates.fill_in(used, event) if estimate else used
    except Exception:
        log.exception("request %s: its usage could not be read", envelope.id)
        return Usage(), _unpriced()
    try:
        price = pricing.price(
            used,
            provider=envelope.provider,
            endpoint=envelope.endpoint,
            model_requested=envelope.model,
            status=event.status,
            at=envelope.started_at,
            table=table,
        )
        return used, _exact(price)
    except Exception:
        log.exception("request %s: it could not be priced", envelope.id)
        return used, _unpriced()


def _unpriced() -> pricing.Price:
    return pricing.Price(cost=None, cost_by_class={}, unit_prices={}, source="", reason=INTERNAL_ERROR, version="")


def _exact(price: pricing.Price) -> pricing.Price:
    """The price as the columns hold it, to twelve places; decimal.InvalidOperation when an amount is beyond them."""
    return msgspec.structs.replace(
        price,
        cost=None if price.cost is None else _places(price.cost),
        cost_by_class={name: _places(amount) for name, amount in price.cost_by_class.items()},
        unit_prices={name: _places(amount) for name, amount in price.unit_prices.items()},
    )


def _places(amount: Decimal) -> Decimal:
    return amount.quantize(SCALE, context=MONEY)


def _money(event: ResponseEvent, price: pricing.Price) -> dict[str, Any]:
    known: dict[str, Any] = {"cost_source": price.source}
    if event.cache == "HIT":
        return known | {"cost": ZERO, "cost_reason": CACHE_HIT, "cost_saved": price.cost}
    if not event.upstream:
        return known | {"cost": ZERO, "cost_reason": REFUSED}
    if price.cost == ZERO and _cut(event):
        return {"cost": None, "cost_source": pricing.NONE, "cost_reason": BROKEN}
    return known | {"cost": price.cost, "cost_reason": price.reason, "cost_by_class": price.cost_by_class}


def _cut(event: ResponseEvent) -> bool:
    """The provider had the request, and the status is ours, not its own: what it charges for that cannot be known."""
    return event.status in _OURS and event.outcome != contract.COMPLETE and event.error_type not in NEVER_SENT


def _consumed(used: Usage) -> dict[str, Any]:
    writes = used.cache_write_5m + used.cache_write_1h + used.cache_write_30m + used.cache_write_12h
    return {
        "input_tokens": used.input,
        "output_tokens": used.output,
        "cache_read_tokens": used.cache_read,
        "cache_write_tokens": writes,
        "cache_write_1h_tokens": used.cache_write_1h,
        "reasoning_tokens": used.reasoning,
        "audio_tokens": used.input_audio + used.output_audio,
        "image_tokens": used.input_image + used.output_image,
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
