"""The cost of usage: the sum over its shares, each at its own model's prices.

The cost is unknown as soon as one share has no price.
"""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

import msgspec

from shared.pricing.line_items import contradicts, items, shares
from shared.pricing.table import Prices, Table, Tiered
from shared.usage import Usage

# Values of cost_source.
PROVIDER = "provider"
COMPUTED = "computed"
ESTIMATED = "estimated"
FREE = "free"
NONE = "none"

UNREAD = "unread"  # reason: the response states what the cost depends on, but part of it could not be read
ZERO = Decimal(0)


class CostColumns(msgspec.Struct, frozen=True, kw_only=True):
    """The cost columns of metrion.requests, in USD.

    `cost` is None when it is unknown; `cost_reason` then says why.
    """

    cost: Decimal | None
    cost_by_class: dict[str, Decimal] = {}  # input, cache_read, cache_write, output, tools …: adds up to the cost
    unit_prices: dict[str, Decimal] = {}  # USD by unit; the suffix is the quantity: _mtok a million, _kcount a thousand
    cost_source: str = ""
    cost_reason: str = ""
    cost_saved: Decimal | None = ZERO  # what a cache hit would have cost
    cost_equivalent: Decimal | None = ZERO  # what a subscription's request would have cost by the API's prices
    price_version: str = ""


def compute(
    usage: Usage,
    *,
    provider: str,
    at: datetime,
    table: Table,
    variant: Callable[[Usage], tuple[str, str]],
    text_first: bool = True,
    by_size: bool = True,
) -> CostColumns:
    """Sum the cost of all shares of usage.

    `variant` returns the (key, value) of the price variant that applies to a share. `by_size` False ignores the higher
    prices of long requests. `text_first`: see `items`.
    """
    by_class: dict[str, Decimal] = {}
    unit_prices: dict[str, Decimal] = {}
    for share in shares(usage):
        if contradicts(share):
            return unknown(f"{UNREAD}:contradiction", table)
        line_items = items(share, text_first=text_first)
        if share is not usage and not line_items:
            continue  # the parts account for everything
        prices = table.find(provider, share.model, at=at, context=variant(share))
        if isinstance(prices, str):
            return unknown(prices, table)
        factor = table.factor(provider, share.model, geo=share.geo, at=at)
        if factor is None:
            return unknown(f"unpriced_geo:{share.geo}", table)
        size = (share.input_tokens or 0) if by_size else None
        for item in line_items:
            unit, price = _unit_price(item.units, prices, size=size)
            if price is None:
                return unknown(f"unpriced_unit:{unit[:64]}", table)
            if unit.endswith("_mtok"):
                price *= factor
            unit_prices[unit if share.model == usage.model else f"{share.model}:{unit}"] = price
            by_class[item.cost_class] = by_class.get(item.cost_class, ZERO) + price * item.amount / item.per
    return CostColumns(
        cost=sum(by_class.values(), ZERO),
        cost_by_class=by_class,
        unit_prices=unit_prices,
        cost_source=COMPUTED,
        price_version=table.version,
    )


def free(reason: str, table: Table) -> CostColumns:
    """A cost of 0."""
    return CostColumns(cost=ZERO, cost_source=FREE, cost_reason=reason, price_version=table.version)


def unknown(reason: str, table: Table) -> CostColumns:
    """An unknown cost."""
    return CostColumns(cost=None, cost_source=NONE, cost_reason=reason, price_version=table.version)


def _unit_price(units: tuple[str, ...], prices: Prices, *, size: int | None) -> tuple[str, Decimal | None]:
    """The first unit that has a price, with that price; the first unit with None when none has."""
    unit = next((name for name in units if name in prices), units[0])
    price = prices.get(unit)
    if isinstance(price, Tiered):
        return unit, price.base if size is None else price.at(size)
    return unit, price
