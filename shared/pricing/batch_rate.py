"""A batch's usage in, its cost at the batch rate out."""

from datetime import datetime
from decimal import Decimal

from shared import pricing
from shared.pricing.line_items import TOOLS, contradicts, items, shares
from shared.pricing.table import Table, Tiered
from shared.usage import Usage

ENDPOINT = "BATCH "  # before a batch's name: the endpoint of the row that bears its cost
BILLED = "batch_billed"  # why a look at its results costs nothing
ESTIMATED = "estimated"
RATE = ("processing", "batch")


def price(used: Usage, *, provider: str, at: datetime, table: Table) -> pricing.Price:
    """What all requests of a batch cost together: each model's share at its own rate, unknown as soon as one is.

    Some models are dearer for long requests; of a sum it cannot be told which were, so the usual price is taken and
    called an estimate where one request could have been that long.
    """
    by_class: dict[str, Decimal] = {}
    units: dict[str, Decimal] = {}
    tiered = False
    if used.unread:
        return _unknown(f"{pricing.UNREAD}:{','.join(used.unread)}", table)
    for share in shares(used):
        if contradicts(share):
            return _unknown(f"{pricing.UNREAD}:contradiction", table)
        if share is not used and not items(share):
            continue  # the parts leave nothing over
        prices = table.find(provider, share.model, at=at, context=RATE)
        if isinstance(prices, str):
            return _unknown(prices, table)
        factor = table.factor(provider, share.model, geo=share.geo, at=at)
        if factor is None:
            return _unknown(f"unpriced_geo:{share.geo}", table)
        for item in items(share):
            unit = next((one for one in item.units if one in prices), item.units[0])
            value = prices.get(unit)
            if value is None:
                return _unknown(f"unpriced_unit:{unit}", table)
            if isinstance(value, Tiered):
                tiered = tiered or value.at(share.input or 0) != value.base
                value = value.base
            value = value if item.kind == TOOLS else value * factor
            units[unit if share.model == used.model else f"{share.model}:{unit}"] = value
            by_class[item.kind] = by_class.get(item.kind, pricing.ZERO) + value * item.amount / item.per
    assumed = (*used.inexact, *(("tier",) if tiered else ()))
    return pricing.Price(
        cost=sum(by_class.values(), pricing.ZERO),
        cost_by_class=by_class,
        unit_prices=units,
        source=ESTIMATED if assumed else pricing.COMPUTED,
        reason=f"{ESTIMATED}:{','.join(assumed)}" if assumed else "",
        version=table.version,
    )


def _unknown(reason: str, table: Table) -> pricing.Price:
    return pricing.Price(
        cost=None, cost_by_class={}, unit_prices={}, source=pricing.NONE, reason=reason, version=table.version
    )
