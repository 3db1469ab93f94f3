"""Definitions of error, cache hit, estimate and the like, in plain Python."""

from collections.abc import Iterable
from decimal import Decimal

from services.logger.rows import ResponseRow


def is_error(row: ResponseRow) -> bool:
    """Failed; a client that left is no error."""
    if row.outcome == "complete":
        return row.status >= 400 or row.error_type != ""
    return row.outcome != "client_closed"


def is_cache_hit(row: ResponseRow) -> bool:
    """Answered from Metrion's cache."""
    return row.cache == "HIT"


def is_estimated(row: ResponseRow) -> bool:
    """Has a cost that rests on estimated tokens or on a guessed price."""
    return row.cost is not None and row.cache != "HIT" and "estimated" in (row.usage_source, row.cost_source)


def is_answered(row: ResponseRow) -> bool:
    """A provider's successful response to the gateway: what latency is averaged over."""
    return (
        row.usage_source != "imported"
        and row.outcome == "complete"
        and row.status < 400
        and row.error_type == ""
        and row.cache != "HIT"
    )


def model_name(row: ResponseRow) -> str:
    """The model that answered, else the one asked for."""
    return row.model or row.model_requested


def cost(rows: Iterable[ResponseRow]) -> Decimal | None:
    """The sum of what is known; None when nothing is."""
    known = [row.cost for row in rows if row.cost is not None]
    return sum(known, Decimal(0)) if known else None


def mean_latency(rows: Iterable[ResponseRow]) -> float:
    """Milliseconds, of successful responses that did not come from the cache."""
    times = [row.latency_ms for row in rows if is_answered(row)]
    return sum(times) / len(times)
