"""The price table.

The operator's file goes over overrides.toml, that over accepted prices, and those over the installed genai-prices.
"""

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
from shared.pricing.catalog import Catalog
from shared.pricing.genai_prices import Library

# Contexts of a price; others are ("service_tier", value) and ("speed", value).
STANDARD = ("", "")
BATCH = ("processing", "batch")

ANY = "*"
UNKNOWN = "unknown_model"
DISPUTED = "disputed_price"
_PREFIX = re.compile(
    r"^(?:models/|publishers/google/models/|anthropic/|openai/|google/|gemini/|mistralai/|mistral/|x-ai/|xai/)+"
)


class Tiered(msgspec.Struct, frozen=True):
    """A price that depends on the input size; a tier applies to the whole request."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal | None], ...]  # (threshold in input tokens, price above it), ascending

    def at(self, total_input: int) -> Decimal | None:
        """The unit price for a request of this many input tokens; None if unknown."""
        price: Decimal | None = self.base
        for threshold, tier_price in self.tiers:
            if total_input > threshold:
                price = tier_price
        return price


Prices = dict[str, Decimal | Tiered | None]  # unit → USD; None: known to be unknown, so no fallback unit applies


class Override(msgspec.Struct, frozen=True):
    """One unit's price for matching models: a row of a price file."""

    provider: str
    model: str  # fnmatch pattern
    unit: str  # as in genai-prices, or "<tool>_kcount"; "*" without a price: disputed, so unknown
    source: str
    price: str = ""  # "": known to be unknown
    valid_from: date | None = None
    valid_to: date | None = None  # excluded
    tier: str | None = None  # "" standard, flex, priority, fast, batch …; "*" any, the default for non-token units
    above: int = 0  # applies only to requests with more input tokens than this

    def applies(self, model: str, day: date) -> bool:
        """Whether the row applies to this model on this day."""
        if not _within(self, day):
            return False
        pattern = self.model.lower()
        return fnmatchcase(model, pattern) or fnmatchcase(genai_prices.fine_tuned_base(model), pattern)

    def covers(self, tier: str) -> bool:
        """Whether the row applies to this service tier."""
        default = "" if self.unit.endswith("_mtok") else ANY
        return (default if self.tier is None else self.tier) in (ANY, tier)


class Step(msgspec.Struct, frozen=True):
    """Prices of requests with more input tokens than a threshold."""

    tokens: int
    prices: dict[str, str]


class ModelPrices(msgspec.Struct, frozen=True):
    """All token prices of some models, short for many rows; `tiers` are factors."""

    provider: str
    models: tuple[str, ...]  # fnmatch patterns
    source: str
    prices: dict[str, str]  # unit → USD
    above: Step | None = None
    tiers: dict[str, str] = {}
    valid_from: date | None = None
    valid_to: date | None = None  # excluded

    def rows(self) -> list[Override]:
        """Expand to single rows."""
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
    """A model name that means a different model than genai-prices assumes."""

    provider: str
    model: str
    means: str  # a model of the same provider, or of the vendor that prices it: "gpt-4o", "openai/gpt-4o"
    source: str
    valid_from: date | None = None
    valid_to: date | None = None  # excluded


class Multiplier(msgspec.Struct, frozen=True):
    """A factor on every token price for a processing region."""

    provider: str
    model: str  # fnmatch patterns, both
    geo: str
    factor: str
    source: str


class Overrides(msgspec.Struct, frozen=True):
    """A price file: TOML tables [[model]], [[price]], [[alias]] and [[multiplier]].

    The last matching row wins; rows of [[model]] come before those of [[price]].
    """

    model: tuple[ModelPrices, ...] = ()
    price: tuple[Override, ...] = ()
    multiplier: tuple[Multiplier, ...] = ()
    alias: tuple[Alias, ...] = ()


class Accepted(msgspec.Struct, frozen=True):
    """Accepted prices with their version: number and hash of the content."""

    version: str
    catalog: Catalog


class Table:
    """All known prices, with a version that changes whenever a price does."""

    def __init__(self, overrides: Overrides, version: str, library: Library | None = None) -> None:
        self.overrides = overrides
        self.version = version
        self.library = library or Library()
        self._find = lru_cache(maxsize=4096)(self._resolve)  # bounded: clients choose the names

    @staticmethod
    @cache
    def default() -> "Table":
        """The built-in prices."""
        return Table.load(None)

    @classmethod
    def load(cls, extra: Path | None, accepted: Accepted | None = None) -> "Table":
        """Load the operator's file over accepted and built-in prices.

        Raises ValueError if the file is invalid.
        """
        return cls.parse(None if extra is None else extra.read_bytes(), accepted)

    @classmethod
    def parse(cls, extra: bytes | None, accepted: Accepted | None = None) -> "Table":
        """Like `load`, from the bytes of the operator's file."""
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
        if accepted is None:
            return cls(merged, digest[:12])
        return cls(merged, f"{accepted.version}+{digest[:8]}", Library(accepted.catalog))

    def find(self, provider: str, model: str, *, at: datetime, context: tuple[str, str]) -> Prices | str:
        """Prices by unit, or why not: unknown_model, disputed_price, unpriced_tier:<name>."""
        return self._find(provider, canonical(model), at.astimezone(UTC).date(), context)

    def factor(self, provider: str, model: str, *, geo: str, at: datetime | None = None) -> Decimal | None:
        """The factor on token prices; None for a region whose factor is unknown."""
        if not geo:
            return Decimal(1)
        name = canonical(model)
        if not self.is_built_in(provider):
            provider, name = self.resolve_alias(provider, name, (at or datetime.now(UTC)).astimezone(UTC).date())
        for row in reversed(self.overrides.multiplier):
            if row.provider == provider and fnmatchcase(geo, row.geo) and fnmatchcase(name, row.model):
                return Decimal(row.factor)
        return None

    def rows(self, provider: str, model: str, day: date) -> list[Override]:
        """The override rows that apply to a model on a day, the strongest last."""
        return [row for row in self.overrides.price if row.provider == provider and row.applies(model, day)]

    def is_built_in(self, provider: str) -> bool:
        """Whether the built-in prices cover this provider, so it is not an operator's own."""
        return provider in genai_prices.PROVIDERS

    def knows(self, provider: str, model: str, *, at: datetime) -> bool:
        """Whether the model has any known price."""
        return self.find(provider, model, at=at, context=STANDARD) != UNKNOWN

    def resolve_alias(self, provider: str, model: str, day: date) -> tuple[str, str]:
        """Resolve an alias on a day to (provider, model) whose price applies."""
        for row in reversed(self.overrides.alias):
            if row.provider == provider and canonical(row.model) == model and _within(row, day):
                return self._vendor(provider, row.means, day)
        return provider, model

    def _vendor(self, provider: str, means: str, day: date) -> tuple[str, str]:
        """The (provider, model) that an alias means: its own provider, the named vendor, or any vendor of the model."""
        name = canonical(means)
        if self.is_built_in(provider) or self.rows(provider, name, day):
            return provider, name
        named, _, rest = means.partition("/")
        if rest and self.is_built_in(named):
            return self.resolve_alias(named, canonical(rest), day)
        for vendor in genai_prices.PROVIDERS:
            if self._find(vendor, name, day, STANDARD) != UNKNOWN:
                return self.resolve_alias(vendor, name, day)
        return provider, name

    def _resolve(self, provider: str, model: str, day: date, context: tuple[str, str]) -> Prices | str:
        # 1. the override rows of the alias's target, then those of the name itself
        vendor, meant = self.resolve_alias(provider, model, day)
        rows = self.rows(vendor, meant, day)
        if vendor != provider:
            rows += self.rows(provider, model, day)
        # 2. a disputed price voids everything before it; later rows settle the dispute
        disputed = max((index for index, row in enumerate(rows) if row.unit == ANY), default=-1)
        rows = [row for row in rows[disputed + 1 :] if row.covers(context[1])]
        # 3. the library's prices, overridden by the rows
        library = DISPUTED if disputed >= 0 else self.library.prices(vendor, meant, day=day, context=context)
        if isinstance(library, str):
            # Rows for tools apply to every model, so they do not make a model known.
            if all(row.unit.endswith("_kcount") or row.tier == ANY for row in rows):
                return library
            return _merged({}, rows)
        return _merged({unit: _value(price) for unit, price in library.items()}, rows)


def canonical(model: str) -> str:
    """A model's name as in the price table: lower case, without a vendor prefix."""
    return _PREFIX.sub("", model.lower())[:256]


def _merged(prices: Prices, rows: list[Override]) -> Prices:
    """Prices overridden by rows."""
    merged = dict(prices)
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


def _value(price: genai_prices.Value) -> Decimal | Tiered:
    return price if isinstance(price, Decimal) else Tiered(price[0], tuple(price[1]))


def _within(row: Override | Alias, day: date) -> bool:
    return (row.valid_from is None or day >= row.valid_from) and (row.valid_to is None or day < row.valid_to)


def _expanded(part: Overrides) -> list[Override]:
    return [row for model in part.model for row in model.rows()]


def _check(overrides: Overrides) -> None:
    for row in overrides.price:
        if row.price and not (Decimal(row.price).is_finite() and Decimal(row.price) >= 0):
            raise ValueError(f"price {row.price} of {row.model}, {row.unit}: must be a number of at least 0")
    for multiplier in overrides.multiplier:
        if not (Decimal(multiplier.factor).is_finite() and Decimal(multiplier.factor) >= 0):
            raise ValueError(f"factor {multiplier.factor} of {multiplier.model}: must be a number of at least 0")
