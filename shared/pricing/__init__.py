"""The price of usage: exact where every unit has a price, else None with a reason."""

from datetime import datetime

import msgspec

from shared import free_endpoints
from shared.pricing.cost import (
    COMPUTED,
    ESTIMATED,
    FREE,
    NONE,
    PROVIDER,
    UNREAD,
    ZERO,
    CostColumns,
    compute,
    free,
    unknown,
)
from shared.pricing.line_items import items, may_be_cached_otherwise
from shared.pricing.table import STANDARD, Table
from shared.usage import Usage

__all__ = [
    "ANSWER_FAILED",
    "COMPUTED",
    "ESTIMATED",
    "FREE",
    "NONE",
    "PROVIDER",
    "UNREAD",
    "ZERO",
    "CostColumns",
    "items",
    "price",
]

ANSWER_FAILED = "answer_failed"  # a whole response reports a failure but no usage
NOT_READY = 202  # status of a deferred response that is not available yet


def price(
    usage: Usage,
    *,
    provider: str,
    endpoint: str,
    model_requested: str,
    status: int,
    at: datetime,
    table: Table | None = None,
) -> CostColumns:
    """Price a request from its usage.

    `endpoint` is "POST /v1/…", `at` the start of the request in UTC, `table` defaults to the built-in prices.
    """
    table = table or Table.default()
    # 1. requests that need no prices
    reason = _reason_without_price(usage, endpoint, status)
    if reason is not None:
        source, _, detail = reason.partition(":")
        return free(detail, table) if source == FREE else unknown(detail, table)
    # 2. the charge that the provider states itself
    if usage.provider_cost_usd is not None and usage.source == "reported":
        charge = usage.provider_cost_usd
        return CostColumns(
            cost=charge, cost_by_class={"total": charge}, cost_source=PROVIDER, price_version=table.version
        )
    # 3. usage that is missing or could not be read
    if usage.unread == (ANSWER_FAILED,):
        return unknown(ANSWER_FAILED, table)
    if usage.unread:
        return unknown(f"{UNREAD}:{','.join(usage.unread)}", table)
    if usage.source not in ("reported", ESTIMATED):
        return unknown("broken_stream" if usage.source == "partial" else "usage_absent", table)
    # 4. the prices of the table, as an estimate where something had to be assumed
    usage = _with_priced_model(usage, model_requested, provider=provider, at=at, table=table)
    cost = _compute(usage, provider=provider, at=at, table=table)
    if cost.cost is None:
        return cost
    assumed = (
        *usage.estimated,
        *usage.inexact,
        *_ambiguous(usage, cost, provider=provider, at=at, table=table),
    )
    if usage.source == ESTIMATED or assumed:
        return msgspec.structs.replace(cost, cost_source=ESTIMATED, cost_reason=f"{ESTIMATED}:{','.join(assumed)}")
    return cost


def _reason_without_price(usage: Usage, endpoint: str, status: int) -> str | None:
    """ "free:…" or "none:…" with the reason, for requests that need no prices; None for all others."""
    if not 200 <= status < 300:
        return f"{FREE}:error"
    if usage.batch or usage.service_tier == "batch" or free_endpoints.is_batch_results(endpoint):
        return f"{NONE}:batch"  # each download of a batch repeats its usage
    if usage.background and free_endpoints.is_lookup(endpoint) is (usage.source == "reported"):
        return f"{NONE}:background"  # the call itself has no usage yet, and each later lookup repeats it
    if free_endpoints.is_deferred(endpoint) and status == NOT_READY:
        return FREE
    states_usage = usage.source != "absent" or usage.unread or usage.provider_cost_usd is not None
    if free_endpoints.is_lookup(endpoint) or (free_endpoints.is_free(endpoint) and not states_usage):
        return FREE
    return None


def _with_priced_model(usage: Usage, model_requested: str, *, provider: str, at: datetime, table: Table) -> Usage:
    """The usage under the model to price: the one that responded, else the requested one.

    An operator's own provider may respond with a name that only its vendor prices, while the operator's price or alias
    is for the requested name.
    """
    if not usage.model:
        return msgspec.structs.replace(usage, model=model_requested)
    if table.is_built_in(provider) or table.knows(provider, usage.model, at=at):
        return usage
    knows_requested = table.knows(provider, model_requested, at=at)
    return msgspec.structs.replace(usage, model=model_requested) if knows_requested else usage


def _ambiguous(usage: Usage, cost: CostColumns, *, provider: str, at: datetime, table: Table) -> tuple[str, ...]:
    """("cached_kind",) where the cost depends on the modality of the cached tokens and the response omits it."""
    if not may_be_cached_otherwise(usage):
        return ()
    alternative = _compute(usage, provider=provider, at=at, table=table, text_first=False)
    return () if alternative.cost == cost.cost else ("cached_kind",)


def _compute(usage: Usage, *, provider: str, at: datetime, table: Table, text_first: bool = True) -> CostColumns:
    return compute(
        usage,
        provider=provider,
        at=at,
        table=table,
        variant=lambda share: _variant(provider, share, table),
        text_first=text_first,
    )


def _variant(provider: str, usage: Usage, table: Table) -> tuple[str, str]:
    """(key, value) of the price variant that a request was served under; ("", "") for standard."""
    has_speeds = provider == "anthropic" or not table.is_built_in(provider)
    if has_speeds and usage.speed not in ("", "standard"):
        return "speed", usage.speed
    if usage.service_tier.lower() in ("", "standard", "default", "auto", "standard_only"):
        return STANDARD
    return "service_tier", usage.service_tier.lower()
