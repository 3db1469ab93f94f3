"""Prices by provider, model, day and context: genai-prices as data, our own supplements and corrections over it."""

import hashlib
import re
import tomllib
from datetime import UTC, date, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from importlib import resources
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import msgspec

_LIBRARY_IDS = {"anthropic": "anthropic", "openai": "openai", "gemini": "google", "mistral": "mistral", "grok": "x-ai"}
_PREFIX = re.compile(r"^(?:models/|publishers/google/models/|anthropic/|openai/|google/|mistralai/|x-ai/|xai/)+")
# What may follow a model's name and still mean it. Without this, claude-opus-4-80 would pass for claude-opus-4-8.
_SUFFIX = re.compile(
    r"(?:[-@]\d{8}|-\d{4}-\d{2}-\d{2}|-latest|-\d{3}|-preview(?:-\d{2}-\d{2}(?:-\d{4})?|-\d{2}-\d{4})?)?$"
)


class Tiered(msgspec.Struct, frozen=True):
    """A price that is another one for the whole request when its input exceeds a threshold."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...]  # (threshold in input tokens, price beyond it), ascending

    def at(self, total_input: int) -> Decimal:
        """The price per unit for a request with so many input tokens."""
        found = self.base
        for threshold, value in self.tiers:
            if total_input > threshold:
                found = value
        return found


Prices = dict[str, Decimal | Tiered]  # unit → USD


class Override(msgspec.Struct, frozen=True):
    """A row of overrides.toml or of METRION_PRICES_FILE: one unit's price of the models that match, in a time."""

    provider: str
    model: str  # fnmatch pattern
    unit: str  # as in genai-prices, or "<tool>_kcount"; "*" with no price: known to be disputed, so unknown
    source: str
    price: str = ""
    valid_from: date | None = None
    valid_to: date | None = None  # excluded

    def applies(self, model: str, day: date) -> bool:
        """Whether the row speaks of this model on this day."""
        after = self.valid_from is None or day >= self.valid_from
        return after and (self.valid_to is None or day < self.valid_to) and fnmatchcase(model, self.model)


class Multiplier(msgspec.Struct, frozen=True):
    """What a processing region does to every token price."""

    provider: str
    model: str
    geo: str
    factor: str
    source: str


class Overrides(msgspec.Struct, frozen=True):
    """A price file: TOML tables [[price]] and [[multiplier]]."""

    price: tuple[Override, ...] = ()
    multiplier: tuple[Multiplier, ...] = ()


class Table:
    """All prices that are known, with a version that changes when any of them does."""

    def __init__(self, overrides: Overrides, version: str) -> None:
        self._overrides, self.version = overrides, version
        self._find = lru_cache(maxsize=4096)(self._resolve)  # bounded: names come from outside

    @staticmethod
    @cache
    def default() -> "Table":
        """The built-in prices."""
        return Table.load(None)

    @classmethod
    def load(cls, extra: Path | None) -> "Table":
        """Built-in prices with an operator's file over them; ValueError when the file is none."""
        texts = [resources.files(__package__).joinpath("overrides.toml").read_bytes()]
        if extra is not None:
            texts.append(extra.read_bytes())
        parts = [msgspec.convert(tomllib.loads(text.decode()), Overrides) for text in texts]
        for row in (row for part in parts for row in part.price if row.price):
            Decimal(row.price)
        merged = Overrides(
            tuple(row for part in parts for row in part.price),
            tuple(row for part in reversed(parts) for row in part.multiplier),
        )
        digest = hashlib.sha256(installed("genai-prices").encode() + b"\0".join(texts)).hexdigest()
        return cls(merged, digest[:12])

    def find(self, provider: str, model: str, *, at: datetime, context: tuple[str, str]) -> Prices | str:
        """Prices by unit, or why there are none: unknown_model, disputed_price, unpriced_tier:<name>."""
        name = _PREFIX.sub("", model.lower())[:256]
        return self._find(provider, name, at.astimezone(UTC).date(), context)

    def factor(self, provider: str, model: str, *, geo: str) -> Decimal | None:
        """What to multiply token prices by; None for a region whose price is not known."""
        if not geo:
            return Decimal(1)
        for row in self._overrides.multiplier:
            if row.provider == provider and row.geo == geo and fnmatchcase(_PREFIX.sub("", model.lower()), row.model):
                return Decimal(row.factor)
        return None

    def _resolve(self, provider: str, model: str, day: date, context: tuple[str, str]) -> Prices | str:
        rows = [row for row in self._overrides.price if row.provider == provider and row.applies(model, day)]
        if any(row.unit == "*" for row in rows):
            return "disputed_price"
        found = _library_prices(provider, model, day, context)
        if isinstance(found, str):
            units = {row.unit for row in rows}
            if found != "unknown_model" or not any(unit.endswith("_mtok") for unit in units):
                return found
            found = {}
        return found | {row.unit: Decimal(row.price) for row in rows}


def _library_prices(provider: str, model: str, day: date, context: tuple[str, str]) -> Prices | str:
    """The library's prices of a model on a day, in its own terms."""
    at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    info = _library_model(provider, model)
    if info is None:
        return "unknown_model"
    key, value = context
    if value and not any(
        variant.when == {key: value} and (variant.constraint is None or variant.constraint.active(at))
        for variant in info.price_variants or ()
    ):
        return f"unpriced_tier:{value}"
    prices = info.get_prices(at, {key: value} if value else None)
    return {unit: _value(one) for unit, one in vars(prices).items() if one is not None}


def _value(one: Any) -> Decimal | Tiered:
    if isinstance(one, Decimal):
        return one
    return Tiered(one.base, tuple((tier.start, tier.price) for tier in one.tiers))


def _library_model(provider: str, model: str) -> Any:
    """The one model of the library that a name means, none for a name that only begins or sounds like one."""
    if not model or provider not in _LIBRARY_IDS:
        return None
    for info in _library_models(_LIBRARY_IDS[provider]):
        if info.is_match(model) and _means(info.match, model):
            return info
    return None


@cache
def _library_models(provider: str) -> tuple[Any, ...]:
    from genai_prices.data import providers  # here: 0.2 s and 40 MB that a start need not wait for

    return tuple(model for one in providers if one.id == provider for model in one.models)


def _means(clause: Any, model: str) -> bool:
    """The library's match, but a prefix must be followed by nothing but a date or the like, and a part is no match."""
    for kind, text in _clauses(clause):
        if kind == "equals" and text == model:
            return True
        if kind == "regex" and not text.startswith("^(?!") and re.match(text, model):  # those only exclude
            return True
        if kind == "starts_with" and model.startswith(text) and _SUFFIX.fullmatch(model[len(text) :]):
            return True
    return False


def _clauses(clause: Any) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name in ("or_", "and_"):
        for part in getattr(clause, name, None) or ():
            found += _clauses(part)
    for name in ("equals", "regex", "starts_with"):
        if (text := getattr(clause, name, None)) is not None:
            found.append((name, text))
    return found
