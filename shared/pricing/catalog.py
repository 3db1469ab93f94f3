"""Prices of models in the form of genai-prices, as data to store and compare.

The names of the fields are those of the library's own JSON, so one decoder reads its data files and stored catalogs.
"""

import hashlib
import re
import zlib
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

MOST_BYTES = 16 << 20  # of a catalog's JSON
_MOST_USD = Decimal(1_000_000)  # per unit: anything above is a mistake
_MOST_DECIMALS = 12
_UNIT = re.compile(r"(?!self$)[a-z][a-z0-9_]{0,63}")  # a keyword argument of the library's record of prices
_MOST_NESTED = 8  # clauses within clauses

# Models' names are matched while requests are priced, and clients choose them. Python's regular expressions backtrack:
# without repeated groups and with few points of choice, a match takes milliseconds at most.
_MOST_REGEX = 200  # characters
_MOST_REPETITIONS = 2  # *, + and {1,9}, each of which multiplies the time by the length of a name
_MOST_CHOICES = 4  # ? and |, each of which doubles it
_LITERAL = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)  # an escaped character or a set of them
_GROUP = re.compile(r"\((?:\?(?:[:=!]|<[=!]))?")  # others change what follows: flags, comments, names, conditions
_REPETITION = re.compile(r"[*+]|\{\d*,\d*\}")

Name = Annotated[str, Meta(min_length=1, max_length=256)]


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price of requests with more input tokens than `start`."""

    start: Annotated[int, Meta(ge=0)]
    price: Decimal


class TieredPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price that depends on the input size."""

    base: Decimal
    tiers: tuple[Tier, ...]


Price = Decimal | TieredPrice | None
Prices = dict[Name, Price]


class Since(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The day from which prices are valid.

    The library's other constraint, a time of day, is not supported.
    """

    start_date: date


class DatedPrices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Prices from a day on; without a constraint, always."""

    prices: Prices
    constraint: Since | None = None


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Prices of requests in a context, such as a service tier."""

    when: Annotated[dict[str, str], Meta(min_length=1, max_length=1)]
    prices: Prices
    constraint: Since | None = None


class Clause(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"any_of": "or", "all_of": "and"},
):
    """A condition on a model's name; exactly one field is set."""

    equals: str | None = None
    starts_with: str | None = None
    ends_with: str | None = None
    contains: str | None = None
    regex: str | None = None
    any_of: "tuple[Clause, ...] | None" = None
    all_of: "tuple[Clause, ...] | None" = None

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in self.__struct_fields__) != 1:
            raise ValueError("a clause of `match` needs exactly one condition")
        if self.regex is not None:
            _check_regex(self.regex)
        if self.depth() > _MOST_NESTED:
            raise ValueError(f"clauses of `match` are nested more than {_MOST_NESTED} deep")

    def depth(self) -> int:
        """How many clauses are nested, this one included."""
        return 1 + max((part.depth() for part in (*(self.any_of or ()), *(self.all_of or ()))), default=0)


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A model's names and prices; of dated prices the last that are valid apply."""

    id: Name
    match: Clause
    prices: Prices | tuple[DatedPrices, ...]
    price_variants: tuple[Variant, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.prices, dict) and not self.prices:
            raise ValueError("no prices")
        for prices in self._all_prices():
            for unit, price in prices.items():
                _check_price(unit, price)

    def _all_prices(self) -> Iterator[Prices]:
        if isinstance(self.prices, dict):
            yield self.prices
        else:
            yield from (dated.prices for dated in self.prices)
        yield from (variant.prices for variant in self.price_variants or ())


class Catalog(msgspec.Struct, frozen=True):
    """The models of each price list of genai-prices that Metrion uses."""

    release: str  # of genai-prices, "" if the source does not state it
    price_lists: dict[str, tuple[Model, ...]]


def model(raw: Any) -> Model:
    """Read one model of the library's data.

    Raises ValueError if any part that affects prices is not understood.
    """
    return msgspec.convert(raw, Model)


def pack(catalog: Catalog) -> tuple[bytes, str]:
    """Compress a catalog; returns it and the hash of its content."""
    text = msgspec.json.encode(catalog, order="deterministic")
    return zlib.compress(text, 9), hashlib.sha256(text).hexdigest()


def unpack(data: bytes, *, sha256: str) -> Catalog:
    """Read what `pack` returned; ValueError if it is damaged or too large."""
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(data, MOST_BYTES)
    except zlib.error as error:
        raise ValueError(f"damaged: {error}") from None
    if decompressor.unconsumed_tail or not decompressor.eof:
        raise ValueError("damaged: too large or cut off")
    if hashlib.sha256(text).hexdigest() != sha256:
        raise ValueError("damaged: its content does not match its hash")
    return msgspec.json.decode(text, type=Catalog)


def _check_price(unit: str, price: Price) -> None:
    if _UNIT.fullmatch(unit) is None:
        raise ValueError(f"{unit!r} is not the name of a unit")
    values = [price.base, *(tier.price for tier in price.tiers)] if isinstance(price, TieredPrice) else [price]
    for value in values:
        if value is not None and not (value.is_finite() and 0 <= value <= _MOST_USD):
            raise ValueError(f"{unit}: a price must be a number from 0 to {_MOST_USD:,}, not {value}")
        if value is not None and not -_MOST_DECIMALS <= int(value.as_tuple().exponent) <= _MOST_DECIMALS:
            raise ValueError(f"{unit}: a price has at most {_MOST_DECIMALS} decimals")


def _check_regex(text: str) -> None:
    bare = _LITERAL.sub("x", text)
    groups = _GROUP.sub("(", bare)
    choices = groups.count("?") + groups.count("|")
    if (
        len(text) > _MOST_REGEX
        or "(?" in groups
        or re.search(r"\)[*+{]", groups)
        or len(_REPETITION.findall(groups)) > _MOST_REPETITIONS
        or choices > _MOST_CHOICES
    ):
        raise ValueError("a regular expression that is too long or could take too much time")
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        raise ValueError("an invalid regular expression") from None
