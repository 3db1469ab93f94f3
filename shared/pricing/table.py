"""Prices by provider, model, day and context: genai-prices as data, our own supplements and corrections over it."""

import hashlib
import re
import tomllib
from datetime import UTC, date, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path

import msgspec

from shared.pricing import genai_prices

STANDARD, BATCH = ("", ""), ("processing", "batch")  # contexts of a price; else ("service_tier" | "speed", value)
ANY = "*"
UNKNOWN, DISPUTED = "unknown_model", "disputed_price"
_PREFIX = re.compile(
    r"^(?:models/|publishers/google/models/|anthropic/|openai/|google/|gemini/|mistralai/|mistral/|x-ai/|xai/)+"
)


class Tiered(msgspec.Struct, frozen=True):
    """A price that is another one for the whole request when its input exceeds a threshold."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal | None], ...]  # (threshold in input tokens, price beyond it), ascending

    def at(self, total_input: int) -> Decimal | None:
        """The price per unit for a request with so many input tokens; None when nobody stated one."""
        found: Decimal | None = self.base
        for threshold, value in self.tiers:
            if total_input > threshold:
                found = value
        return found


Prices = dict[str, Decimal | Tiered | None]  # unit → USD; None: known to be unknown, so that no other unit stands in


class Override(msgspec.Struct, frozen=True):
    """A row of overrides.toml or of METRION_PRICES_FILE: one unit's price of the models that match, in a time."""

    provider: str
    model: str  # fnmatch pattern
    unit: str  # as in genai-prices, or "<tool>_kcount"; "*" with no price: known to be disputed, so unknown
    source: str
    price: str = ""  # "": known to be unknown
    valid_from: date | None = None
    valid_to: date | None = None  # excluded
    tier: str | None = None  # "" standard, flex, priority, fast, batch …; "*" any: the default for what are no tokens
    above: int = 0  # only for requests with more input tokens

    def applies(self, model: str, day: date) -> bool:
        """Whether the row is about this model on this day."""
        if not _within(self, day):
            return False
        pattern = self.model.lower()
        return fnmatchcase(model, pattern) or fnmatchcase(genai_prices.fine_tuned_base(model), pattern)

    def covers(self, tier: str) -> bool:
        """Whether the row speaks of this kind of processing."""
        default = "" if self.unit.endswith("_mtok") else ANY
        return (default if self.tier is None else self.tier) in (ANY, tier)


class Step(msgspec.Struct, frozen=True):
    """Prices of requests with more input tokens than a threshold."""

    tokens: int
    prices: dict[str, str]


class ModelPrices(msgspec.Struct, frozen=True):
    """All token prices of some models at once: short for as many rows. `tiers`: factors on them."""

    provider: str
    models: tuple[str, ...]  # fnmatch patterns
    source: str
    prices: dict[str, str]  # unit → USD
    above: Step | None = None
    tiers: dict[str, str] = {}
    valid_from: date | None = None
    valid_to: date | None = None  # excluded

    def rows(self) -> list[Override]:
        """The rows that this stands for."""
        steps = [(0, self.prices)] + ([(self.above.tokens, self.above.prices)] if self.above else [])
        return [
            Override(
                provider=self.provider,
                model=model,
                unit=unit,
                source=self.source,
                price=f"{(Decimal(price) * Decimal(factor)).normalize():f}",
                valid_from=self.valid_from,
                valid_to=self.valid_to,
                tier=tier,
                above=tokens,
            )
            for model in self.models
            for tier, factor in (("", "1"), *self.tiers.items())
            for tokens, prices in steps
            for unit, price in prices.items()
        ]


class Alias(msgspec.Struct, frozen=True):
    """A name that means another model than the library thinks, in a time."""

    provider: str
    model: str
    means: str  # a model of the same provider, or of the vendor that prices it: "gpt-4o", "openai/gpt-4o"
    source: str
    valid_from: date | None = None
    valid_to: date | None = None  # excluded


class Multiplier(msgspec.Struct, frozen=True):
    """What a processing region does to every token price."""

    provider: str
    model: str  # fnmatch patterns, both
    geo: str
    factor: str
    source: str


class Overrides(msgspec.Struct, frozen=True):
    """A price file: TOML tables [[model]], [[price]], [[alias]] and [[multiplier]].

    Of rows that fit, the last one counts; those of [[model]] stand before those of [[price]].
    """

    model: tuple[ModelPrices, ...] = ()
    price: tuple[Override, ...] = ()
    multiplier: tuple[Multiplier, ...] = ()
    alias: tuple[Alias, ...] = ()


class Table:
    """All prices that are known, with a version that changes when any of them does."""

    def __init__(self, overrides: Overrides, version: str) -> None:
        self.overrides, self.version = overrides, version
        self._find = lru_cache(maxsize=4096)(self._resolve)  # bounded: names come from outside

    @staticmethod
    @cache
    def default() -> "Table":
        """The built-in prices."""
        return Table.load(None)

    @classmethod
    def load(cls, extra: Path | None) -> "Table":
        """Built-in prices with an operator's file over them; ValueError when the file is none."""
        return cls.parse(None if extra is None else extra.read_bytes())

    @classmethod
    def parse(cls, extra: bytes | None) -> "Table":
        """The same from the file's bytes."""
        texts = [resources.files(__package__).joinpath("overrides.toml").read_bytes()]
        if extra is not None:
            texts.append(extra)
        parts = [msgspec.convert(tomllib.loads(text.decode()), Overrides) for text in texts]
        merged = Overrides(
            price=tuple(row for part in parts for row in (*_expanded(part), *part.price)),
            multiplier=tuple(row for part in parts for row in part.multiplier),
            alias=tuple(row for part in parts for row in part.alias),
        )
        _check(merged)
        digest = hashlib.sha256(genai_prices.VERSION.encode() + b"\0".join(texts)).hexdigest()
        return cls(merged, digest[:12])

    def find(self, provider: str, model: str, *, at: datetime, context: tuple[str, str]) -> Prices | str:
        """Prices by unit, or why there are none: unknown_model, disputed_price, unpriced_tier:<name>."""
        return self._find(provider, canonical(model), at.astimezone(UTC).date(), context)

    def factor(self, provider: str, model: str, *, geo: str, at: datetime | None = None) -> Decimal | None:
        """What to multiply token prices by; None for a region whose price is not known."""
        if not geo:
            return Decimal(1)
        name = canonical(model)
        if not self.sells(provider):
            provider, name = self.meant(provider, name, (at or datetime.now(UTC)).astimezone(UTC).date())
        for row in reversed(self.overrides.multiplier):
            if row.provider == provider and fnmatchcase(geo, row.geo) and fnmatchcase(name, row.model):
                return Decimal(row.factor)
        return None

    def rows(self, provider: str, model: str, day: date) -> list[Override]:
        """The override rows that speak of a model on a day, the strongest last."""
        return [row for row in self.overrides.price if row.provider == provider and row.applies(model, day)]

    def sells(self, provider: str) -> bool:
        """Whether this is one of the providers with prices of their own, not an operator's."""
        return provider in genai_prices.PROVIDERS

    def knows(self, provider: str, model: str, *, at: datetime) -> bool:
        """Whether anything is known of a model's price."""
        return self.find(provider, model, at=at, context=STANDARD) != UNKNOWN

    def meant(self, provider: str, model: str, day: date) -> tuple[str, str]:
        """The model that a name stands for on a day, with the provider whose price it has."""
        for row in reversed(self.overrides.alias):
            if row.provider == provider and canonical(row.model) == model and _within(row, day):
                return self._vendor(provider, row.means, day)
        return provider, model

    def _vendor(self, provider: str, means: str, day: date) -> tuple[str, str]:
        """The provider whose price an alias refers to: its own, the vendor it names, or the one that has the model."""
        name = canonical(means)
        if self.sells(provider) or self.rows(provider, name, day):
            return provider, name
        named, _, rest = means.partition("/")
        if rest and self.sells(named):
            return self.meant(named, canonical(rest), day)
        for vendor in genai_prices.PROVIDERS:
            if self._find(vendor, name, day, STANDARD) != UNKNOWN:
                return self.meant(vendor, name, day)
        return provider, name

    def _resolve(self, provider: str, model: str, day: date, context: tuple[str, str]) -> Prices | str:
        vendor, meant = self.meant(provider, model, day)
        rows = self.rows(vendor, meant, day)
        if vendor != provider:
            rows += self.rows(provider, model, day)
        disputed = max((at for at, row in enumerate(rows) if row.unit == ANY), default=-1)
        rows = rows[disputed + 1 :]  # what is stated after it settles the dispute
        rows = [row for row in rows if row.covers(context[1])]
        found = DISPUTED if disputed >= 0 else genai_prices.prices(vendor, meant, day=day, context=context)
        if isinstance(found, str):
            # A row for a tool holds for every model: it does not make one known.
            if all(row.unit.endswith("_kcount") or row.tier == ANY for row in rows):
                return found
            return _merged({}, rows)
        return _merged({unit: _value(one) for unit, one in found.items()}, rows)


def canonical(model: str) -> str:
    """A model's name as price tables write it: lower case, without a vendor before it."""
    return _PREFIX.sub("", model.lower())[:256]


def _merged(found: Prices, rows: list[Override]) -> Prices:
    """Prices with rows laid over them."""
    merged = dict(found)
    for row in rows:
        value = Decimal(row.price) if row.price else None
        if row.above:
            base = merged.get(row.unit)
            if isinstance(base, Decimal):
                base = Tiered(base, ())
            if base is not None:
                merged[row.unit] = Tiered(base.base, tuple(sorted((*base.tiers, (row.above, value)))))
        else:
            merged[row.unit] = value
    return merged


def _value(one: genai_prices.Value) -> Decimal | Tiered:
    return one if isinstance(one, Decimal) else Tiered(one[0], tuple(one[1]))


def _within(row: Override | Alias, day: date) -> bool:
    return (row.valid_from is None or day >= row.valid_from) and (row.valid_to is None or day < row.valid_to)


def _expanded(part: Overrides) -> list[Override]:
    return [row for model in part.model for row in model.rows()]


def _check(overrides: Overrides) -> None:
    for row in overrides.price:
        if row.price and not (Decimal(row.price).is_finite() and Decimal(row.price) >= 0):
            raise ValueError(f"price {row.price} of {row.model}, {row.unit}: not a number from 0")
    for multiplier in overrides.multiplier:
        if not (Decimal(multiplier.factor).is_finite() and Decimal(multiplier.factor) >= 0):
            raise ValueError(f"factor {multiplier.factor} of {multiplier.model}: not a number from 0")
