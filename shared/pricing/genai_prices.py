"""Unit prices from genai-prices, installed or of another release, as data only."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version as installed
from typing import Any

from shared.pricing.catalog import Catalog
from shared.providers import BUILT_IN

VERSION = installed("genai-prices")
DATED = ("0.2.3", date(2026, 11, 27))  # the version, and the day on which its prices were taken over
PROVIDERS = {provider.name: provider.price_list for provider in BUILT_IN.values() if provider.price_list}

Value = Decimal | tuple[Decimal, list[tuple[int, Decimal]]]  # one price, or a base price and (threshold, price) tiers

# Suffixes that do not change which model a name means. Any suffix would make claude-opus-4-80 match claude-opus-4-8.
_SUFFIX = re.compile(
    r"(?:[-@]\d{8}|-\d{4}-\d{2}-\d{2}|-latest|-\d{3,4}|-preview(?:-\d{2}-\d{2}(?:-\d{4})?|-\d{2}-\d{4})?)?$"
)
_YEAR = re.compile(r"-20\d\d$")  # the library's prefix may end within a date
_DAY = re.compile(r"\d{4}")
# ft:<base>:<organisation>:<suffix>:<id>, and a checkpoint of it
_FINE_TUNED = re.compile(r"(ft:[\w.-]+):[\w-]*:[\w-]*:[\w-]+(?::ckpt-step-\d+)?")


class Library:
    """Models and prices of a catalog, then those of the installed package."""

    def __init__(self, catalog: Catalog | None = None, *, alone: bool = False) -> None:
        """`alone`: only what the catalog knows."""
        self._catalog = catalog
        self._alone = alone
        self._models: dict[str, tuple[Any, ...]] = {}

    def prices(self, provider: str, model: str, *, day: date, context: tuple[str, str]) -> dict[str, Value] | str:
        """A model's prices by unit, or the reason why there are none.

        The reason is unknown_model, or unpriced_tier:<name> when the model has no price for the context.
        """
        info = self.find(provider, model)
        if info is None:
            return "unknown_model"
        key, value = context
        if value and not any(variant.when == {key: value} for variant in _variants(info, _start(day))):
            return f"unpriced_tier:{value}"
        return prices_of(info, day, context)

    def models(self, provider: str) -> list[str]:
        """The names of a provider's models."""
        return sorted({info.id for info in self.infos(provider)})

    def contexts(self, provider: str, model: str, *, day: date) -> list[tuple[str, str]]:
        """The price variants of a model beside the standard one, as (key, value)."""
        info = self.find(provider, model)
        return [] if info is None else contexts_of(info, day)

    def release(self, provider: str, model: str) -> str:
        """The release that states a model's prices."""
        info = self.find(provider, model)
        if self._catalog is not None and any(info is known for known in self._own(provider)):
            return self._catalog.release or "of unknown version"
        return VERSION

    def find(self, provider: str, model: str) -> Any:
        """The record of a model; None for a name that merely resembles one."""
        if not model or provider not in PROVIDERS:
            return None
        for info in self._own(provider):
            if info.is_match(model) and _matches(info, model):
                return info
        for info in self._built_in(provider):
            if info.is_match(model) and _matches(info, model):
                return info
        return None

    def infos(self, provider: str) -> tuple[Any, ...]:
        """The library's records of a provider's models, those of the catalog first."""
        return self._own(provider) + self._built_in(provider) if provider in PROVIDERS else ()

    def _built_in(self, provider: str) -> tuple[Any, ...]:
        return () if self._alone else _installed(PROVIDERS[provider])

    def _own(self, provider: str) -> tuple[Any, ...]:
        if self._catalog is None:
            return ()
        if provider not in self._models:
            from shared.pricing import catalog_records

            models = self._catalog.price_lists.get(PROVIDERS[provider], ())
            self._models[provider] = _models_of(PROVIDERS[provider], [catalog_records.info(model) for model in models])
        return self._models[provider]


def prices_of(info: Any, day: date, context: tuple[str, str]) -> dict[str, Value]:
    """The prices of a record by unit, on a day and in a context that it has."""
    key, value = context
    by_unit = vars(info.get_prices(_start(day), {key: value} if value else None))
    return {unit: _value(price) for unit, price in by_unit.items() if price is not None}


def contexts_of(info: Any, day: date) -> list[tuple[str, str]]:
    """The price variants of a record beside the standard one, as (key, value)."""
    conditions = [next(iter(variant.when.items())) for variant in _variants(info, _start(day)) if variant.when]
    return list(dict.fromkeys((str(key), str(value)) for key, value in conditions if value != "default"))


def names(info: Any) -> list[str]:
    """The names that a record matches as a whole or by their beginning."""
    texts = [text for operator, text in _clauses(info.match) if operator in ("equals", "starts_with")]
    return list(dict.fromkeys((info.id, *texts)))


def fine_tuned_base(model: str) -> str:
    """ft:<base> for a fine-tuned model's full name; other names unchanged."""
    match = _FINE_TUNED.fullmatch(model)
    return match.group(1) if match else model


@cache
def _installed(price_list: str) -> tuple[Any, ...]:
    from genai_prices.data import providers  # imported here: it takes 0.2 s and 40 MB, which would slow down the start

    return _models_of(price_list, [model for item in providers if item.id == price_list for model in item.models])


def _models_of(price_list: str, models: list[Any]) -> tuple[Any, ...]:
    """Without Anthropic's models in Google's list: those are Vertex's."""
    return tuple(model for model in models if not (price_list == "google" and model.id.startswith("claude")))


def _variants(info: Any, at: datetime) -> list[Any]:
    return [
        variant for variant in info.price_variants or () if variant.constraint is None or variant.constraint.active(at)
    ]


def _matches(info: Any, model: str) -> bool:
    """The library's own match, restricted: only a date or similar may follow, and substrings do not match."""
    for operator, text in [("starts_with", info.id), *_clauses(info.match)]:
        if operator == "equals" and text == model:
            return True
        # a regex that begins with a negative lookahead only excludes names
        if operator == "regex" and not text.startswith("^(?!") and re.match(text, model):
            return True
        if operator == "starts_with" and model.startswith(text):
            if text.startswith("ft:"):
                return _FINE_TUNED.fullmatch(model) is not None
            rest = model[len(text) :]
            if _SUFFIX.fullmatch(rest) or (_YEAR.search(text) and _DAY.fullmatch(rest)):
                return True
    return False


def _clauses(clause: Any) -> list[tuple[str, str]]:
    """All (operator, text) pairs of a clause, nested ones included."""
    pairs: list[tuple[str, str]] = []
    for name in ("or_", "and_"):
        for part in getattr(clause, name, None) or ():
            pairs += _clauses(part)
    for name in ("equals", "regex", "starts_with"):
        text = getattr(clause, name, None)
        if text is not None:
            pairs.append((name, text))
    return pairs


def _value(price: Any) -> Value:
    return price if isinstance(price, Decimal) else (price.base, [(tier.start, tier.price) for tier in price.tiers])


def _start(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
