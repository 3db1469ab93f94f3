"""Alert rules and their values in words."""

from decimal import Decimal

from shared.alerts.model import CREATED, SELF_MEASURES, AlertRule, dates
from shared.decimals import without_zeros
from shared.limits import wording as limit_wording

NAMES = {
    "cost": "Cost",
    "requests": "Requests",
    "tokens": "Tokens",
    "errors": "Errors",
    "error_rate": "Error rate",
    "latency_p95": "Latency (p95)",
    "first_byte_p95": "Time to first byte (p95)",
    "cost_per_request": "Cost per request",
    "unpriced": "Requests without a price",
    "incomplete": "Events that may be missing",
    "events_waiting": "Age of the oldest event not stored",
    "dead_letters": "Dead letters",
    "dropped": "Events dropped by gateways",
    "price_age": "Price age",
    "drift": "Age of the budgets' figures",
}
_UNITS = {
    "requests": "request",
    "tokens": "token",
    "errors": "error",
    "unpriced": "request",
    "incomplete": "event",
    "dead_letters": "dead letter",
    "dropped": "event",
    "price_age": "day",
}
_CENT = Decimal("0.01")
_PERIODS = {"day": "today", "week": "this week", "month": "this month"}
_BEFORE = {"day": "yesterday", "week": "last week", "month": "last month"}


def amount(rule: AlertRule, value: Decimal) -> str:
    """Describe a value of a rule: "EUR 25.00", "4.2 %", "1,250 ms"."""
    if rule.measure in ("cost", "cost_per_request"):
        return f"{rule.currency} {_money(value, 2 if rule.measure == 'cost' else 4)}"
    if rule.measure == "error_rate":
        return f"{_number(value, 1)} %"
    if rule.measure in ("latency_p95", "first_byte_p95"):
        return f"{value:,.0f} ms"
    if rule.measure in ("events_waiting", "drift"):
        return f"{value:,.0f} s"
    unit = _UNITS[rule.measure]
    return f"{_number(value, 0)} {unit if value == 1 else unit + 's'}"


def _money(value: Decimal, digits: int) -> str:
    """Format an amount with this number of decimals; below a cent three significant digits."""
    if value and abs(value) < _CENT:
        digits = max(digits, 2 - value.adjusted())
    return f"{value:,.{digits}f}"


def _number(value: Decimal, digits: int) -> str:
    return without_zeros(f"{value:,.{digits}f}")


def period(rule: AlertRule) -> str:
    """Describe the period of a rule: "this month", "in the last 15 minutes"."""
    if rule.period in _PERIODS:
        return _PERIODS[rule.period]
    if rule.period == CREATED:
        return f"since {rule.created_at:%Y-%m-%d}"
    if days := dates(rule.period):
        return f"from {days[0]} to {days[1]}"
    number, unit = rule.period[:-1], {"m": "minute", "h": "hour", "d": "day"}[rule.period[-1]]
    return f"in the last {unit}" if number == "1" else f"in the last {number} {unit}s"


def period_before(rule: AlertRule) -> str:
    """Describe the period before: "last month", "the 15 minutes before"."""
    if rule.period in _BEFORE:
        return _BEFORE[rule.period]
    if days := dates(rule.period):
        count = (days[1] - days[0]).days + 1
        return "the day before" if count == 1 else f"the {count} days before"
    return period(rule).replace("in the last ", "the ") + " before"


def covers(rule: AlertRule) -> str:
    """Describe what a rule covers: "each requester, model gpt-*"; "" for everything."""
    scope = limit_wording.covers(rule.scope)
    parts = [f"each {rule.by}" if rule.by else "", "" if scope == "all requests" else scope]
    return ", ".join(filter(None, parts))


def text(rule: AlertRule) -> str:
    """Describe a rule: "Cost this month: EUR 500.00, each requester"."""
    suffix = ", as forecast" if rule.is_forecast else ""
    when = f" {period(rule)}" if is_periodic(rule) else ""
    described = f"{NAMES[rule.measure]}{when}: {amount(rule, rule.threshold)}{suffix}"
    return ", ".join(filter(None, (described, covers(rule))))


def is_periodic(rule: AlertRule) -> bool:
    """Whether the rule is about the requests of a period."""
    return rule.measure not in SELF_MEASURES
