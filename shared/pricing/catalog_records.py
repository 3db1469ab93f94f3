"""Records of the genai-prices package, made from a catalog.

The package's own arithmetic then applies to them.

Imported where they are needed: the package's types take 0.1 s to import.
"""

from typing import Any

from genai_prices import types

from shared.pricing.catalog import Clause, Model, Price, Prices, Since, TieredPrice


def info(model: Model) -> Any:
    """The library's record of a model in a catalog."""
    if isinstance(model.prices, dict):
        prices = _model_price(model.prices)
    else:
        prices = [
            types.ConditionalPrice(_constraint(dated.constraint), prices=_model_price(dated.prices))
            for dated in model.prices
        ]
    variants = [
        types.PriceVariant(variant.when, _model_price(variant.prices), _constraint(variant.constraint))
        for variant in model.price_variants or ()
    ]
    return types.ModelInfo(id=model.id, match=_match(model.match), prices=prices, price_variants=variants)


def _model_price(prices: Prices) -> Any:
    return types.ModelPrice(**{unit: _library_price(price) for unit, price in prices.items()})


def _library_price(price: Price) -> Any:
    if isinstance(price, TieredPrice):
        return types.TieredPrices(price.base, [types.Tier(tier.start, tier.price) for tier in price.tiers])
    return price


def _constraint(since: Since | None) -> Any:
    return None if since is None else types.StartDateConstraint(since.start_date)


def _match(clause: Clause) -> Any:
    if clause.any_of is not None:
        return types.ClauseOr([_match(part) for part in clause.any_of])
    if clause.all_of is not None:
        return types.ClauseAnd([_match(part) for part in clause.all_of])
    if clause.regex is not None:
        return types.ClauseRegex(clause.regex)
    if clause.starts_with is not None:
        return types.ClauseStartsWith(clause.starts_with)
    if clause.ends_with is not None:
        return types.ClauseEndsWith(clause.ends_with)
    if clause.contains is not None:
        return types.ClauseContains(clause.contains)
    return types.ClauseEquals(clause.equals or "")
