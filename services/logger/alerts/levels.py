"""Levels of a rule: what a value means, and whether to send a message.

While a level lasts, it is sent again after the cooldown. A lower level is no news; once the value is below the warning
threshold, or the calendar period has turned, `recovered` is sent once.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple

import msgspec

from shared import forecast as shared_forecast
from shared.alerts.model import ADDED_UP, RATES, AlertRule, State
from shared.limits.periods import Span

Level = Literal["ok", "warning", "alert"]
Sendable = Literal["warning", "alert", "recovered"]

_RANKS = {"": 0, "ok": 0, "warning": 1, "alert": 2}


class Measured(msgspec.Struct, frozen=True):
    """What a query has found for one subject."""

    value: Decimal
    subject: str = ""
    sample: int = 0  # requests that the value is about
    forecast: Decimal | None = None  # of the whole period


class Decision(NamedTuple):
    """A subject's new state, and the level to send; "" for none."""

    state: State
    message: Sendable | Literal[""]


def forecast(rule: AlertRule, value: Decimal, *, span: Span, now: datetime) -> Decimal | None:
    """Extrapolate a value to the end of its calendar period.

    None for rolling periods, measures that do not add up, and the first tenth of a period.
    """
    return shared_forecast.at_end(value, span, now) if rule.measure in ADDED_UP else None


def level(rule: AlertRule, found: Measured) -> Level:
    """Return the level of a value, or of its forecast if the rule compares that."""
    value = found.value
    if rule.is_forecast and found.forecast is not None:
        value = max(value, found.forecast)
    if value >= rule.threshold:
        return "alert"
    if rule.warn_percent and value >= warning_threshold(rule):
        return "warning"
    return "ok"


def warning_threshold(rule: AlertRule) -> Decimal:
    """Return the value from which a rule warns."""
    return rule.threshold * rule.warn_percent / 100


def has_enough_requests(rule: AlertRule, found: Measured) -> bool:
    """Whether there are enough requests to judge by."""
    return rule.measure not in RATES or found.sample >= rule.minimum


def decide(
    rule: AlertRule,
    before: State | None,
    found: Measured | None,
    *,
    subject: str,
    start: datetime | None,
    now: datetime,
) -> Decision:
    """Decide what a subject's new value means; `found` is None without requests.

    A rate without requests, or with too few, is unknown: the level stays.

    `start`: of the calendar period; None for a rolling one.
    """
    if before is None or before.rule_at != rule.created_at:
        before = State(level="ok", value="0", at=now, subject=subject, start=start, rule_at=rule.created_at)
    is_new_period = before.start != start
    can_judge = rule.measure not in RATES if found is None else has_enough_requests(rule, found)
    now_level: Level = before.level if not is_new_period else "ok"
    if can_judge:
        now_level = level(rule, found) if found else "ok"
    notified = before.notified
    if (is_new_period and now_level != "ok") or (now_level == "ok" and before.is_in_digest):
        notified = ""  # those of a digest recover together
    is_over = now_level == "ok" and before.is_in_digest
    state = msgspec.structs.replace(
        before,
        is_in_digest=before.is_in_digest and bool(notified),
        recovered_at=now if is_over else before.recovered_at,
        level=now_level,
        value=f"{found.value:f}" if found else before.value if rule.measure in RATES else "0",
        at=now,
        subject=subject,
        start=start,
        notified=notified,
        pending=before.pending if before.pending == ("recovered" if now_level == "ok" else now_level) else "",
    )
    message = _message(rule, before, state, now=now)
    return Decision(state, message if can_judge or is_new_period else "")


def _message(rule: AlertRule, before: State, state: State, *, now: datetime) -> Sendable | Literal[""]:
    if state.level == "ok":
        return "recovered" if state.notified or before.pending == "recovered" else ""
    if _RANKS[state.level] > _RANKS[state.notified]:
        return state.level
    if state.level != state.notified:  # it has fallen from alert to warning
        return ""
    is_repeated = state.notified_at is not None and now - state.notified_at >= cooldown(rule)
    return state.level if is_repeated or before.pending == state.level else ""


def cooldown(rule: AlertRule) -> timedelta:
    """Return the time within which a level is sent once."""
    return timedelta(hours=rule.cooldown_hours)
