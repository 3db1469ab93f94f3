"""The cost of usage: the sum over what each model did, at the prices of a table.

Unknown as soon as one of them is.
"""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

import msgspec

from shared.pricing.line_items import contradicts, items, shares
from shared.pricing.table import Prices, Table, Tiered
from shared.usage import Usage

PROVIDER, COMPUTED, ESTIMATED, FREE, NONE = "provider", "computed", "estimated", "free", "none"
UNREAD = "unread"  # the response states what bears on the cost, but not all of it could be read
ZERO = Decimal(0)


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A cost in USD and how it came about. `cost` is None when it cannot be known; then `reason` says why."""

    cost: Decimal | None
    cost_by_class: dict[str, Decimal]  # input, cache_read, cache_write, output, tools …: adds up to the cost
    unit_prices: dict[str, Decimal]  # unit → USD; the unit says per what: _mtok a million tokens, _kcount a thousand
    source: str
    reason: str = ""
    version: str = ""


def compute(
    usage: Usage,
    *,
    provider: str,
    at: datetime,
    table: Table,
    variant: Callable[[Usage], tuple[str, str]],
    text_first: bool = True,
    by_size: bool = True,
) -> Price:
    """The sum over the shares of usage, each at the price `variant` that (key, value) of the table names for it.

    Without `by_size` a price that is higher for long requests is that of short ones. `text_first` is as of `items`.
    """
    by_class: dict[str, Decimal] = {}
    used: dict[str, Decimal] = {}
    for share in shares(usage):
        if contradicts(share):
            return unknown(f"{UNREAD}:contradiction", table)
        parts = items(share, text_first=text_first)
        if share is not usage and not parts:
            continue  # the parts leave nothing over
        prices = table.find(provider, share.model, at=at, context=variant(share))
        if isinstance(prices, str):
            return unknown(prices, table)
        factor = table.factor(provider, share.model, geo=share.geo, at=at)
        if factor is None:
            return unknown(f"unpriced_geo:{share.geo}", table)
        size = (share.input_tokens or 0) if by_size else None
        for item in parts:
            unit, value = _unit(item.units, prices, size=size)
            if value is None:
                return unknown(f"unpriced_unit:{unit[:64]}", table)
            value = value * factor if unit.endswith("_mtok") else value
            used[unit if share.model == usage.model else f"{share.model}:{unit}"] = value
            by_class[item.kind] = by_class.get(item.kind, ZERO) + value * item.amount / item.per
    cost = sum(by_class.values(), ZERO)
    return Price(cost=cost, cost_by_class=by_class, unit_prices=used, source=COMPUTED, version=table.version)


def free(reason: str, table: Table) -> Price:
    """Nothing is charged."""
    return Price(cost=ZERO, cost_by_class={}, unit_prices={}, source=FREE, reason=reason, version=table.version)


def unknown(reason: str, table: Table) -> Price:
    """The cost cannot be known."""
    return Price(cost=None, cost_by_class={}, unit_prices={}, source=NONE, reason=reason, version=table.version)


def _unit(units: tuple[str, ...], prices: Prices, *, size: int | None) -> tuple[str, Decimal | None]:
    """The first unit that has a price, and that price; the first of all with None when none has."""
    unit = next((one for one in units if one in prices), units[0])
    value = prices.get(unit)
    if isinstance(value, Tiered):
        return unit, value.base if size is None else value.at(size)
    return unit, value
