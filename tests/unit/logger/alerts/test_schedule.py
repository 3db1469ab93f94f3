"""How often rules are evaluated: soon after requests, but not too often."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from services.logger.alerts.schedule import Schedule
from shared.alerts import built_in
from shared.alerts.model import SYSTEM, AlertRule

NOW = datetime(2026, 11, 10, tzinfo=UTC)


def rule(account: str, *, is_paused: bool = False) -> AlertRule:
    return AlertRule(
        account=account, name="one", created_at=NOW, measure="cost", threshold=Decimal(1), is_paused=is_paused
    )


def test_a_rule_is_evaluated_at_most_every_15_seconds_and_at_least_every_minute() -> None:
    schedule = Schedule()
    rules = [("acme.one", rule("acme")), ("beta.one", rule("beta")), ("-.one", rule(SYSTEM))]
    evaluated: dict[str, list[int]] = {key: [] for key, _ in rules}
    for second in range(121):
        if second in (1, 20, 21, 22):
            schedule.stored({"acme"})
        now = NOW + timedelta(seconds=second)
        for key in schedule.due(rules, now):
            evaluated[key].append(second)
            schedule.begun(key, dict(rules)[key], now)
    assert evaluated == {
        "acme.one": [0, 15, 30, 90],
        "beta.one": [0, 60, 120],
        "-.one": [0, 15, 30, 90],
    }


def test_rules_about_metrion_itself_are_evaluated_every_minute_or_rarely() -> None:
    schedule = Schedule()
    rules = [(name, built_in.RULES[name]) for name in ("dead-letters", "incomplete-events")]
    evaluated: dict[str, list[int]] = {key: [] for key, _ in rules}
    for second in range(601):
        schedule.stored({"acme"})
        now = NOW + timedelta(seconds=second)
        for key in schedule.due(rules, now):
            evaluated[key].append(second)
            schedule.begun(key, dict(rules)[key], now)
    assert evaluated == {"dead-letters": list(range(0, 601, 60)), "incomplete-events": [0, 300, 600]}


def test_a_paused_rule_is_not_evaluated() -> None:
    assert Schedule().due([("acme.one", rule("acme", is_paused=True))], NOW) == []


def test_a_rule_that_another_logger_evaluated_is_looked_at_again() -> None:
    schedule = Schedule()
    schedule.begun("acme.one", rule("acme"), NOW)
    schedule.missed("acme.one")
    assert schedule.due([("acme.one", rule("acme"))], NOW + timedelta(seconds=15)) == ["acme.one"]


def test_a_clock_that_was_set_back_stops_nothing() -> None:
    schedule = Schedule()
    schedule.begun("acme.one", rule("acme"), NOW)
    assert schedule.due([("acme.one", rule("acme"))], NOW - timedelta(days=1)) == ["acme.one"]
