"""Levels, forecasts and cooldowns of alert rules, on a clock of their own."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.logger.alerts import levels, rules
from services.logger.alerts.levels import Measured
from shared.alerts.model import AlertRule, State
from shared.limits.periods import Span

NOW = datetime(2026, 11, 10, tzinfo=UTC)
MONTH = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def rule(**fields: Any) -> AlertRule:
    given: dict[str, Any] = {
        "account": "acme",
        "name": "one",
        "created_at": MONTH,
        "measure": "cost",
        "threshold": Decimal(100),
    }
    return AlertRule(**given | fields)


def state(level: str, **fields: Any) -> State:
    given: dict[str, Any] = {"level": level, "value": "1", "at": NOW, "start": MONTH, "rule_at": MONTH}
    return State(**given | fields)


def decided(before: State | None, value: int | None, *, of: AlertRule | None = None, **changes: Any) -> tuple[str, str]:
    """The level and the message."""
    given: dict[str, Any] = {"subject": "", "start": MONTH, "now": NOW}
    sample = changes.pop("sample", 1000)
    found = None if value is None else Measured(Decimal(value), sample=sample)
    decision = levels.decide(of or rule(), before, found, **given | changes)
    return decision.state.level, decision.message


@pytest.mark.parametrize(
    ("value", "level"), [("89.99", "ok"), ("90", "warning"), ("99.99", "warning"), ("100", "alert"), ("500", "alert")]
)
def test_a_level_begins_at_its_share_of_the_threshold(value: str, level: str) -> None:
    assert levels.level(rule(), Measured(Decimal(value))) == level


def test_without_a_warning_there_is_only_the_alert() -> None:
    assert levels.level(rule(warn_percent=0), Measured(Decimal(99))) == "ok"


@pytest.mark.parametrize(
    ("notified", "value", "expected"),
    [
        ("", 50, ("ok", "")),
        ("", 95, ("warning", "warning")),
        ("", 105, ("alert", "alert")),
        ("warning", 95, ("warning", "")),
        ("warning", 105, ("alert", "alert")),
        ("warning", 50, ("ok", "recovered")),
        ("alert", 105, ("alert", "")),
        ("alert", 95, ("warning", "")),
        ("alert", 50, ("ok", "recovered")),
        ("alert", None, ("ok", "recovered")),
    ],
)
def test_only_news_is_sent(notified: Any, value: int | None, expected: tuple[str, str]) -> None:
    before = state(notified or "ok", notified=notified, notified_at=NOW - HOUR if notified else None)
    assert decided(before, value) == expected


@pytest.mark.parametrize(("hours", "message"), [(0, ""), (23.9, ""), (24, "alert"), (100, "alert")])
def test_a_lasting_level_is_repeated_after_the_cooldown(hours: float, message: str) -> None:
    before = state("alert", notified="alert", notified_at=NOW - timedelta(hours=hours))
    assert decided(before, 120) == ("alert", message)


def test_a_message_that_has_not_reached_every_channel_is_continued() -> None:
    before = state("alert", notified="alert", notified_at=NOW, pending="alert")
    assert decided(before, 120) == ("alert", "alert")
    assert decided(state("ok", pending="recovered"), 5) == ("ok", "recovered")


@pytest.mark.parametrize(("value", "expected"), [(5, ("ok", "recovered")), (120, ("alert", "alert"))])
def test_a_new_period_begins_anew(value: int, expected: tuple[str, str]) -> None:
    before = state("alert", notified="alert", notified_at=NOW - HOUR)
    assert decided(before, value, start=MONTH + timedelta(days=30)) == expected


def test_a_rule_made_again_begins_anew() -> None:
    before = state("alert", notified="alert", notified_at=NOW, rule_at=MONTH - HOUR)
    assert decided(before, 120) == ("alert", "alert")


@pytest.mark.parametrize("measure", ["error_rate", "latency_p95", "first_byte_p95", "cost_per_request"])
def test_too_few_requests_change_nothing(measure: Any) -> None:
    of = rule(measure=measure, minimum=50)
    alerted = state("alert", notified="alert", notified_at=NOW)
    for before, level in ((None, "ok"), (alerted, "alert")):
        for value in (0, 500):
            assert decided(before, value, of=of, sample=49) == (level, "")
    assert decided(None, 500, of=of, sample=50) == ("alert", "alert")
    assert decided(alerted, None, of=of) == ("alert", ""), "without requests nobody knows"


@pytest.mark.parametrize(
    ("days", "forecast"), [(1, None), (2.9, None), (3, Decimal(300)), (15, Decimal(60)), (29, Decimal(900) / 29)]
)
def test_a_forecast_is_linear_and_waits_for_a_tenth_of_the_period(days: float, forecast: Decimal | None) -> None:
    span = Span(MONTH, MONTH + timedelta(days=30))
    found = levels.forecast(rule(), Decimal(30), span=span, now=MONTH + timedelta(days=days))
    assert found == forecast or (found and forecast and abs(found - forecast) < Decimal("1e-9"))


@pytest.mark.parametrize(
    ("fields", "end"),
    [({"measure": "error_rate"}, True), ({"measure": "latency_p95"}, True), ({"period": "30d"}, False)],
)
def test_nothing_is_forecast_for_rates_and_rolling_periods(fields: dict[str, Any], end: bool) -> None:
    span = Span(MONTH, MONTH + timedelta(days=30) if end else None)
    assert levels.forecast(rule(**fields), Decimal(30), span=span, now=NOW) is None


def test_a_forecast_counts_only_where_the_rule_compares_it() -> None:
    found = Measured(Decimal(40), forecast=Decimal(130))
    assert levels.level(rule(), found) == "ok"
    assert levels.level(rule(is_forecast=True), found) == "alert"
    assert levels.level(rule(is_forecast=True), msgspec.structs.replace(found, forecast=None)) == "ok"
    spent = Measured(Decimal(110), forecast=Decimal(60))
    assert levels.level(rule(is_forecast=True), spent) == "alert", "what is spent is spent"


@pytest.mark.parametrize(
    ("period", "now", "before"),
    [
        ("month", datetime(2026, 11, 10, 6, tzinfo=UTC), Span(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 10, 6, tzinfo=UTC))),
        ("month", datetime(2026, 3, 31, 6, tzinfo=UTC), Span(datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC))),
        ("day", datetime(2026, 11, 10, 6, tzinfo=UTC), Span(datetime(2026, 11, 9, tzinfo=UTC), datetime(2026, 11, 9, 6, tzinfo=UTC))),
        ("7d", datetime(2026, 11, 10, tzinfo=UTC), Span(datetime(2026, 10, 27, tzinfo=UTC), datetime(2026, 11, 3, tzinfo=UTC))),
        ("2026-11-06..2026-11-15", datetime(2026, 11, 10, 6, tzinfo=UTC), Span(datetime(2026, 10, 27, tzinfo=UTC), datetime(2026, 10, 31, 6, tzinfo=UTC))),
        ("15m", datetime(2026, 11, 10, tzinfo=UTC), Span(datetime(2026, 11, 9, 23, 30, tzinfo=UTC), datetime(2026, 11, 9, 23, 45, tzinfo=UTC))),
    ],
)  # fmt: skip
def test_the_period_before_is_as_long_as_the_present_one_so_far(period: str, now: datetime, before: Span) -> None:
    of = rule(period=period)
    assert rules.span_before(of, rules.span(of, now), now) == before


def test_dates_are_whole_days_of_the_rule_s_time_zone_and_end_for_good() -> None:
    of = rule(period="2026-11-01..2026-11-30", timezone="Asia/Kolkata")
    span = Span(datetime(2026, 10, 31, 18, 30, tzinfo=UTC), datetime(2026, 11, 30, 18, 30, tzinfo=UTC))
    for hours, is_over in ((-100, False), (0, False), (23.9, False), (24, True)):
        now = datetime(2026, 11, 30, 18, 30, tzinfo=UTC) + timedelta(hours=hours)
        assert (rules.span(of, now), rules.is_over(of, now)) == (span, is_over)
    assert not rules.is_over(rule(period="day"), now)


def test_since_creation_begins_with_the_quarter_of_an_hour() -> None:
    of = rule(period="created", created_at=datetime(2026, 11, 10, 6, 44, 59, tzinfo=UTC))
    assert rules.span(of, NOW) == Span(datetime(2026, 11, 10, 6, 30, tzinfo=UTC), None)


@pytest.mark.parametrize(
    ("pattern", "like"),
    [("", ""), ("gpt-*", "gpt-%"), ("models/gemini-?", "gemini-_"), ("100%_a\\b", "100\\%\\_a\\\\b")],
)
def test_a_model_pattern_means_the_same_in_sql(pattern: str, like: str) -> None:
    assert rules.like_pattern(pattern) == like
