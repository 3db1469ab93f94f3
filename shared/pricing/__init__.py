"""Usage in, cost out: exact where every unit has a price, None with a reason where one has not."""

from datetime import datetime

import msgspec

from shared.pricing import free_endpoints
from shared.pricing.cost import COMPUTED, ESTIMATED, FREE, NONE, PROVIDER, UNREAD, ZERO, Price, compute, free, unknown
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
    "Price",
    "items",
    "price",
]

ANSWER_FAILED = "answer_failed"  # a whole answer says that it failed, and not what it used
NOT_READY = 202  # of an answer that is to be fetched again later


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
    reason = _without_price(usage, endpoint, status)
    if reason is not None:
        cost, _, why = reason.partition(":")
        return free(why, table) if cost == FREE else unknown(why, table)
    if usage.provider_cost_usd is not None and usage.source == "reported":
        cost_usd = usage.provider_cost_usd
        by_class = {"total": cost_usd}
        return Price(cost=cost_usd, cost_by_class=by_class, unit_prices={}, source=PROVIDER, version=table.version)
    if usage.unread == (ANSWER_FAILED,):
        return unknown(ANSWER_FAILED, table)
    if usage.unread:
        return unknown(f"{UNREAD}:{','.join(usage.unread)}", table)
    if usage.source not in ("reported", ESTIMATED):
        return unknown("broken_stream" if usage.source == "partial" else "usage_absent", table)
    usage = _named(usage, model_requested, provider=provider, at=at, table=table)
    found = _compute(usage, provider=provider, at=at, table=table)
    if found.cost is None:
        return found
    open_questions = (
        *usage.estimated,
        *usage.inexact,
        *_ambiguous(usage, found, provider=provider, at=at, table=table),
    )
    if usage.source == ESTIMATED or open_questions:
        return msgspec.structs.replace(found, source=ESTIMATED, reason=f"{ESTIMATED}:{','.join(open_questions)}")
    return found


def _without_price(usage: Usage, endpoint: str, status: int) -> str | None:
    """ "free:…" or "none:…", with the reason, of what needs no prices to be booked; None for everything else."""
    if not 200 <= status < 300:
        return f"{FREE}:error"
    if usage.batch or usage.service_tier == "batch" or free_endpoints.is_batch_results(endpoint):
        return f"{NONE}:batch"  # each download of a batch carries its usage again
    if usage.background and free_endpoints.is_lookup(endpoint) is (usage.source == "reported"):
        return f"{NONE}:background"  # the call itself says nothing yet, and each later look at it says it again
    if free_endpoints.is_deferred(endpoint) and status == NOT_READY:
        return FREE
    stated = usage.source != "absent" or usage.unread or usage.provider_cost_usd is not None
    if free_endpoints.is_lookup(endpoint) or (free_endpoints.is_free(endpoint) and not stated):
        return FREE
    return None


def _named(usage: Usage, model_requested: str, *, provider: str, at: datetime, table: Table) -> Usage:
    """The usage under the model to be priced: the one that answered, else the one asked for.

    An operator's own provider may answer under a name that only its vendor prices, while the operator's price or alias
    is for the name asked for.
    """
    if not usage.model:
        return msgspec.structs.replace(usage, model=model_requested)
    if table.sells(provider) or table.knows(provider, usage.model, at=at):
        return usage
    asked = table.knows(provider, model_requested, at=at)
    return msgspec.structs.replace(usage, model=model_requested) if asked else usage


def _ambiguous(usage: Usage, found: Price, *, provider: str, at: datetime, table: Table) -> tuple[str, ...]:
    """("cached_kind",) where the cost depends on which kind of tokens the cached ones are, and nobody says."""
    if not may_be_cached_otherwise(usage):
        return ()
    other = _compute(usage, provider=provider, at=at, table=table, text_first=False)
    return () if other.cost == found.cost else ("cached_kind",)


def _compute(usage: Usage, *, provider: str, at: datetime, table: Table, text_first: bool = True) -> Price:
    return compute(
        usage,
        provider=provider,
        at=at,
        table=table,
        variant=lambda share: _context(provider, share, table),
        text_first=text_first,
    )


def _context(provider: str, usage: Usage, table: Table) -> tuple[str, str]:
    """(key, value) of the price variant that a request was served under; ("", "") for standard."""
    has_speeds = provider == "anthropic" or not table.sells(provider)
    if has_speeds and usage.speed not in ("", "standard"):
        return "speed", usage.speed
    if usage.service_tier.lower() in ("", "standard", "default", "auto", "standard_only"):
        return STANDARD
    return "service_tier", usage.service_tier.lower()
