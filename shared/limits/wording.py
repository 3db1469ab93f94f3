"""Limits in words, for command line, dashboard and messages."""

from decimal import Decimal

from shared.limits.model import COST, EACH, Limit, Scope

_PER = {"minute": "per minute", "day": "a day", "week": "a week", "month": "a month"}
_MODES = {"warn": ", warning only", "strict": ", strict"}


def amount(limit: Limit, number: Decimal | None = None) -> str:
    """Describe an amount of a limit, by default its own: "EUR 25.00"."""
    number = limit.amount if number is None else number
    if limit.measure == COST:
        return f"{limit.currency} {_money(number)}"
    unit = limit.measure if number != 1 else limit.measure.removesuffix("s")
    return f"{number:,f} {unit}"


def _money(number: Decimal) -> str:
    """Format money with two decimals; two significant digits below a cent."""
    if 0 < abs(number) < Decimal("0.01"):
        return f"{round(number, 1 - number.adjusted()).normalize():f}"
    return f"{number:,.2f}"


def period(limit: Limit) -> str:
    """Describe a period: "per minute", "a month", "in 30 days"."""
    return _PER.get(limit.period) or f"in {limit.period.removesuffix('d')} days"


def text(limit: Limit) -> str:
    """Describe a limit without its scope: "100 requests per minute"."""
    return f"{amount(limit)} {period(limit)}{_MODES.get(limit.mode, '')}"


def covers(scope: Scope) -> str:
    """Describe a scope: "each token, model gpt-*"; "all requests" without a condition."""
    parts = []
    for name in ("token", "requester", "provider", "model"):
        if value := getattr(scope, name):
            parts.append(f"each {name}" if value == EACH and name in ("token", "requester") else f"{name} {value}")
    if metadata := metadata_text(scope):
        parts.append(f"each {metadata.removesuffix('=*')}" if metadata.endswith("=*") else metadata)
    return ", ".join(parts) or "all requests"


def metadata_text(scope: Scope) -> str:
    """The metadata condition as KEY=VALUE; "" for none."""
    return f"{scope.metadata_key}={scope.metadata_value}" if scope.metadata_key else ""
