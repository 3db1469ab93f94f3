"""Usage in, cost out: exact where every unit has a price, None with a reason where one has not."""

from datetime import datetime
from decimal import Decimal

import msgspec

from shared.pricing import endpoints
from shared.pricing.table import Prices, Table, Tiered
from shared.usage import Usage

PROVIDER, COMPUTED, ESTIMATED, FREE, NONE = "provider", "computed", "estimated", "free", "none"
ZERO = Decimal(0)
_MILLION, _THOUSAND, _HOUR = Decimal(10) ** 6, Decimal(10) ** 3, Decimal(3600)

# Billable tool → the library's unit for it. Others are priced by rows of the override table, unit "<tool>_kcount".
_TOOL_UNITS = {"web_search": "web_searches_kcount", "google_search": "web_searches_kcount"}
_TOOL_UNITS |= {"file_search": "storage_searches_kcount"}
_FREE_TOOLS = frozenset({"web_fetch"})


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A cost in USD and how it came about. `cost` is None when it cannot be known; then `reason` says why."""

    cost: Decimal | None
    cost_by_class: dict[str, Decimal]  # input, cache_read, cache_write, output, tools …: adds up to the cost
    unit_prices: dict[str, Decimal]  # unit → USD; the unit says per what: _mtok a million tokens, _kcount a thousand
    source: str
    reason: str = ""
    version: str = ""


class Item(msgspec.Struct, frozen=True):
    """So much of one thing, priced by the first of `units` that has a price, per `per`."""

    kind: str  # cost class
    units: tuple[str, ...]
    amount: Decimal
    per: Decimal


def price(
    usage: Usage,
    *,
    provider: str,
    endpoint: str,
    model_requested: str,
    status: int,
    at: datetime,
    table: Table | None = None,
) -> Price:
    """What a request cost. `endpoint` is "POST /v1/…", `at` its start in UTC, `table` the prices: else the built-in."""
    table = table or Table.default()
    if not 200 <= status < 300:
        return _free("error", table)
    if usage.batch or usage.service_tier == "batch":
        return _unknown("batch", table)
    if endpoints.is_free(endpoint):
        return _free("", table)
    if usage.provider_cost_usd is not None and usage.source == "reported":
        cost = usage.provider_cost_usd
        return Price(cost=cost, cost_by_class={"total": cost}, unit_prices={}, source=PROVIDER, version=table.version)
    if usage.source not in ("reported", ESTIMATED):
        return _unknown("broken_stream" if usage.source == "partial" else "usage_absent", table)
    prices = table.find(provider, usage.model or model_requested, at=at, context=_context(provider, usage))
    if isinstance(prices, str):
        return _unknown(prices, table)
    factor = table.factor(provider, usage.model or model_requested, geo=usage.geo)
    if factor is None:
        return _unknown(f"unpriced_geo:{usage.geo}", table)
    found = _compute(items(usage), prices=prices, total_input=usage.input or 0, factor=factor, table=table)
    if usage.source == ESTIMATED and found.cost is not None:
        reason = f"{ESTIMATED}:{','.join(usage.estimated)}"
        return msgspec.structs.replace(found, source=ESTIMATED, reason=reason)
    return found


def items(usage: Usage) -> list[Item]:
    """The usage as disjoint quantities, so that nothing is charged twice."""
    writes = usage.cache_write_5m + usage.cache_write_30m
    long = usage.cache_write_1h, usage.cache_write_12h
    special_in = usage.cache_read + writes + sum(long) + usage.input_audio + usage.input_image
    # Cached audio and images are counted under both heads: then the special parts exceed the whole, and text is 0.
    plain_in = max((usage.input or 0) - special_in, 0)
    plain_out = max((usage.output or 0) - usage.output_audio - usage.output_image, 0)
    tokens = [
        ("input", ("input_mtok",), plain_in),
        ("input_audio", ("input_audio_mtok", "input_mtok"), usage.input_audio),
        ("input_image", ("input_image_mtok", "input_mtok"), usage.input_image),
        ("cache_read", ("cache_read_mtok", "input_mtok"), usage.cache_read),
        ("cache_write", ("cache_write_mtok",), writes),
        ("cache_write", ("cache_write_1h_mtok",), usage.cache_write_1h),
        ("cache_write", ("cache_write_12h_mtok",), usage.cache_write_12h),
        ("output", ("output_mtok",), plain_out),
        ("output_audio", ("output_audio_mtok", "output_mtok"), usage.output_audio),
        ("output_image", ("output_image_mtok", "output_mtok"), usage.output_image),
    ]
    found = [Item(kind, units, Decimal(amount), _MILLION) for kind, units, amount in tokens if amount]
    if usage.audio_seconds:
        found.append(Item("audio", ("input_audio_hours", "audio_hours"), usage.audio_seconds, _HOUR))
    if usage.pages:
        found.append(Item("pages", ("pages_kcount",), Decimal(usage.pages), _THOUSAND))
    for tool, calls in usage.tools.items():
        if calls and tool not in _FREE_TOOLS:
            units = (f"{tool}_kcount", *((_TOOL_UNITS[tool],) if tool in _TOOL_UNITS else ()))
            found.append(Item("tools", units, Decimal(calls), _THOUSAND))
    return found


def _compute(found: list[Item], *, prices: Prices, total_input: int, factor: Decimal, table: Table) -> Price:
    by_class: dict[str, Decimal] = {}
    used: dict[str, Decimal] = {}
    for item in found:
        unit = next((one for one in item.units if one in prices), None)
        if unit is None:
            return _unknown(f"unpriced_unit:{item.units[0]}", table)
        value = prices[unit]
        value = value.at(total_input) if isinstance(value, Tiered) else value
        value = value if item.kind == "tools" else value * factor
        used[unit] = value
        by_class[item.kind] = by_class.get(item.kind, ZERO) + value * item.amount / item.per
    cost = sum(by_class.values(), ZERO)
    return Price(cost=cost, cost_by_class=by_class, unit_prices=used, source=COMPUTED, version=table.version)


def _context(provider: str, usage: Usage) -> tuple[str, str]:
    """(key, value) of the price variant that a request was served under; ("", "") for standard."""
    if provider == "anthropic" and usage.speed not in ("", "standard"):
        return "speed", usage.speed
    if usage.service_tier.lower() in ("", "standard", "default", "auto", "standard_only"):
        return "", ""
    return "service_tier", usage.service_tier.lower()


def _free(reason: str, table: Table) -> Price:
    return Price(cost=ZERO, cost_by_class={}, unit_prices={}, source=FREE, reason=reason, version=table.version)


def _unknown(reason: str, table: Table) -> Price:
    return Price(cost=None, cost_by_class={}, unit_prices={}, source=NONE, reason=reason, version=table.version)
