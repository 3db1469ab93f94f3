"""Checks of alert rules and their values."""

import re
from decimal import Decimal

from shared.accounts_admin import AccountError
from shared.alerts.model import ADDED_UP, CREATED, NAME_PATTERN, RATES, SELF_MEASURES, SYSTEM, AlertRule, dates, window
from shared.limits import periods
from shared.limits.admin import check_conditions
from shared.limits.model import EACH, MOST

DEFAULT_MINIMUM = 20  # requests below which a rate is not judged, unless stated
MOST_COOLDOWN = 31 * 24  # hours
MEASURES = (*ADDED_UP, *RATES)
MONEY = ("cost", "cost_per_request")
_DECIMALS = {"cost": 6, "cost_per_request": 9, "error_rate": 3}
_CALENDAR = (periods.DAY, periods.WEEK, periods.MONTH)
_BY = ("", "requester", "token", "provider", "model", "account")
_CURRENCY = re.compile(r"[A-Z]{3}")


def default_period(measure: str) -> str:
    """Return the period of a rule that states none."""
    if measure in SELF_MEASURES:
        return "1d"
    return "1h" if measure in RATES else periods.MONTH


def check(rule: AlertRule) -> None:
    """Raise AccountError for a rule that is invalid by itself."""
    if NAME_PATTERN.fullmatch(rule.name) is None:
        raise AccountError(f"alert name {rule.name!r}: 1 to 40 of a-z, 0-9 and -, the first not -")
    if rule.by not in _BY:
        raise AccountError(f"an alert cannot watch each {rule.by!r}; use {', '.join(_BY[1:])}")
    _check_measure(rule)
    _check_threshold(rule)
    _check_period(rule)
    _check_scope(rule)
    if not 0 <= rule.warn_percent <= 99:
        raise AccountError("a warning is sent at 1 to 99 percent of the threshold; 0 for none")
    if not 1 <= rule.cooldown_hours <= MOST_COOLDOWN:
        raise AccountError(f"a cooldown is 1 to {MOST_COOLDOWN} hours")
    if rule.minimum and rule.measure not in RATES:
        raise AccountError(f"only rates have a minimum of requests: {', '.join(RATES)}")
    if not 0 <= rule.minimum <= 1_000_000:
        raise AccountError("a minimum is 0 to 1,000,000 requests")


def _check_measure(rule: AlertRule) -> None:
    known = (*MEASURES, *SELF_MEASURES) if rule.account == SYSTEM else MEASURES
    if rule.measure not in known:
        if rule.measure in SELF_MEASURES:
            raise AccountError(f"{rule.measure} is a measure of Metrion itself, not of an account")
        raise AccountError(f"unknown measure {rule.measure!r}; use one of {', '.join(known)}")


def _check_threshold(rule: AlertRule) -> None:
    number = rule.threshold
    if not number.is_finite() or not 0 < number <= MOST:
        raise AccountError(f"a threshold is more than 0 and at most {MOST:,}")
    if rule.measure == "error_rate" and number > 100:
        raise AccountError("an error rate is at most 100 percent")
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    decimals = _DECIMALS.get(rule.measure, 0)
    if exponent < -decimals and number != round(number, decimals):
        limit = f"at most {decimals} decimals" if decimals else "no decimals"
        raise AccountError(f"a threshold of {rule.measure} has {limit}")
    if _CURRENCY.fullmatch(rule.currency) is None:
        raise AccountError(f"{rule.currency!r} is not a currency code such as EUR")
    if not rule.rate.is_finite() or not Decimal("0.000001") <= rule.rate <= 1_000_000:
        raise AccountError("a rate is units of the currency for one US dollar, from 0.000001 to 1,000,000")
    if rule.currency == "USD" and rule.rate != 1:
        raise AccountError("one US dollar is one US dollar: state the currency of the rate")
    if rule.measure not in MONEY and rule.currency != "USD":
        raise AccountError("only costs have a currency")


def _check_period(rule: AlertRule) -> None:
    is_dated = dates(rule.period) is not None
    if not (
        is_dated or rule.period in (*_CALENDAR, CREATED) or window(rule.period) or periods.rolling_days(rule.period)
    ):
        raise AccountError(
            f"unknown period {rule.period!r}; use day, week, month, days such as 30d (1d to 366d), "
            "a window such as 15m or 1h (5m to 48h), dates such as 2026-11-01..2026-11-30, or created"
        )
    try:
        periods.zone(rule.timezone)
    except ValueError as error:
        raise AccountError(str(error)) from None
    if rule.measure in SELF_MEASURES and rule.measure != "unpriced" and rule.period != "1d":
        raise AccountError(f"{rule.measure} has no period")
    if rule.measure in SELF_MEASURES and (is_dated or rule.period == CREATED):
        raise AccountError(f"{rule.measure} is about a window or rolling days")
    if rule.is_forecast and not ((is_dated or rule.period in _CALENDAR) and rule.measure in ADDED_UP):
        raise AccountError("only cost, requests, tokens and errors of a day, week, month or dates can be forecast")


def _check_scope(rule: AlertRule) -> None:
    scope = rule.scope
    values = (scope.token, scope.requester, scope.provider, scope.model, scope.metadata_key, scope.metadata_value)
    check_conditions(scope)
    if EACH in (scope.token, scope.requester, scope.metadata_value):
        raise AccountError("'*' is not for alerts; watch each value instead")
    if "[" in scope.model:
        raise AccountError("a model of an alert is a name, in which * and ? stand for others")
    if bool(scope.metadata_key) != bool(scope.metadata_value):
        raise AccountError("metadata is KEY=VALUE")
    if rule.by and rule.by != "account" and getattr(scope, rule.by) and rule.by != "model":
        raise AccountError(f"an alert of each {rule.by} cannot be confined to one")
    if rule.account == SYSTEM:
        if scope.token:
            raise AccountError("tokens belong to accounts: a rule of all accounts cannot be confined to one")
        if rule.measure in SELF_MEASURES and (rule.by or any(values)):
            raise AccountError(f"{rule.measure} is about Metrion as a whole")
    elif rule.by == "account":
        raise AccountError("only a rule of all accounts can watch each account")
