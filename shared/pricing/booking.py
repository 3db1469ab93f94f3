"""How a request ended and what it used go in, its money columns come out: at first, and when it is priced again."""

from datetime import datetime
from decimal import Context, Decimal

import msgspec

from shared import events, pricing
from shared.pricing import batch_rate
from shared.pricing.table import Table
from shared.usage import Usage

INTERNAL_ERROR, REFUSED, CACHE_HIT, BROKEN = "internal_error", "refused", "cache_hit", "broken_stream"

_OURS = frozenset({499, 502, 504})  # statuses that the gateway booked for want of an answer
NEVER_SENT = frozenset({"unreachable", "connect_timeout"})  # the provider never saw the request

SCALE = Decimal("1E-12")  # of the money columns, Decimal(38, 12)
MONEY = Context(prec=38)
ZERO = Decimal(0).quantize(SCALE)


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """What the price of a request hangs on besides its usage; fields as in metrion.requests."""

    provider: str
    endpoint: str
    model_requested: str
    started_at: datetime
    status: int
    outcome: str
    error_type: str
    cache: str
    upstream: bool  # the provider was connected to: False for refusals of our own


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """The money columns, in USD to twelve places; None stands for what cannot be known."""

    cost: Decimal | None
    cost_by_class: dict[str, Decimal] = {}
    unit_prices: dict[str, Decimal] = {}
    cost_source: str = ""
    cost_reason: str = ""
    cost_saved: Decimal | None = ZERO
    price_version: str = ""


def book(used: Usage, ending: Ending, table: Table | None = None) -> Money:
    """What a request costs by `table`, else the built-in prices; ArithmeticError for an amount beyond the columns."""
    if ending.endpoint.startswith(batch_rate.ENDPOINT):
        whole = msgspec.structs.replace(used, model=used.model or ending.model_requested)
        rate = batch_rate.price(whole, provider=ending.provider, at=ending.started_at, table=table or Table.default())
        return _money(ending, rate)
    price = pricing.price(
        used,
        provider=ending.provider,
        endpoint=ending.endpoint,
        model_requested=ending.model_requested,
        status=ending.status,
        at=ending.started_at,
        table=table,
    )
    return _money(ending, price)


def usage_label(known: str, money: Money) -> str:
    """What a row says of how its usage is known: a cost that rests on an assumption is labelled as an estimate.

    Sums and pages tell estimates by this column, so a price that is one must show in it.
    """
    exact = money.cost_source != pricing.ESTIMATED or money.cost_reason == CACHE_HIT
    return known if exact else pricing.ESTIMATED


def unpriced(ending: Ending) -> Money:
    """What to book when usage or price could not be read: unknown, unless it is nothing whatever they say."""
    nothing = pricing.Price(cost=None, cost_by_class={}, unit_prices={}, source="", reason=INTERNAL_ERROR, version="")
    return _money(ending, nothing)


def _money(ending: Ending, price: pricing.Price) -> Money:
    cost = None if price.cost is None else _places(price.cost)
    found = Money(
        cost=cost,
        cost_by_class={name: _places(amount) for name, amount in price.cost_by_class.items()},
        unit_prices={name: _places(amount) for name, amount in price.unit_prices.items()},
        cost_source=price.source,
        cost_reason=price.reason,
        price_version=price.version,
    )
    if ending.cache == events.HIT:
        return _instead(found, ZERO, reason=CACHE_HIT, saved=cost)
    if not ending.upstream:
        return _instead(found, ZERO, reason=REFUSED)
    if cost == ZERO and _cut(ending):
        return msgspec.structs.replace(_instead(found, None, reason=BROKEN), cost_source=pricing.NONE)
    return found


def _instead(found: Money, cost: Decimal | None, *, reason: str, saved: Decimal | None = ZERO) -> Money:
    return msgspec.structs.replace(found, cost=cost, cost_by_class={}, cost_reason=reason, cost_saved=saved)


def _cut(ending: Ending) -> bool:
    """The provider had the request, and the status is ours, not its own: what it charges for that cannot be known."""
    return ending.status in _OURS and ending.outcome != events.COMPLETE and ending.error_type not in NEVER_SENT


def _places(amount: Decimal) -> Decimal:
    """As the columns hold it."""
    return amount.quantize(SCALE, context=MONEY)
