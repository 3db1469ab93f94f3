"""A batch's usage in, its cost at the batch rate out."""

from datetime import datetime
from decimal import Decimal

from shared import pricing
from shared.pricing.table import Table, Tiered
from shared.usage import Usage

ENDPOINT = "BATCH "  # before a batch's name: the endpoint of the row that bears its cost
BILLED = "batch_billed"  # why a look at its results costs nothing
ESTIMATED = "estimated"
RATE = ("processing", "batch")


def price(used: Usage, *, provider: str, at: datetime, table: Table) -> pricing.Price:
    """What all requests of a batch cost together.

    Some models are dearer for long requests; of a sum it cannot be told which were, so the usual price is taken and
    called an estimate where one request could have been that long.
    """
    prices = table.find(provider, used.model, at=at, context=RATE)
    if isinstance(prices, str):
        return _unknown(prices, table)
    factor = table.factor(provider, used.model, geo=used.geo)
    if factor is None:
        return _unknown(f"unpriced_geo:{used.geo}", table)
    by_class: dict[str, Decimal] = {}
    units: dict[str, Decimal] = {}
    source, reason = pricing.COMPUTED, ""
    for item in pricing.items(used):
        unit = next((one for one in item.units if one in prices), item.units[0])
        value = prices.get(unit)
        if value is None:
            return _unknown(f"unpriced_unit:{unit}", table)
        if isinstance(value, Tiered):
            if value.at(used.input or 0) != value.base:
                source, reason = ESTIMATED, f"{ESTIMATED}:tier"
            value = value.base
        units[unit] = value if item.kind == "tools" else value * factor
        by_class[item.kind] = by_class.get(item.kind, pricing.ZERO) + units[unit] * item.amount / item.per
    cost = sum(by_class.values(), pricing.ZERO)
    return pricing.Price(
        cost=cost, cost_by_class=by_class, unit_prices=units, source=source, reason=reason, version=table.version
    )


def _unknown(reason: str, table: Table) -> pricing.Price:
    return pricing.Price(
        cost=None, cost_by_class={}, unit_prices={}, source=pricing.NONE, reason=reason, version=table.version
    )
