"""The cost columns of a request, when it is first stored and when it is repriced.

`price` computes what usage costs; this module adds what depends on how the request went: cache hits, refusals and
responses that were cut off.
"""

from datetime import datetime
from decimal import Context, Decimal

import msgspec

from shared import events, pricing
from shared.pricing import batch_rate
from shared.pricing.cost import CostColumns
from shared.pricing.table import Table
from shared.usage import Usage

INTERNAL_ERROR = "internal_error"
REFUSED = "refused"
CACHE_HIT = "cache_hit"
BROKEN = "broken_stream"
IMPORTED = "imported"  # usage_source of requests that did not pass the gateway
SUBSCRIPTION = events.SUBSCRIPTION  # followed by what else there is to say: "subscription:unknown_model"

_OURS = frozenset({499, 502, 504})  # statuses that the gateway records when the provider sent none
NEVER_SENT = frozenset({"unreachable", "connect_timeout"})  # the provider never received the request

SCALE = Decimal("1E-12")  # scale of the money columns, Decimal(38, 12)
MONEY = Context(prec=38)
ZERO = Decimal(0).quantize(SCALE)


class RequestOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the cost depends on besides usage; fields as in metrion.requests."""

    provider: str
    endpoint: str
    model_requested: str
    started_at: datetime
    status: int
    outcome: str
    error_type: str
    cache: str
    upstream: bool  # whether the gateway connected to the provider; False when it refused the request itself
    billing: str = ""


def compute(usage: Usage, request: RequestOutcome, table: Table | None = None) -> CostColumns:
    """Price a request with `table`, by default the built-in prices.

    Raises ArithmeticError for an amount that does not fit the columns.
    """
    if request.endpoint.startswith(batch_rate.ENDPOINT):
        named = msgspec.structs.replace(usage, model=usage.model or request.model_requested)
        table = table or Table.default()
        batch_cost = batch_rate.price(named, provider=request.provider, at=request.started_at, table=table)
        return billed(_adjusted(batch_cost, request), request.billing)
    cost = pricing.price(
        usage,
        provider=request.provider,
        endpoint=request.endpoint,
        model_requested=request.model_requested,
        status=request.status,
        at=request.started_at,
        table=table,
    )
    return billed(_adjusted(cost, request), request.billing)


def usage_source(source: str, cost: CostColumns) -> str:
    """The value of the column usage_source.

    `estimated` if the cost rests on an assumption, else `source`. Queries and dashboard pages recognize estimates by
    this column. Imported usage is never called anything else: budgets leave it out by this column.
    """
    if source == IMPORTED:
        return source
    is_exact = cost.cost_source != pricing.ESTIMATED or cost.cost_reason == CACHE_HIT
    return source if is_exact else pricing.ESTIMATED


def internal_error(request: RequestOutcome) -> CostColumns:
    """Columns for a request whose usage or price could not be read.

    The cost is unknown, unless the request cost nothing whatever its usage.
    """
    return billed(_adjusted(CostColumns(cost=None, cost_reason=INTERNAL_ERROR), request), request.billing)


def billed(columns: CostColumns, billing: str) -> CostColumns:
    """The columns of a request that is billed this way.

    A subscription's request costs nothing by itself, and a cache hit saves it nothing.
    """
    if billing != SUBSCRIPTION:
        return columns
    if columns.cost == ZERO and columns.cost_reason:
        return msgspec.structs.replace(columns, cost_saved=ZERO)
    return msgspec.structs.replace(
        columns,
        cost=ZERO,
        cost_by_class={},
        cost_source=pricing.FREE,
        cost_reason=f"{SUBSCRIPTION}:{columns.cost_reason}" if columns.cost_reason else SUBSCRIPTION,
        cost_equivalent=columns.cost,
    )


def _adjusted(cost: CostColumns, request: RequestOutcome) -> CostColumns:
    """The cost rounded to the columns' scale; replaced for cache hits, refusals and cut-off responses."""
    rounded = msgspec.structs.replace(
        cost,
        cost=None if cost.cost is None else _rounded(cost.cost),
        cost_by_class={name: _rounded(amount) for name, amount in cost.cost_by_class.items()},
        unit_prices={name: _rounded(amount) for name, amount in cost.unit_prices.items()},
        cost_saved=ZERO,
    )
    if request.cache == events.HIT:
        return _replaced(rounded, ZERO, reason=CACHE_HIT, saved=rounded.cost)
    if not request.upstream:
        return _replaced(rounded, ZERO, reason=REFUSED)
    if rounded.cost == ZERO and _is_cut_off(request):
        return msgspec.structs.replace(_replaced(rounded, None, reason=BROKEN), cost_source=pricing.NONE)
    return rounded


def _replaced(columns: CostColumns, cost: Decimal | None, *, reason: str, saved: Decimal | None = ZERO) -> CostColumns:
    return msgspec.structs.replace(columns, cost=cost, cost_by_class={}, cost_reason=reason, cost_saved=saved)


def _is_cut_off(request: RequestOutcome) -> bool:
    """Whether the provider got the request but the status is the gateway's own, so the charge is unknown."""
    return request.status in _OURS and request.outcome != events.COMPLETE and request.error_type not in NEVER_SENT


def _rounded(amount: Decimal) -> Decimal:
    return amount.quantize(SCALE, context=MONEY)
