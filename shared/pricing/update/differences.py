"""What changes from one set of prices to another: models, names and unit prices."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from shared.pricing import genai_prices
from shared.pricing.genai_prices import Library

NEW_MODEL, REMOVED_MODEL = "new model", "removed model"
NEW_PRICE, REMOVED_PRICE, CHANGED_PRICE = "new price", "removed price", "changed price"
_ALWAYS = date(2000, 1, 1)  # before the first price of any model
_STANDARD = ("", "")


class Difference(msgspec.Struct, frozen=True):
    """One unit price that differs, or a model that only one side knows."""

    provider: str
    model: str
    change: str
    since: date | None = None  # first day on which the prices differ; None: from the beginning
    tier: str = ""  # "" standard, flex, priority, batch …
    unit: str = ""
    above: int = 0  # for requests with more input tokens than this
    old: Decimal | None = None  # USD
    new: Decimal | None = None

    @property
    def crosses_zero(self) -> bool:
        """Whether a free unit gets a price, or a paid one becomes free."""
        return self.old is not None and self.new is not None and (self.old == 0) != (self.new == 0)

    @property
    def factor(self) -> Decimal:
        """By how much the price rises or falls, at least 1; 1 where that means nothing."""
        if not self.old or not self.new:
            return Decimal(1)
        return max(self.old, self.new) / min(self.old, self.new)


_Key = tuple[str, str, int]  # tier, unit, above


def compare(old: Library, new: Library) -> list[Difference]:
    """All differences, by provider and model.

    Models are compared under each of their names, so a name that now means another model is a difference of prices.
    """
    found: list[Difference] = []
    for provider in sorted(genai_prices.PROVIDERS):
        for name in _names(old, new, provider):
            found += _of_model(provider, name, old.find(provider, name), new.find(provider, name))
    return found


def _names(old: Library, new: Library, provider: str) -> Iterator[str]:
    """The names to compare: of each pair of models the identifier, or the first name that leads to both."""
    compared: set[tuple[int, int]] = set()
    records = {id(info): info for library in (old, new) for info in library.infos(provider)}.values()
    ids = sorted({info.id for info in records})
    others = sorted({name for info in records for name in genai_prices.names(info)})
    for name in (*ids, *others):
        pair = (id(old.find(provider, name)), id(new.find(provider, name)))
        if pair not in compared and pair != (id(None), id(None)):
            compared.add(pair)
            yield name


def _of_model(provider: str, model: str, old: Any, new: Any) -> Iterator[Difference]:
    if old is None or new is None:
        yield Difference(provider, model, NEW_MODEL if old is None else REMOVED_MODEL)
    if new is None:
        return
    known: dict[_Key, tuple[Decimal | None, Decimal | None]] = {}
    for day in _days(old, new):
        before, after = _prices(old, day), _prices(new, day)
        for key in sorted(before.keys() | after.keys()):
            pair = before.get(key), after.get(key)
            if pair[0] != pair[1] and known.get(key) != pair:
                tier, unit, above = key
                yield Difference(
                    provider, model, _change(*pair), None if day == _ALWAYS else day, tier, unit, above, *pair
                )
            known[key] = pair


def _change(old: Decimal | None, new: Decimal | None) -> str:
    if old is None:
        return NEW_PRICE
    return REMOVED_PRICE if new is None else CHANGED_PRICE


def _days(*infos: Any) -> list[date]:
    """The days on which a price begins."""
    days = {_ALWAYS}
    for info in infos:
        if info is not None:
            dated = [*(info.prices if isinstance(info.prices, list) else ()), *(info.price_variants or ())]
            days |= {part.constraint.start_date for part in dated if part.constraint is not None}
    return sorted(days)


def _prices(info: Any, day: date) -> dict[_Key, Decimal]:
    """All unit prices of a record on a day."""
    found: dict[_Key, Decimal] = {}
    if info is None:
        return found
    for context in (_STANDARD, *genai_prices.contexts_of(info, day)):
        for unit, value in genai_prices.prices_of(info, day, context).items():
            base, tiers = (value, []) if isinstance(value, Decimal) else value
            found[context[1], unit, 0] = base
            found |= {(context[1], unit, start): price for start, price in tiers}
    return found
