"""Lists the prices of a model: by unit and service tier, with their source."""

from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase

import msgspec

from shared.pricing import genai_prices
from shared.pricing.table import ANY, DISPUTED, STANDARD, Table, Tiered, canonical


class Quote(msgspec.Struct, frozen=True):
    """A price of a model. `price` None: disputed, see `source`."""

    provider: str
    model: str
    tier: str  # standard, flex, priority, fast, batch …
    unit: str  # "*" for all of them
    above: int  # for requests with more input tokens than this
    price: Decimal | None  # USD per unit; for unit "region <name>" a factor on token prices
    source: str


def models(table: Table, provider: str) -> list[str]:
    """Return the models of a provider that have prices in library or overrides."""
    rows = [(row.provider, row.model) for row in table.overrides.price]
    rows += [(row.provider, row.model) for row in table.overrides.alias]
    own = (name for named, name in rows if named == provider and not set(name) & set("*?["))
    return sorted({*table.library.models(provider), *own})


def providers(table: Table) -> list[str]:
    """Return the providers that have prices."""
    priced = {row.provider for row in table.overrides.price}
    aliased = {row.provider for row in table.overrides.alias}
    return sorted({*genai_prices.PROVIDERS, *priced, *aliased})


def quotes(table: Table, provider: str, model: str, *, at: datetime) -> list[Quote]:
    """Return all prices of a model at a time; [] for an unknown model."""
    name = canonical(model)
    day = at.astimezone(UTC).date()
    vendor, meant = table.resolve_alias(provider, name, day)
    rows = table.rows(vendor, meant, day)
    disputed = [row for row in rows if row.unit == ANY]
    if disputed and table.find(provider, name, at=at, context=STANDARD) == DISPUTED:
        return [Quote(provider, name, "standard", ANY, 0, None, disputed[-1].source)]
    result: list[Quote] = []
    library_source = f"genai-prices {table.library.release(vendor, meant)}" + (f", {meant}" if meant != name else "")
    contexts = [STANDARD, *table.library.contexts(vendor, meant, day=day)]
    named = {row.tier for row in rows if row.tier not in (None, "", ANY)} - {value for _, value in contexts}
    for context in (*contexts, *(("service_tier", tier) for tier in sorted(map(str, named)))):
        prices = table.find(provider, name, at=at, context=context)
        if isinstance(prices, str):
            continue
        sources = {(row.unit, row.above): row.source for row in rows if row.covers(context[1])}
        for unit, value in sorted(prices.items()):
            steps = ((0, value.base), *value.tiers) if isinstance(value, Tiered) else ((0, value),)
            for above, step in steps:
                source = sources.get((unit, above), library_source)
                result.append(Quote(provider, name, context[1] or "standard", unit, above, step, source))
    return [*result, *_regions(table, provider, name)] if result else []


def _regions(table: Table, provider: str, name: str) -> list[Quote]:
    last = {
        row.geo: row for row in table.overrides.multiplier if row.provider == provider and fnmatchcase(name, row.model)
    }
    return [
        Quote(provider, name, ANY, f"region {geo}", 0, Decimal(row.factor), row.source)
        for geo, row in last.items()
        if row.factor != "1"
    ]
