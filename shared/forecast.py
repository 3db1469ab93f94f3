"""Forecast of the total of a calendar period that is still running.

For alerts and the dashboard. Linear: the value divided by the share of the period that has
passed, from its first tenth on.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from shared.limits.periods import Span

FROM = Decimal("0.1")  # share of a period before which nothing is forecast


def elapsed(span: Span, now: datetime) -> Decimal | None:
    """Return the share of a period that has passed; None outside it."""
    if span.end is None or not span.start <= now < span.end:
        return None
    return Decimal((now - span.start) / timedelta(seconds=1)) / Decimal((span.end - span.start).total_seconds())


def at_end(value: Decimal, span: Span, now: datetime) -> Decimal | None:
    """Extrapolate a value to the end of its period; None while it is too early."""
    share = elapsed(span, now)
    return value / share if share is not None and share >= FROM else None
