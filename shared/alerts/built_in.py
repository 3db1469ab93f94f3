"""Built-in rules about Metrion itself, which notify every channel of SYSTEM."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from shared.alerts.model import SYSTEM, AlertRule

_SINCE = datetime(2026, 1, 1, tzinfo=UTC)
_ONE = Decimal(1)


def _built_in(name: str, measure: Any, threshold: Decimal, **fields: Any) -> AlertRule:
    return AlertRule(
        account=SYSTEM, name=name, created_at=_SINCE, measure=measure, threshold=threshold, period="1d", warn_percent=0,
        **fields,
    )  # fmt: skip


RULES = {
    rule.name: rule
    for rule in (
        _built_in("models-without-price", "unpriced", _ONE),
        _built_in("incomplete-events", "incomplete", _ONE),
        _built_in("events-waiting", "events_waiting", Decimal(300)),
        _built_in("dead-letters", "dead_letters", _ONE),
        _built_in("dropped-events", "dropped", _ONE),
        _built_in("old-prices", "price_age", Decimal(60), cooldown_hours=7 * 24),
        _built_in("late-budgets", "drift", Decimal(600)),
    )
}
